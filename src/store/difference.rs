//! What a write changes, row by row: so that its cost follows its own size
//! and not the mesh's.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::admission::Admitted;
use super::{MeshWrite, Operation};
use crate::model::{
    Authority, AuthorityId, AuthorityState, Kind, MeshState, ResourceKey, ResourceName, SealedKey,
    StoredResource,
};

/// The rows that differ between two states of a mesh.
#[derive(Debug, Default)]
pub(super) struct Difference<'a> {
    /// Resources that are new or other than before.
    pub(super) put: Vec<(&'a ResourceKey, &'a Arc<StoredResource>)>,
    /// Resources that are gone.
    pub(super) deleted: Vec<&'a ResourceKey>,
    /// Authorities that are new or other than before.
    pub(super) authorities: Vec<(&'a Authority, KeyChange<'a>)>,
    /// Authorities that are gone.
    pub(super) forgotten: Vec<AuthorityId>,
}

/// What becomes of an authority's key.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyChange<'a> {
    /// It stays as it is.
    Keep,
    /// It is kept from now on.
    Put(&'a SealedKey),
    /// It is destroyed.
    Destroy,
}

impl<'a> Difference<'a> {
    /// What `write` changes that leads from `current` to `admitted`.
    pub(super) fn between(
        current: &'a MeshState,
        admitted: &'a Admitted<'a>,
        write: &MeshWrite,
    ) -> Self {
        let next = &admitted.next;
        let mut difference = Self::default();
        let (resources, authorities) = touched(write);
        for key in &resources {
            let before = current.resources.get_key_value(key);
            match (before, next.resources.get_key_value(key)) {
                (Some((_, before)), Some((_, after))) if before == after => {}
                (_, Some(after)) => difference.put.push(after),
                (Some((key, _)), None) => difference.deleted.push(key),
                (None, None) => {}
            }
        }
        for id in authorities {
            match (current.authorities.get(&id), next.authorities.get(&id)) {
                (_, Some(after)) => {
                    let key = match (admitted.keys.get(&id), after.state) {
                        (_, AuthorityState::Revoked { .. }) => KeyChange::Destroy,
                        (Some(key), _) => KeyChange::Put(key),
                        (None, _) => KeyChange::Keep,
                    };
                    difference.authorities.push((after, key));
                }
                (Some(_), None) => difference.forgotten.push(id),
                (None, None) => {}
            }
        }
        difference
    }

    /// The Dataplanes that are gone.
    pub(super) fn deleted_dataplanes(&self) -> impl Iterator<Item = &'a ResourceName> {
        self.deleted
            .iter()
            .filter(|key| key.kind == Kind::Dataplane)
            .map(|key| &key.name)
    }

    /// Whether a key is destroyed.
    pub(super) fn destroys_keys(&self) -> bool {
        let destroyed = |(_, key): &(_, KeyChange<'_>)| matches!(key, KeyChange::Destroy);
        self.authorities.iter().any(destroyed) || !self.forgotten.is_empty()
    }
}

/// What the operations of `write` name, each once and in order.
fn touched(write: &MeshWrite) -> (BTreeSet<ResourceKey>, BTreeSet<AuthorityId>) {
    let mut resources = BTreeSet::new();
    let mut authorities = BTreeSet::new();
    for operation in &write.operations {
        match operation {
            Operation::PutResource(stored) => {
                resources.insert(stored.resource.key());
            }
            Operation::DeleteResource(key) => {
                resources.insert(key.clone());
            }
            Operation::AddAuthority(authority, _) => {
                authorities.insert(authority.id);
            }
            Operation::MoveAuthority(id, _) | Operation::ForgetAuthority(id) => {
                authorities.insert(*id);
            }
            // Stands in the mesh's own row.
            Operation::Secure(_) | Operation::Drain | Operation::Note(..) => {}
        }
    }
    (resources, authorities)
}
