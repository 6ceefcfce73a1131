//! What a revision may delete, and in which order.

use super::{Blocked, Change, Plan};
use crate::model::{
    DataplaneId, DeletionPolicy, Desired, Evidence, Kind, MeshState, ResourceKey, connected,
};

/// The resources that are deleted beside the Mesh, dependents first.
pub(super) fn in_order(changes: &[Change]) -> Vec<ResourceKey> {
    let mut keys: Vec<ResourceKey> = changes
        .iter()
        .filter(|change| change.after.is_none() && change.resource.kind != Kind::Mesh)
        .map(|change| change.resource.clone())
        .collect();
    keys.sort_by(|a, b| b.kind.cmp(&a.kind).then_with(|| a.name.cmp(&b.name)));
    keys
}

/// What stands in the way of a mesh's deletions.
pub(super) fn obstacles(
    current: &MeshState,
    changes: &[Change],
    desired: &Desired,
    evidence: &Evidence,
) -> Vec<Blocked> {
    let deleted = || changes.iter().filter(|change| change.after.is_none());
    let mut blocked = Vec::new();
    let needs_approval: Vec<ResourceKey> = deleted()
        .filter(|change| {
            desired
                .policy
                .deletion
                .require_approval
                .contains(&change.resource.kind)
        })
        .map(|change| change.resource.clone())
        .collect();
    if !needs_approval.is_empty() {
        blocked.push(Blocked::NeedsApproval {
            resources: needs_approval,
        });
    }
    if deleted().any(|change| change.resource.kind == Kind::Mesh) {
        let others: Vec<ResourceKey> = current
            .resources
            .iter()
            .filter(|(_, stored)| !stored.origin.is_source(&desired.source))
            .map(|(key, _)| key.clone())
            .collect();
        if !others.is_empty() {
            blocked.push(Blocked::OwnedByOthers { resources: others });
        }
        let connected: Vec<DataplaneId> = connected(evidence, &current.name).cloned().collect();
        if !connected.is_empty() {
            blocked.push(Blocked::DataplanesConnected {
                dataplanes: connected,
            });
        }
    }
    blocked
}

/// Blocks every mesh that deletes where the revision deletes too much.
pub(super) fn keep_to_budget(plan: &mut Plan, policy: &DeletionPolicy) {
    let Some(limit) = policy.max_resources else {
        return;
    };
    let deletes = |change: &&Change| change.after.is_none();
    let wanted = plan
        .meshes
        .iter()
        .flat_map(|mesh| &mesh.changes)
        .filter(deletes)
        .count();
    if wanted <= limit {
        return;
    }
    for mesh in &mut plan.meshes {
        if mesh.changes.iter().any(|change| change.after.is_none()) {
            mesh.blocked.push(Blocked::BudgetExceeded { limit, wanted });
        }
    }
}
