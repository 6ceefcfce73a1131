//! What only the store in Kubernetes does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use windlass::model::{DesiredResource, Origin, ResourceKey, StoredResource};
use windlass::store::kubernetes::{KubernetesStore, crds};
use windlass::store::{Adopter, Leadership, MeshWrite, NotAdopted, Operation, Store, WriteError};

use crate::cli::assert_document;
use crate::store_contract::kubernetes::{NAMESPACE, create_namespace};
use crate::support::kubernetes::Cluster;

mod crashes;
mod custom_resources;
mod neighbours;
mod rights;
mod weather;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A store in an API server that knows the custom resources.
struct Site {
    store: Arc<KubernetesStore>,
    cluster: Cluster,
}

impl Site {
    async fn new() -> Self {
        Self::in_cluster(Cluster::take()).await
    }

    async fn in_cluster(cluster: Cluster) -> Self {
        let client = cluster.client().await;
        create_namespace(&client, NAMESPACE).await;
        create_namespace(&client, "prod").await;
        let store = KubernetesStore::new(client, NAMESPACE, "the cluster of the test");
        let site = Self {
            store: Arc::new(store),
            cluster,
        };
        site.create_crds();
        site
    }

    fn create_crds(&self) {
        let crds = windlass::manifest::documents_yaml(&crds());
        self.cluster.apply(&crds).unwrap();
        let wait = [
            "wait",
            "--for=condition=Established",
            "crd",
            "meshes.kuma.io",
            "trafficpermissions.kuma.io",
            "dataplanes.kuma.io",
            "--timeout=60s",
        ];
        self.cluster.run(&wait);
    }

    /// Another replica's store.
    async fn another(&self) -> KubernetesStore {
        let client = self.cluster.client().await;
        KubernetesStore::new(client, NAMESPACE, "the cluster of the test")
    }

    /// Leads, and takes over what others write as it is.
    async fn lead(&self) -> Leadership {
        self.store.adopt_with(Arc::new(AsItIs(self.store.clone())));
        self.store.lead("a").await.unwrap()
    }

    /// An object as it is now.
    fn get(&self, what: &[&str]) -> Option<Value> {
        let arguments = [&["get", "-o=json"], what].concat();
        let printed = self.cluster.try_run(&arguments).ok()?;
        serde_json::from_str(&printed).ok()
    }
}

/// Waits until it holds.
async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(50)))
            .await
            .unwrap();
    }
}

/// Takes over what the store admits, without planning.
#[derive(Debug)]
struct AsItIs(Arc<KubernetesStore>);

#[async_trait]
impl Adopter for AsItIs {
    async fn adopt(
        &self,
        key: &ResourceKey,
        after: Option<Arc<DesiredResource>>,
    ) -> Result<(), NotAdopted> {
        let current = self.0.load().await.unwrap();
        let mesh = current.meshes.get(&key.mesh);
        let operation = match after {
            Some(after) => {
                Operation::PutResource(StoredResource::new(after.resource.clone(), Origin::Api {}))
            }
            None => Operation::DeleteResource(key.clone()),
        };
        let write = MeshWrite {
            mesh: key.mesh.clone(),
            expected: mesh.map(|mesh| mesh.generation).unwrap_or_default(),
            operations: vec![operation],
            history: None,
        };
        match self.0.write(&write).await {
            Ok(_) => Ok(()),
            Err(WriteError::Refused { source, .. }) => {
                Err(NotAdopted::Refused(vec![source.to_string()]))
            }
            Err(error) => Err(NotAdopted::Later(error.to_string())),
        }
    }
}

#[test]
fn the_crds_are_those_of_the_program_docs() {
    let text = windlass::manifest::documents_yaml(&crds());
    assert_document("deploy/kubernetes/crds.yaml", &text);
}
