//! What is written at once of what a revision changes.

use std::sync::Arc;

use crate::model::{Kind, MeshState, Origin, Resource, ResourceKey, Rules, StoredResource};
use crate::plan::{Action, Change, deletion};

pub(super) fn deletes_mesh(changes: &[Change]) -> bool {
    let mut deleted = changes.iter().filter(|change| change.after.is_none());
    deleted.any(|it| it.resource.kind == Kind::Mesh)
}

pub(super) fn changes_mesh(changes: &[Change]) -> bool {
    changes.iter().any(|it| it.resource.kind == Kind::Mesh)
}

/// The mesh as it is once the changes are written.
pub(super) fn after(current: &MeshState, changes: &[Change], rules: Rules) -> MeshState {
    let mut after = current.clone();
    for change in changes {
        match &change.after {
            Some(wanted) => {
                let stored = StoredResource {
                    resource: wanted.resource.clone(),
                    digest: wanted.digest,
                    origin: Origin::Api {},
                };
                after
                    .resources
                    .insert(change.resource.clone(), Arc::new(stored));
            }
            None => {
                after.resources.remove(&change.resource);
            }
        }
    }
    after.progress.rules = rules;
    after
}

/// What is written at once: the Mesh, deletions with dependents first, then
/// what refers to the Mesh.
pub(super) fn writes(
    current: &MeshState,
    changes: &[Change],
    moved: Vec<ResourceKey>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let deleted = deletion::in_order(changes);
    if deletes_mesh(changes) {
        if !deleted.is_empty() {
            actions.push(Action::DeleteResources(deleted));
        }
        actions.push(Action::DeleteMesh);
        return actions;
    }
    actions.extend(mesh_action(current, changes));
    if !deleted.is_empty() {
        actions.push(Action::DeleteResources(deleted));
    }
    let written: Vec<ResourceKey> = changes
        .iter()
        .filter(|change| change.after.is_some() && change.resource.kind != Kind::Mesh)
        .map(|change| change.resource.clone())
        .collect();
    if !written.is_empty() {
        actions.push(Action::WriteResources(written));
    }
    if !moved.is_empty() {
        actions.push(Action::RecordOrigin(moved));
    }
    actions
}

/// How the Mesh resource itself changes.
fn mesh_action(current: &MeshState, changes: &[Change]) -> Option<Action> {
    let key = ResourceKey::mesh(&current.name);
    let change = changes.iter().find(|change| change.resource == key)?;
    let Resource::Mesh(after) = &change.after.as_ref()?.resource else {
        return None;
    };
    let Some(before) = current.mesh() else {
        return Some(Action::CreateMesh);
    };
    Some(match (before.mtls.enabled, after.mtls.enabled) {
        (false, true) => Action::EnableMtls,
        (true, false) => Action::DisableMtls,
        _ if before.mtls.ca != after.mtls.ca => Action::ChangeCa,
        _ => Action::UpdateMesh,
    })
}
