//! Snapshots for tests, told apart by a word of content.

pub(super) mod changes;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::snapshot::{Snapshot, TrustBundle};
use crate::ca::Leaf;
use crate::model::{AuthorityId, BundleId, DataplaneId, Digest, PrivateKey, Timestamp};

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
