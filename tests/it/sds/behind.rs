//! Proxies that come between a write to the store and its publishing: the write
//! did not wait for them, so they are given nothing that was there before it.

use std::collections::BTreeSet;
use std::time::Duration;

use windlass::model::{AuthorityId, AuthorityState, Generation};
use windlass::store::{MeshWrite, Store as _};

use super::harness::Site;
use super::proxy::{MESH_CA, authorized, delta_subscribe, subscribe, unpack, with_node};

impl Site {
    /// Writes to the store, which is not published yet.
    async fn write(&self) {
        let write = MeshWrite {
            mesh: "demo".parse().unwrap(),
            expected: Generation(1),
            operations: Vec::new(),
            history: None,
        };
        self.store.write(&write).await.unwrap();
    }

    /// Publishes what was written: another root took the place of the one before.
    fn publish_another_root(&mut self) -> BTreeSet<AuthorityId> {
        self.mesh.authorities.clear();
        let id = self.mesh.add_authority(AuthorityState::Active);
        self.mesh.progress.marks.bundle += 1;
        self.publish();
        BTreeSet::from([id])
    }
}

#[tokio::test]
async fn who_comes_between_a_write_and_its_publishing_is_given_what_was_written() {
    let mut site = Site::start().await;
    site.write().await;
    let mut sotw = site.sotw("web", subscribe(&[MESH_CA])).await;
    let mut delta = site.delta("backend", delta_subscribe(&[MESH_CA])).await;
    site.stored_evidence(|all| all.len() == 2 && all.iter().all(|it| !it.asks.is_empty()))
        .await;
    let moment = Duration::from_millis(300);
    let early = tokio::time::timeout(moment, sotw.receive()).await;
    assert!(early.is_err(), "{early:?}");
    let root = site.publish_another_root();
    assert_eq!(sotw.accept().await.authorities(), root);
    assert_eq!(delta.accept().await.authorities(), root);
}

#[tokio::test]
async fn what_is_fetched_between_a_write_and_its_publishing_is_what_was_written() {
    let mut site = Site::start().await;
    site.write().await;
    let mut client = site.client().await;
    let request = with_node("web", subscribe(&[MESH_CA]));
    let request = authorized(request, Some(site.token("web")));
    let fetched = tokio::spawn(async move { client.fetch_secrets(request).await });
    site.stored_evidence(|all| !all.is_empty()).await;
    let root = site.publish_another_root();
    let fetched = fetched.await.unwrap().unwrap().into_inner();
    let secret = super::proxy::Received {
        version: fetched.version_info,
        secret: unpack(&fetched.resources),
    };
    assert_eq!(secret.authorities(), root);
}

#[tokio::test]
async fn what_is_never_published_holds_nobody_up_for_long() {
    let site = Site::start().await;
    site.write().await;
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    assert_eq!(stream.accept().await.authorities().len(), 1);
}
