//! What a mesh keeps of a transition that runs, for people.

use super::naming::Naming;
use crate::model::{MeshState, Phase, Posture, Revision, Transition};
use crate::plan::Circumstances;
use crate::transition::{Course, Move, Stage};

/// What is to be known of the transition that runs after what is due is done;
/// `None` where nothing is left of it.
///
/// `revision` is the one that asked for it last.
pub(super) fn record(
    current: &MeshState,
    naming: &Naming<'_>,
    course: &Course,
    revision: Option<Revision>,
    given: Circumstances<'_>,
) -> Option<Transition> {
    if course.due == course.stages.len() {
        return None;
    }
    let (done, _) = course.stages.split_at(course.due);
    let before = current.progress.transition.as_ref();
    let phase = done.last().map(|(stage, _)| stage.phase);
    let opens = |(stage, _): &(Stage, _)| {
        let secures = |it: &Move| matches!(it, Move::Secure(to) if *to < Posture::Strict);
        stage.moves.iter().any(secures)
    };
    let was_strict = current.progress.posture == Posture::Strict;
    let window = naming.goal.enabled && was_strict && done.iter().any(opens);
    Some(Transition {
        from: before.map_or_else(|| naming.present(current), |it| it.from.clone()),
        to: naming.future(),
        revision,
        started: before.map_or(given.now, |it| it.started),
        phase: phase.or(before.map(|it| it.phase)).unwrap_or(Phase::Stage),
        since: match (phase, before) {
            (None, Some(before)) => before.since,
            _ => given.now,
        },
        plaintext_since: before
            .and_then(|it| it.plaintext_since)
            .or(window.then_some(given.now)),
        approved: before.map(|it| naming.approved(it)).unwrap_or_default(),
    })
}
