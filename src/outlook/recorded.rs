//! What the audit history is told of a write.

use super::plaintext;
use crate::model::{EndedTransition, Evidence, HumanDuration, MeshState, PassedGate, Timestamp};
use crate::plan::{MeshPlan, Opened};
use crate::transition::{Witness, passed};

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
    let since = running.map_or(now, |it| it.since);
    let mut gates = Vec::new();
    for opened in &plan.opened {
        let Opened { gate, marks, phase } = *opened;
        if marks == current.progress.marks {
            gates.push(passed(gate, &marks, phase, since, &witness));
            continue;
        }
        // Nobody was told yet what it asks for: it opened since nobody is waited for.
        let passed = passed(gate, &marks, phase, now, &witness);
        gates.extend((passed.without > 0).then_some(passed));
    }
    Recorded { gates, ended }
}
