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
    let judged = judge(mesh, Some(&goal), &goal, given.issuing, given.now);
    let blocked = judged.unwrap_or_else(Some)?;
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
/// again for as long as it does not sign: a gate may wait for any time. One
/// that is valid and outlives the authority that signs is the better of both.
///
/// Returns why it does not come to sign where the mesh wants it already: only
/// that stops then, and everything else goes on.
///
/// # Errors
///
/// [`Blocked::RootTooShort`] where the mesh would come to want it.
pub(super) fn judge(
    current: &MeshState,
    before: Option<&Goal>,
    goal: &Goal,
    issuing: Issuing,
    now: Timestamp,
) -> Result<Option<Blocked>, Blocked> {
    let wanted_before = before.is_some_and(|it| it.enabled && it.target == goal.target);
    let is_secured = current.progress.posture.has_identities();
    let is_active = Situation::of(current).active() == Some(goal.target);
    // To go back to the one that signs is no way to make things worse.
    let signs = is_active && (is_secured || wanted_before);
    let provided = goal.provided.get(&goal.target).filter(|_| goal.enabled);
    let Some(provided) = provided.filter(|_| !signs) else {
        return Ok(None);
    };
    let ends = provided.certificate.not_after;
    let needs = issuing.leaf_lifetime * 2;
    if ends.since(now) >= needs {
        return Ok(None);
    }
    // One without a certificate only stands for one that a store has.
    let active = current.active_authority();
    let active = active.filter(|it| !it.certificate.is_empty() && (is_secured || wanted_before));
    let outlives = active.is_some_and(|it| it.not_after < ends);
    if outlives && provided.certificate.is_valid(now) {
        return Ok(None);
    }
    let short = Blocked::RootTooShort {
        resource: ResourceKey {
            mesh: current.name.clone(),
            kind: Kind::ProvidedCa,
            name: provided.name.clone(),
        },
        ends,
        needs: HumanDuration(needs),
    };
    if wanted_before {
        Ok(Some(short))
    } else {
        Err(short)
    }
}
