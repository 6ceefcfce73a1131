//! What no writer may do to a mesh, whoever it is.
//!
//! [`admit`] is pure. Every store calls it inside the transaction of a write,
//! so that neither a planner with a bug nor a stale leader breaks a mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MeshWrite, Operation};
use crate::ca::CertificateInfo;
use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, AuthorityState, CaSpec, DataplaneId, Evidence, Kind,
    MeshState, Resource, ResourceKey, ResourceName, SealedKey, StoredResource, Timestamp,
};

pub use refusal::Refusal;

mod refusal;
#[cfg(test)]
mod tests;

/// Applies `write` to `current` and returns the mesh as it will be, its
/// generation not set yet. A mesh without resources is gone: it comes back as
/// [`MeshState::absent`].
///
/// `evidence` is what the proxies of this mesh have acknowledged; it is looked
/// at only where [`needs_evidence`] says so.
///
/// # Errors
///
/// Fails with the first thing that no writer may do.
pub fn admit(
    current: &MeshState,
    write: &MeshWrite,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<MeshState, Refusal> {
    decide(current, write, evidence, now).map(|admitted| admitted.next)
}

/// Whether [`admit`] looks at the evidence for this write.
#[must_use]
pub fn needs_evidence(write: &MeshWrite) -> bool {
    write.operations.iter().any(|operation| {
        matches!(
            operation,
            Operation::MoveAuthority(_, AuthorityState::Revoked { .. })
        )
    })
}

/// A write that may be done.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    /// The mesh as it will be, its generation not set yet.
    pub(super) next: MeshState,
    /// The keys of the authorities that are new in it.
    pub(super) keys: BTreeMap<AuthorityId, &'a SealedKey>,
}

/// [`admit`], for stores: with the keys that come to be kept.
pub(super) fn decide<'a>(
    current: &MeshState,
    write: &'a MeshWrite,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Admitted<'a>, Refusal> {
    let mut draft = Admitted {
        next: MeshState {
            name: write.mesh.clone(),
            ..current.clone()
        },
        keys: BTreeMap::new(),
    };
    for operation in &write.operations {
        draft.perform(operation)?;
    }
    if draft.next.resources.is_empty() {
        if let Some(&id) = draft.keys.keys().next() {
            return Err(Refusal::AuthorityWithoutMesh {
                id,
                mesh: write.mesh.clone(),
            });
        }
        draft.next = MeshState::absent(write.mesh.clone());
        return Ok(draft);
    }
    whole(&draft.next)?;
    same_ca(current, &draft.next)?;
    signed_as_chosen(current, &draft.next)?;
    nobody_cut_off(current, &draft.next, evidence, now)?;
    Ok(draft)
}

impl<'a> Admitted<'a> {
    fn perform(&mut self, operation: &'a Operation) -> Result<(), Refusal> {
        match operation {
            Operation::PutResource(stored) => self.put(stored),
            Operation::DeleteResource(key) => {
                self.own(key)?;
                self.next.resources.remove(key);
                Ok(())
            }
            Operation::AddAuthority(authority, key) => self.add(authority, key),
            Operation::MoveAuthority(id, to) => self.advance(*id, *to),
            Operation::ForgetAuthority(id) => self.forget(*id),
        }
    }

    fn own(&self, key: &ResourceKey) -> Result<(), Refusal> {
        if key.mesh == self.next.name {
            return Ok(());
        }
        Err(Refusal::ForeignResource {
            resource: key.clone(),
            mesh: self.next.name.clone(),
        })
    }

    fn put(&mut self, stored: &StoredResource) -> Result<(), Refusal> {
        let key = stored.resource.key();
        self.own(&key)?;
        let mut stored = stored.clone();
        if let Resource::ProvidedCa(ca) = &mut stored.resource {
            // The key is kept with the authority, sealed to the store's own identity.
            ca.key.clear();
        }
        if self.next.resources.get(&key).map(|old| &**old) != Some(&stored) {
            self.next.resources.insert(key, Arc::new(stored));
        }
        Ok(())
    }

    fn add(&mut self, authority: &'a Authority, key: &'a SealedKey) -> Result<(), Refusal> {
        let id = authority.id;
        if authority.mesh != self.next.name {
            return Err(Refusal::ForeignAuthority {
                id,
                owner: authority.mesh.clone(),
                mesh: self.next.name.clone(),
            });
        }
        if authority.state != AuthorityState::Staged {
            return Err(Refusal::NotStaged {
                id,
                state: authority.state,
            });
        }
        match self.next.authorities.get(&id).map(|known| known.state) {
            Some(AuthorityState::Revoked { .. }) => Err(Refusal::AlreadyRevoked { id }),
            Some(_) => Ok(()),
            None => {
                self.next.authorities.insert(id, authority.clone());
                self.keys.insert(id, key);
                Ok(())
            }
        }
    }

    fn advance(&mut self, id: AuthorityId, to: AuthorityState) -> Result<(), Refusal> {
        let authority = self
            .next
            .authorities
            .get_mut(&id)
            .ok_or(Refusal::UnknownAuthority { id })?;
        if authority.state.name() == to.name() {
            return Ok(());
        }
        authority.state = authority
            .state
            .become_next(to)
            .map_err(|illegal| Refusal::IllegalMove { id, illegal })?;
        if let AuthorityState::Revoked { .. } = to {
            self.keys.remove(&id);
        }
        Ok(())
    }

