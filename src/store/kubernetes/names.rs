//! What the store's own objects are called and labelled.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use crate::model::Digest;

/// Who writes: the field manager, and the value of [`MANAGED_BY`].
pub(super) const MANAGER: &str = "windlass";
/// The label that says who made an object.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that says what an object is to the store.
pub(super) const PART: &str = "windlass.io/part";
/// The annotation that says whose an object is, where its name cannot.
pub(super) const NAME: &str = "windlass.io/name";
/// The annotation that says which mesh an object belongs to.
pub(super) const MESH: &str = "windlass.io/mesh";
/// The annotation that says which replica an object belongs to.
pub(super) const REPLICA: &str = "windlass.io/replica";

/// The record that every write moves on: the one that is compared and set.
pub(super) const HEAD: &str = "windlass-store";
/// Someone asked for a reconcile.
pub(super) const SYNC: &str = "windlass-sync";
/// The lease of the replica that reconciles.
pub(super) const LEADER: &str = "windlass-leader";

/// What an object is to the store: the values of [`PART`].
pub(super) mod part {
    pub(in super::super) const HEAD: &str = "head";
    pub(in super::super) const LEDGER: &str = "ledger";
    pub(in super::super) const EVIDENCE: &str = "evidence";
    pub(in super::super) const SOURCE: &str = "source";
    pub(in super::super) const SYNC: &str = "sync";
    pub(in super::super) const REPLICA: &str = "replica";
    pub(in super::super) const LEADER: &str = "leader";
    pub(in super::super) const AUTHORITY_KEY: &str = "authority-key";
    pub(in super::super) const SECRET: &str = "secret";
}

/// An object of the store.
pub(super) fn meta(name: &str, part: &str, annotations: &[(&str, &str)]) -> ObjectMeta {
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let annotations: BTreeMap<String, String> = annotations.iter().copied().map(text).collect();
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([(MANAGED_BY, MANAGER), (PART, part)].map(text).into()),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    }
}

/// A name for an object that belongs to something whose own name may hold
/// anything.
pub(super) fn hashed(prefix: &str, of: &[&str]) -> String {
    let parts = of.iter().flat_map(|part| [part.as_bytes(), b"\0"]);
    let hash = Digest::of_parts(parts).to_hex();
    format!("windlass-{prefix}-{}", &hash[..32])
}

/// A hash that is the same everywhere and for ever (FNV-1a), to spread records.
pub(super) fn spread(of: &[&str]) -> u64 {
    let bytes = of.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An annotation of an object.
pub(super) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> &'a str {
    let annotations = meta.annotations.as_ref();
    annotations
        .and_then(|all| all.get(key))
        .map_or("", String::as_str)
}
