//! Who lacks a right is told which.

use windlass::store::kubernetes::KubernetesStore;
use windlass::store::{Store, StoreError, WriteError};

use super::Site;
use crate::store_contract::samples::{change, mesh, put};
use crate::support::kubernetes::{API_AUDIENCE, Cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named() {
    let site = Site::new().await;
    let run = |arguments: &[&str]| site.cluster.run(arguments);
    run(&["create", "sa", "windlass", "-n", "windlass-system"]);
    let token = site
        .cluster
        .token("windlass-system", "windlass", API_AUDIENCE);
    let client = Cluster::client_by(&site.cluster.kubeconfig_of(&token)).await;
    let store = KubernetesStore::new(client, "windlass-system", "the cluster");
    let error = store.load().await.unwrap_err();
    assert!(matches!(error, StoreError::Forbidden { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("lacks the right to get configmaps"), "{said}");
    assert!(
        said.contains("namespace windlass-system of the cluster"),
        "{said}"
    );

    let role = [
        "create",
        "role",
        "reader",
        "-n",
        "windlass-system",
        "--verb=get,list",
    ];
    run(&[&role[..], &["--resource=configmaps"]].concat());
    run(&[
        "create",
        "rolebinding",
        "reader",
        "-n",
        "windlass-system",
        "--role=reader",
        "--serviceaccount=windlass-system:windlass",
    ]);
    store.load().await.unwrap();
    let error = change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap_err();
    let WriteError::Store(error) = error else {
        panic!("{error:?}");
    };
    let said = error.to_string();
    assert!(
        said.contains("lacks the right to create configmaps"),
        "{said}"
    );
    let error = store.secrets("").await.unwrap_err().to_string();
    assert!(error.contains("the right to list secrets"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_missing_is_named() {
    let site = Site::new().await;
    let client = site.cluster.client().await;
    let store = KubernetesStore::new(client, "nowhere", "the cluster");
    assert!(store.load().await.unwrap().meshes.is_empty());
    let error = change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("kubectl create namespace nowhere"), "{said}");
}