    fn forget(&mut self, id: AuthorityId) -> Result<(), Refusal> {
        match self.next.authorities.get(&id).map(|known| known.state) {
            None => Ok(()),
            Some(AuthorityState::Revoked { .. }) => {
                self.next.authorities.remove(&id);
                Ok(())
            }
            Some(state) => Err(Refusal::NotRevoked { id, state }),
        }
    }
}

/// What holds in every mesh, whatever it was before.
fn whole(next: &MeshState) -> Result<(), Refusal> {
    let Some(mesh) = next.mesh() else {
        return Err(Refusal::WithoutMesh {
            mesh: next.name.clone(),
            dependents: next.resources.keys().cloned().collect(),
        });
    };
    let mut active = next
        .authorities
        .values()
        .filter(|authority| authority.state == AuthorityState::Active);
    match (active.next(), active.next()) {
        (Some(first), Some(second)) => Err(Refusal::TwoActive {
            first: first.id,
            second: second.id,
        }),
        (None, _) if mesh.mtls.enabled => Err(Refusal::NoActiveAuthority),
        _ => Ok(()),
    }
}

/// While mTLS is enabled, `mtls.ca` chooses the authority that it chose before.
fn same_ca(current: &MeshState, next: &MeshState) -> Result<(), Refusal> {
    let (Some(before), Some(after)) = (current.mesh(), next.mesh()) else {
        return Ok(());
    };
    if !before.mtls.enabled || before.mtls.ca == after.mtls.ca {
        return Ok(());
    }
    match (current.active_authority(), next.active_authority()) {
        (Some(old), Some(new)) if old.id == new.id && chooses(next, &after.mtls.ca, new) => Ok(()),
        _ => Err(Refusal::CaChangeForbidden),
    }
}

/// While mTLS is enabled, the authority that signs is the one that `mtls.ca` chooses.
fn signed_as_chosen(current: &MeshState, next: &MeshState) -> Result<(), Refusal> {
    let (Some(mesh), Some(active)) = (next.mesh(), next.active_authority()) else {
        return Ok(());
    };
    if !mesh.mtls.enabled || chooses(next, &mesh.mtls.ca, active) {
        Ok(())
    } else if is_enabled(current) {
        Err(Refusal::CaChangeForbidden)
    } else {
        Err(Refusal::OtherActive {
            id: active.id,
            origin: active.origin.clone(),
            ca: mesh.mtls.ca.clone(),
        })
    }
}

fn is_enabled(state: &MeshState) -> bool {
    state.mesh().is_some_and(|mesh| mesh.mtls.enabled)
}

/// Whether `authority` is what `ca` chooses. Where the ProvidedCa is not
/// there to be compared, its name decides.
fn chooses(state: &MeshState, ca: &CaSpec, authority: &Authority) -> bool {
    let (CaSpec::Provided { name: wanted }, AuthorityOrigin::Provided { name: origin }) =
        (ca, &authority.origin)
    else {
        return matches!(
            (ca, &authority.origin),
            (CaSpec::Builtin { .. }, AuthorityOrigin::Builtin { .. })
        );
    };
    match wanted.as_ref().or_else(|| only_provided(state)) {
        Some(name) => match certificate(state, name) {
            Some(id) => id == authority.id,
            None => name == origin,
        },
        None => true,
    }
}

/// The name of the one ProvidedCa, where there is exactly one.
fn only_provided(state: &MeshState) -> Option<&ResourceName> {
    let mut names = state
        .resources
        .keys()
        .filter(|key| key.kind == Kind::ProvidedCa)
        .map(|key| &key.name);
    names.next().filter(|_| names.next().is_none())
}

/// The id of a ProvidedCa's certificate.
fn certificate(state: &MeshState, name: &ResourceName) -> Option<AuthorityId> {
    let key = ResourceKey {
        mesh: state.name.clone(),
        kind: Kind::ProvidedCa,
        name: name.clone(),
    };
    match &state.resources.get(&key)?.resource {
        Resource::ProvidedCa(ca) => CertificateInfo::from_pem(&ca.cert).ok().map(|info| info.id),
        _ => None,
    }
}

/// While mTLS stays enabled, no authority leaves the trust bundle that a
/// proxy's unexpired leaf needs.
fn nobody_cut_off(
    current: &MeshState,
    next: &MeshState,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<(), Refusal> {
    if !is_enabled(current) || !is_enabled(next) {
        return Ok(());
    }
    let trusted = |state: &MeshState, id: &AuthorityId| {
        let authority = state.authorities.get(id);
        authority.is_some_and(|authority| authority.state.is_trusted())
    };
    for &id in current.authorities.keys() {
        if !trusted(current, &id) || trusted(next, &id) {
            continue;
        }
        let dataplanes: Vec<DataplaneId> = evidence
            .values()
            .filter(|proxy| proxy.leaf_issuer == Some(id))
            .filter(|proxy| proxy.leaf_not_after.is_none_or(|end| end > now))
            .map(|proxy| &proxy.dataplane)
            .filter(|proxy| proxy.mesh == next.name && next.dataplane(&proxy.name).is_some())
            .cloned()
            .collect();
        if !dataplanes.is_empty() {
            return Err(Refusal::StillInUse { id, dataplanes });
        }
    }
    Ok(())
}
