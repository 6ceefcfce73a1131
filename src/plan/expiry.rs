//! Roots that would end too soon. Of one that ends soon, [`crate::check`] warns.

use super::Blocked;
use crate::ca::Issuing;
use crate::model::{HumanDuration, Kind, MeshName, ResourceKey, Timestamp};
use crate::transition::{Goal, Key};

/// Judges the provided root that `goal` wants to sign, unless the mesh wants
/// it already or it `signs` with mTLS enabled.
///
/// It has to live on for one leaf and one rotation, which takes no longer than
/// leaves live: then nobody holds a leaf of the earlier root.
///
/// # Errors
///
/// [`Blocked::RootTooShort`] where it does not.
pub(super) fn judge(
    mesh: &MeshName,
    before: Option<&Goal>,
    signs: Option<Key>,
    goal: &Goal,
    issuing: Issuing,
    now: Timestamp,
) -> Result<(), Blocked> {
    let wanted_before = before.is_some_and(|it| it.enabled && it.target == goal.target);
    // To go back to the one that signs is no way to make things worse.
    let wanted_before = wanted_before || signs == Some(goal.target);
    let provided = goal.provided.get(&goal.target).filter(|_| goal.enabled);
    let Some(provided) = provided.filter(|_| !wanted_before) else {
        return Ok(());
    };
    let ends = provided.certificate.not_after;
    let needs = issuing.leaf_lifetime * 2;
    if ends.since(now) >= needs {
        return Ok(());
    }
    Err(Blocked::RootTooShort {
        resource: ResourceKey {
            mesh: mesh.clone(),
            kind: Kind::ProvidedCa,
            name: provided.name.clone(),
        },
        ends,
        needs: HumanDuration(needs),
    })
}
