//! What comes next.

use super::{Gate, Goal, Key, Move, Situation, Standing};
use crate::model::{Phase, Posture};

/// Moves that are made together, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The phase that they belong to.
    pub phase: Phase,
    /// What is waited for.
    pub gate: Gate,
    /// The moves, in order.
    pub moves: Vec<Move>,
}

/// The next stage from `situation` towards `goal`; `None` where it is reached.
///
/// - First all that is to be trusted some day is staged.
/// - What was prepared and is not wanted any more is withdrawn.
/// - In plaintext the authority changes at once. Otherwise it changes under
///   both roots, whatever the posture. Not to one that may not sign.
/// - Then the posture goes to where it is to be, one after the other.
/// - What has signed and is not wanted leaves the bundle last, once nobody
///   needs it and every connection that it authenticated has ended.
#[must_use]
pub fn next(situation: &Situation, goal: &Goal) -> Option<Stage> {
    let moves = moves(situation, goal)?;
    let gates = moves.iter().map(|step| situation.gate(*step));
    // The moves of one stage need one gate at most, from where the stage starts.
    let gate = gates.flatten().find(|gate| !gate.is_open());
    Some(Stage {
        phase: phase(situation, moves.first().copied()?),
        gate: gate.unwrap_or(Gate::OPEN),
        moves,
    })
}

fn moves(situation: &Situation, goal: &Goal) -> Option<Vec<Move>> {
    let missing = |key: &Key| !situation.authorities.contains_key(key);
    let wanted = goal.provided.keys().chain([&goal.target]);
    let mut staged: Vec<Move> = wanted
        .filter(|key| missing(key))
        .copied()
        .map(Move::Stage)
        .collect();
    staged.sort_unstable();
    staged.dedup();
    if !staged.is_empty() {
        return Some(staged);
    }
    let superseded = with(situation, Standing::Prepared).filter(|key| *key != goal.target);
    let superseded: Vec<Move> = superseded.map(Move::Withdraw).collect();
    if !superseded.is_empty() {
        return Some(superseded);
    }
    let posture = goal.posture(situation);
    let active = situation.active();
    let is_idle = situation.posture == Posture::Plaintext;
    // In the strategy `disableFirst`, and before it is disabled, the authority changes in plaintext.
    let changes = goal.may_sign && active != Some(goal.target);
    if changes && (is_idle || posture != Posture::Plaintext) {
        return Some(hand_over(situation, goal.target, active));
    }
    // Nobody needs an earlier one there: it goes before connections use certificates again.
    if is_idle && let Some(moves) = clear(situation, goal) {
        return Some(moves);
    }
    if let Some(towards) = situation.posture.towards(posture) {
        return Some(vec![Move::Secure(towards)]);
    }
    if let Some(moves) = clear(situation, goal) {
        return Some(moves);
    }
    situation.unconfirmed.then(|| vec![Move::Confirm])
}

fn with(situation: &Situation, wanted: Standing) -> impl Iterator<Item = Key> {
    let all = situation.authorities.iter();
    all.filter(move |(_, standing)| **standing == wanted)
        .map(|(key, _)| *key)
}

/// What has signed and signs no more leaves the bundle, and what is not wanted the store.
fn clear(situation: &Situation, goal: &Goal) -> Option<Vec<Move>> {
    let retiring = with(situation, Standing::Retiring).map(Move::Withdraw);
    let retiring: Vec<Move> = retiring.collect();
    if !retiring.is_empty() {
        let is_idle = situation.posture == Posture::Plaintext;
        let drain = !is_idle && !situation.is_drained();
        return Some(if drain { vec![Move::Drain] } else { retiring });
    }
    let unwanted = with(situation, Standing::Staged).filter(|key| !goal.keeps(*key));
    let unwanted: Vec<Move> = unwanted.map(Move::Revoke).collect();
    (!unwanted.is_empty()).then_some(unwanted)
}

/// From one signing authority to the next: it is trusted first.
fn hand_over(situation: &Situation, target: Key, active: Option<Key>) -> Vec<Move> {
    let is_trusted = situation.authorities.get(&target).copied();
    if !is_trusted.is_some_and(Standing::is_trusted) {
        return vec![Move::Prepare(target)];
    }
    let retire = active.map(Move::Retire);
    retire.into_iter().chain([Move::Activate(target)]).collect()
}

fn phase(situation: &Situation, first: Move) -> Phase {
    match first {
        Move::Stage(_) => Phase::Stage,
        Move::Prepare(_) => Phase::Propagate,
        Move::Activate(_) | Move::Retire(_) => Phase::Activate,
        // What only was prepared is taken back.
        Move::Withdraw(key) if situation.authorities.get(&key) == Some(&Standing::Prepared) => {
            Phase::Propagate
        }
        Move::Drain | Move::Withdraw(_) => Phase::Retire,
        Move::Revoke(_) | Move::Confirm => Phase::Done,
        Move::Secure(to) => match (situation.posture < to, to) {
            (true, Posture::Identified) => Phase::Identify,
            (true, Posture::Encrypting) => Phase::Encrypt,
            (true, Posture::Strict) => Phase::Require,
            (true, _) | (false, Posture::Encrypting) => Phase::Permit,
            (false, Posture::Permissive) => Phase::Decrypt,
            (false, Posture::Identified) => Phase::Disarm,
            (false, _) => Phase::Forget,
        },
    }
}
