//! Steps and reasons in words.

mod action;

use std::fmt;

use super::{Blocked, MeshPlan, Plan, Risk, Step, Verdict, Window};
use crate::model::{DataplaneId, Phase, ResourceKey, count};
use crate::transition::Gate;

/// The most names that a sentence lists.
const MAX_NAMES: usize = 5;

impl Step {
    /// What has to happen before it, in words; `None` where nothing has to.
    #[must_use]
    pub fn gate_in_words(&self) -> Option<String> {
        gate_in_words(self.held, self.waits_for.unwrap_or(Gate::OPEN))
    }
}

/// What is waited for, in words, where the mesh's `hold` stops before it; `None`
/// where nothing is.
#[must_use]
pub fn gate_in_words(hold: Option<Phase>, gate: Gate) -> Option<String> {
    let hold = hold.map(|phase| format!("`hold: {phase}` to be removed"));
    let gate = (!gate.is_open()).then(|| gate.to_string());
    match (hold, gate) {
        (Some(hold), Some(gate)) => Some(format!("{hold}, and {gate}")),
        (hold, gate) => hold.or(gate),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.opens, self.since) {
            (Some(step), _) => write!(f, "from step {step}")?,
            (None, Some(since)) => write!(f, "since {since}")?,
            (None, None) => f.write_str("as before")?,
        }
        match self.closes {
            Some(step) => write!(f, " until step {step} has reached every proxy")?,
            None => f.write_str(" on")?,
        }
        f.write_str(", traffic may be plaintext, and no permission keeps anyone out")
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().take(MAX_NAMES).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    match items.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}

pub(super) struct List<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0)
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("the revision has errors"),
            Self::CaChangeForbidden => f.write_str(super::CA_CHANGE_FORBIDDEN),
            Self::RootTooShort { ends, needs, .. } => write!(
                f,
                "certificate ends on {ends}, which is too soon to sign leaves: it must live on \
                 for {needs}, a leaf and a rotation to the next root"
            ),
            Self::AmbiguousCa { resources } => write!(
                f,
                "the mesh has provided CAs beside those of this revision and must name one: {}",
                List::<ResourceKey>(resources)
            ),
            Self::EmptySource { resources } => write!(
                f,
                "the source holds no resource, and an empty source deletes nothing \
                 ({} in the store)",
                count(*resources, "resource")
            ),
            Self::BudgetExceeded { limit, wanted } => write!(
                f,
                "the revision deletes {}, more than the {limit} that \
                 `deletion.maxResources` allows",
                count(*wanted, "resource")
            ),
            Self::NeedsApproval { resources } => write!(
                f,
                "`deletion.requireApproval` keeps these from being deleted: {}",
                List::<ResourceKey>(resources)
            ),
            Self::DataplanesConnected { dataplanes } => write!(
                f,
                "the mesh is not deleted while dataplanes are connected: {}",
                List::<DataplaneId>(dataplanes)
            ),
            Self::OwnedByOthers { resources } => write!(
                f,
                "these belong to the API or to another source: {}",
                List::<ResourceKey>(resources)
            ),
            Self::Drifted { resources } => write!(
                f,
                "these were changed in the store, and `drift: report` leaves them: {}",
                List::<ResourceKey>(resources)
            ),
        }
    }
}

impl Blocked {
    /// The reason in one word, as in a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::CaChangeForbidden => "CaChangeForbidden",
            Self::RootTooShort { .. } => "RootTooShort",
            Self::AmbiguousCa { .. } => "AmbiguousCa",
            Self::EmptySource { .. } => "EmptySource",
            Self::BudgetExceeded { .. } => "BudgetExceeded",
            Self::NeedsApproval { .. } => "NeedsApproval",
            Self::DataplanesConnected { .. } => "DataplanesConnected",
            Self::OwnedByOthers { .. } => "OwnedByOthers",
            Self::Drifted { .. } => "Drifted",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Disruptive => "disruptive",
            Self::Plaintext => "plaintext",
            Self::Destructive => "destructive",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl MeshPlan {
    /// The id of one of its steps, `<mesh>/<number>`.
    #[must_use]
    pub fn step_id(&self, step: &Step) -> String {
        format!("{}/{}", self.mesh, step.number)
    }

    /// Whether the steps may be executed.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }
}

impl Plan {
    /// Whether a safety rule (not an error of the revision) keeps something
    /// from being done.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let meshes = self.meshes.iter().flat_map(|mesh| &mesh.blocked);
        self.blocked
            .iter()
            .chain(meshes)
            .any(|blocked| *blocked != Blocked::Invalid)
    }

    /// Whether the revision differs from what is stored, as far as it is valid.
    /// A transition that runs anyway is no difference, nor is where resources
    /// come from.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let differs = |mesh: &MeshPlan| !mesh.changes.is_empty() || mesh.rules_before.is_some();
        self.is_blocked() || self.meshes.iter().any(differs)
    }

    /// How many steps of a mesh are done at once, in one write; the others
    /// follow. Nothing is known of the proxies of a revision: whatever waits
    /// for them follows.
    #[must_use]
    pub fn due(&self, mesh: &MeshPlan) -> usize {
        let waits = |step: &Step| step.held.is_some() || step.waits_for.is_some();
        match mesh.steps.iter().position(waits) {
            Some(first) if self.base.is_some() => mesh.due.min(first),
            _ => mesh.due,
        }
    }

    /// How many resources are created, updated and deleted.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for mesh in &self.meshes {
            summary.steps += mesh.steps.len();
            for change in &mesh.changes {
                match (&change.before, &change.after) {
                    (None, _) => summary.create += 1,
                    (Some(_), Some(_)) => summary.update += 1,
                    (Some(_), None) => summary.delete += 1,
                }
            }
        }
        summary
    }
}

/// The counts of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Resources that are created.
    pub create: usize,
    /// Resources that are updated.
    pub update: usize,
    /// Resources that are deleted.
    pub delete: usize,
    /// Steps.
    pub steps: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_before_a_step_that_waits_for_nobody_is_all_that_is_waited_for() {
        let hold = "`hold: retire` to be removed";
        assert_eq!(
            gate_in_words(Some(Phase::Retire), Gate::OPEN).as_deref(),
            Some(hold)
        );
        let both = format!("{hold}, and {}", Gate::LEAF);
        assert_eq!(gate_in_words(Some(Phase::Retire), Gate::LEAF), Some(both));
        assert_eq!(gate_in_words(None, Gate::OPEN), None);
    }
}
