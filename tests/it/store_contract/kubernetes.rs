//! Stores in a Kubernetes cluster.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, PostParams};
use windlass::store::kubernetes::KubernetesStore;

use super::Fixture;
use crate::support::kubernetes::Cluster;

pub(crate) const NAMESPACE: &str = "windlass-system";

/// Opens stores in one namespace of an API server of its own.
pub(crate) struct Kubernetes(Cluster);

impl Default for Kubernetes {
    fn default() -> Self {
        Self(Cluster::take())
    }
}

impl Fixture for Kubernetes {
    type Store = KubernetesStore;

    async fn open(&self) -> KubernetesStore {
        let client = self.0.client().await;
        create_namespace(&client, NAMESPACE).await;
        KubernetesStore::new(client, NAMESPACE, "the cluster of the test")
    }
}

/// Creates a namespace where there is none of that name.
pub(crate) async fn create_namespace(client: &Client, name: &str) {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let namespace = serde_json::json!({"metadata": {"name": name}});
    let namespace = serde_json::from_value(namespace).unwrap();
    let parameters = PostParams::default();
    let created = namespaces.create(&parameters, &namespace);
    let created = tokio::time::timeout(Duration::from_mins(1), created).await;
    match created.expect("an answer") {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => panic!("{error}"),
    }
}
