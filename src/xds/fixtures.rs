//! Snapshots for tests, told apart by a word of content.

pub(super) mod changes;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::snapshot::{Snapshot, TrustBundle};
use crate::ca::Leaf;
use crate::model::{
    AuthorityId, BundleId, DataplaneId, Digest, Generation, Origin, PrivateKey, StoredResource,
    Timestamp,
};
use crate::store::memory::MemoryStore;
use crate::store::{MeshWrite, Operation, Store as _};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

pub(super) fn dataplane(name: &str) -> DataplaneId {
    DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

pub(super) fn authority(content: &str) -> AuthorityId {
    AuthorityId(Digest::of(content.as_bytes()))
}

pub(super) fn bundle(content: &str) -> Arc<TrustBundle> {
    Arc::new(TrustBundle {
        id: BundleId(Digest::of(content.as_bytes())),
        authorities: vec![authority(content)],
        pem: content.into(),
    })
}

pub(super) fn leaf(content: &str) -> Arc<Leaf> {
    Arc::new(Leaf {
        certificate: content.into(),
        key: PrivateKey::new(Zeroizing::new(format!("the key of {content}"))),
        issuer: authority(content),
        not_before: at(0),
        not_after: at(1000),
    })
}

/// A snapshot with these contents; an empty word is a secret that does not exist.
pub(super) fn secrets(mesh_ca: &str, identity_cert: &str) -> Snapshot {
    let is_there = |content: &&str| !content.is_empty();
    Snapshot::of_secrets(
        Some(mesh_ca).filter(is_there).map(bundle),
        Some(identity_cert).filter(is_there).map(leaf),
    )
}

/// A store that knows the dataplane `demo/web`.
pub(super) async fn store_of_web() -> MemoryStore {
    let store = MemoryStore::new();
    let resources = [
        serde_json::json!({"type": "Mesh", "name": "demo"}),
        serde_json::json!({"type": "Dataplane", "mesh": "demo", "name": "web", "networking":
            {"address": "127.0.0.1", "gateway": {"tags": {"service": "web"}}}}),
    ];
    let put = |value| {
        let resource = serde_json::from_value(value).unwrap();
        Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
    };
    let write = MeshWrite {
        mesh: "demo".parse().unwrap(),
        expected: Generation(0),
        operations: resources.map(put).into(),
        history: None,
    };
    store.write(&write).await.unwrap();
    store
}
