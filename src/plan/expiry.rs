//! Roots that would end too soon. Of one that ends soon, [`crate::check`] warns.

use super::{Blocked, Circumstances};
use crate::ca::Issuing;
use crate::model::{HumanDuration, Kind, MeshState, ResourceKey, Timestamp};
use crate::transition::{Goal, Situation};

/// What to do about it.
pub const HINT: &str = "provide a root that lives longer (years are usual), or go back to the \
     authority that signs";

/// Whether the root that a stored mesh wants to sign came to live too short for
/// that while it had to wait, and since when; `None` where it signs already.
#[must_use]
pub fn too_short(mesh: &MeshState, given: Circumstances<'_>) -> Option<(Blocked, Timestamp)> {
    let goal = Goal::of(mesh, given.issuing, given.now)?;
    let blocked = judge(mesh, Some(&goal), &goal, given.issuing, given.now).err()?;
    match blocked {
        Blocked::RootTooShort { ends, needs, .. } => Some((blocked, ends - needs.0)),
        _ => None,
    }
}

/// Judges the provided root that `goal` wants to sign, unless it signs: with
/// mTLS enabled or, where the mesh wants it already, about to be.
///
/// It has to live on for one leaf and one rotation, which takes no longer than
/// leaves live: then nobody holds a leaf of the earlier root. That is asked
/// again for as long as it does not sign: a gate may wait for any time.
///
/// # Errors
///
/// [`Blocked::RootTooShort`] where it does not.
pub(super) fn judge(
    current: &MeshState,
    before: Option<&Goal>,
    goal: &Goal,
    issuing: Issuing,
    now: Timestamp,
) -> Result<(), Blocked> {
    let wanted_before = before.is_some_and(|it| it.enabled && it.target == goal.target);
    let is_secured = current.progress.posture.has_identities();
    let is_active = Situation::of(current).active() == Some(goal.target);
    // To go back to the one that signs is no way to make things worse.
    let signs = is_active && (is_secured || wanted_before);
    let provided = goal.provided.get(&goal.target).filter(|_| goal.enabled);
    let Some(provided) = provided.filter(|_| !signs) else {
        return Ok(());
    };
    let ends = provided.certificate.not_after;
    let needs = issuing.leaf_lifetime * 2;
    if ends.since(now) >= needs {
        return Ok(());
    }
    Err(Blocked::RootTooShort {
        resource: ResourceKey {
            mesh: current.name.clone(),
            kind: Kind::ProvidedCa,
            name: provided.name.clone(),
        },
        ends,
        needs: HumanDuration(needs),
    })
}
