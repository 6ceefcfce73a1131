//! The next steps of a transition that runs, from the store alone.

use super::steps::{self, Wanted};
use super::{Circumstances, MeshPlan};
use crate::model::MeshState;

/// Plans how a stored mesh goes on towards what its own resources ask for;
/// `None` where it is there.
#[must_use]
pub fn advance(current: &MeshState, given: Circumstances<'_>) -> Option<MeshPlan> {
    let mut plan = MeshPlan::nothing(current);
    current.mesh()?;
    let wanted = Wanted {
        rules: current.progress.rules.clone(),
        moved: Vec::new(),
        revision: None,
        is_call: false,
    };
    steps::plan(&mut plan, current, wanted, given).ok()?;
    let is_there = plan.steps.is_empty() && !plan.is_due(current);
    (!is_there).then_some(plan)
}
