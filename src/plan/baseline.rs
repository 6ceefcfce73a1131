//! A revision taken as current state, to plan between two revisions with
//! neither store nor secrets at hand.

use std::sync::Arc;

use super::compute::rules_of;
use crate::ca;
use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, AuthorityState, CaSpec, Current, Desired, DesiredMesh,
    Digest, Generation, MeshName, MeshState, Origin, Posture, SpkiId, StoredResource, Timestamp,
};

/// What a store would hold that had applied `base` and nothing else.
///
/// A builtin authority has no certificate here: it stands for the one that
/// the store has.
#[must_use]
pub fn baseline(base: &Desired) -> Current {
    let meshes = base
        .meshes
        .iter()
        .filter(|(name, _)| !base.held_back.contains(*name))
        .map(|(name, mesh)| (name.clone(), Arc::new(mesh_state(base, mesh))))
        .collect();
    Current {
        generation: Generation(0),
        meshes,
    }
}

fn mesh_state(base: &Desired, mesh: &DesiredMesh) -> MeshState {
    let mut state = MeshState::absent(mesh.name.clone());
    for (key, desired) in &mesh.resources {
        let origin = match &base.revision {
            Some(revision) => Origin::Source {
                source: base.source.clone(),
                file: Arc::clone(&desired.location.file),
                revision: revision.clone(),
            },
            None => Origin::Api {},
        };
        let stored = StoredResource {
            resource: desired.resource.clone(),
            digest: desired.digest,
            origin,
        };
        state.resources.insert(key.clone(), Arc::new(stored));
    }
    let choice = mesh
        .mesh()
        .map(|mesh| mesh.mtls.ca.clone())
        .unwrap_or_default();
    for (ca, _) in mesh.provided_cas() {
        let Ok(mut authority) = ca::provided(ca) else {
            continue;
        };
        let chosen = match &choice {
            CaSpec::Builtin { .. } => false,
            CaSpec::Provided { name } => name.as_ref().is_none_or(|name| *name == ca.name),
        };
        if chosen {
            authority.state = AuthorityState::Active;
        }
        state.authorities.insert(authority.id, authority);
    }
    if let Some(mesh) = mesh.mesh() {
        state.progress.rules = rules_of(mesh, &base.policy);
        if mesh.mtls.enabled {
            state.progress.posture = Posture::Strict;
        }
    }
    if let CaSpec::Builtin { ordinal } = choice {
        let authority = builtin(&mesh.name, ordinal.unwrap_or(1));
        state.authorities.insert(authority.id, authority);
    }
    state
}

fn builtin(mesh: &MeshName, ordinal: u32) -> Authority {
    let digest = Digest::of(format!("builtin authority of {mesh}").as_bytes());
    let epoch = Timestamp::from_unix_seconds(0);
    Authority {
        id: AuthorityId(digest),
        spki: SpkiId(digest),
        mesh: mesh.clone(),
        origin: AuthorityOrigin::Builtin { ordinal },
        certificate: Arc::from(""),
        subject: String::new(),
        not_before: epoch,
        not_after: epoch,
        state: AuthorityState::Active,
    }
}
