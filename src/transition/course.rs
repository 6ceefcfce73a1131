//! All stages to the end, and how many of them may be done now.

use super::{Awaited, Gate, Goal, Move, Situation, Stage, Standing, Witness, next};
use crate::model::{Marks, Phase, Posture};

/// More stages than any course has: from mTLS over another CA to mTLS again.
const MOST: usize = 64;

/// The way from a situation to a goal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Course {
    /// The stages, in order, each with the marks before it.
    pub stages: Vec<(Stage, Marks)>,
    /// How many of them may be done now, all in one write.
    pub due: usize,
    /// What the next one waits for; `None` where all may be done.
    pub waiting: Option<Waiting>,
    /// Which of them is the first that someone said to stop before, by `hold`.
    pub held: Option<usize>,
}

/// Why a stage is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The phase that does not begin.
    pub phase: Phase,
    /// What is waited for.
    pub gate: Gate,
    /// Whether someone said to stop here, by `hold`.
    pub held: bool,
    /// The proxies that are waited for.
    pub awaited: Vec<Awaited>,
}

/// Whether nothing of a stage is done while someone said to stop before
/// `hold`: it belongs to that phase or, in a change of CA, to a later one. What
/// only takes back what was prepared is none of them.
fn is_held(hold: Phase, stage: &Stage, situation: &Situation) -> bool {
    if stage.phase == hold {
        return true;
    }
    let takes_back = stage.moves.iter().all(|step| match step {
        Move::Withdraw(key) => situation.authorities.get(key) == Some(&Standing::Prepared),
        Move::Confirm => true,
        _ => false,
    });
    let is_of_ca = !hold.is_of_posture() && !stage.phase.is_of_posture();
    is_of_ca && hold < stage.phase && !takes_back
}

/// Goes from `situation` to `goal` as if every gate opened, and says which of
/// them are.
#[must_use]
pub fn course(situation: &Situation, goal: &Goal, witness: &Witness<'_>) -> Course {
    let mut course = Course::default();
    let mut situation = situation.clone();
    while course.stages.len() < MOST
        && let Some(stage) = next(&situation, goal)
    {
        let held = witness
            .rules
            .hold
            .is_some_and(|hold| is_held(hold, &stage, &situation));
        if held && course.held.is_none() {
            course.held = Some(course.stages.len());
        }
        if course.waiting.is_none() {
            let mut gate = stage.gate;
            let mut awaited = witness.awaited(gate, &situation.marks);
            if awaited.is_empty() && situation.posture != Posture::Plaintext {
                // The store would refuse it.
                awaited = witness.holding(&stage.moves);
                if !awaited.is_empty() && gate.is_open() {
                    gate = Gate::LEAF;
                }
            }
            if held || !awaited.is_empty() {
                course.waiting = Some(Waiting {
                    phase: stage.phase,
                    gate,
                    held,
                    awaited,
                });
            } else {
                course.due += 1;
            }
        }
        let marks = situation.marks;
        for step in &stage.moves {
            situation.make(*step);
        }
        course.stages.push((stage, marks));
    }
    course
}
