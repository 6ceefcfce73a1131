//! What the audit history is told of a write.

use super::plaintext;
use crate::model::{
    EndedTransition, Evidence, HumanDuration, MeshState, PassedGate, Phase, Timestamp,
};
use crate::plan::{Action, MeshPlan, Step};
use crate::transition::{Gate, Witness, passed};

/// What a write proves and ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// The gates that had opened for it.
    pub gates: Vec<PassedGate>,
    /// The transition that ends with it.
    pub ended: Option<EndedTransition>,
}

/// What the history is to say of writing what is due of `plan` to the mesh
/// that is `current`.
#[must_use]
pub fn recorded(
    current: &MeshState,
    plan: &MeshPlan,
    evidence: &Evidence,
    now: Timestamp,
) -> Recorded {
    let running = current.progress.transition.as_ref();
    let witness = Witness {
        mesh: current,
        evidence,
        rules: &plan.progress.rules,
        approved: running.map(|it| &it.approved),
        now,
    };
    let ends = running.filter(|_| plan.progress.transition.is_none());
    let ended = ends.map(|transition| EndedTransition {
        from: transition.from.clone(),
        to: transition.to.clone(),
        started: transition.started,
        took: HumanDuration(now.since(transition.started)),
        plaintext: plaintext(transition, &witness).map(HumanDuration),
    });
    let gate = first_gate(&plan.steps[..plan.due]).map(|gate| {
        let noted = plan.progress.transition.as_ref();
        let phase = noted.map_or(Phase::Done, |it| it.phase);
        let since = running.map_or(now, |it| it.since);
        passed(gate, &current.progress.marks, phase, since, &witness)
    });
    Recorded {
        gates: gate.into_iter().collect(),
        ended,
    }
}

/// The gate that opened for these steps. One behind a step that changes what
/// proxies are told is passed where nobody has to acknowledge anything.
fn first_gate(due: &[Step]) -> Option<Gate> {
    for step in due {
        if step.waits_for.is_some() {
            return step.waits_for;
        }
        if step.action.tells_proxies() {
            return None;
        }
    }
    None
}

impl Action {
    /// Whether what proxies are told changes with it.
    fn tells_proxies(&self) -> bool {
        matches!(
            self,
            Self::PrepareAuthority(_)
                | Self::WithdrawAuthority(_)
                | Self::ActivateAuthority { .. }
                | Self::DrainConnections
                | Self::Secure { .. }
        )
    }
}
