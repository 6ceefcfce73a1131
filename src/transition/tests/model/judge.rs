//! The real machine and the real admission, asked about a mesh and rows of
//! evidence as the model has them. Answers are remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::world::{
    Rows, Slot, Stored, WORLD, bit, evidence, mesh_state, now, operations, slot_of,
};
use crate::ca::Issuing;
use crate::model::{Authority, AuthorityState, MeshState, Part, Posture};
use crate::store::{MeshWrite, admission};
use crate::transition::{Goal, Key, Move, Situation, Stage, Witness, course, next};

/// What a write made of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) stored: Stored,
    /// The parts whose marks were raised.
    pub(super) raised: u8,
    pub(super) moves: Vec<Move>,
}

impl Outcome {
    fn of(before: &Stored, after: &MeshState, moves: Vec<Move>, unconfirmed: bool) -> Self {
        let progress = &after.progress;
        let slots = std::array::from_fn(|index| {
            let authority = after.authorities.get(&WORLD.authorities[index].id);
            authority.map_or(Slot::Absent, |it| match it.state {
                AuthorityState::Staged => Slot::Staged,
                AuthorityState::Prepared => Slot::Prepared,
                AuthorityState::Active => Slot::Active,
                AuthorityState::Retiring { .. } => Slot::Retiring,
                AuthorityState::Revoked { .. } => Slot::Revoked,
            })
        });
        let raised = Part::ALL
            .into_iter()
            .filter(|part| progress.marks.of(*part) > 1);
        Self {
            raised: raised.fold(0, |all, part| all | bit(part)),
            stored: Stored {
                posture: progress.posture,
                drained: progress.drained == progress.marks.leaf,
                unconfirmed,
                slots,
                wants: before.wants,
            },
            moves,
        }
    }
}

/// What the planner does now, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Planned {
    /// Nothing is left to do.
    There,
    /// A gate is closed.
    Waits,
    Does(Outcome),
    /// The store refused what the planner made of fresh evidence.
    Refused,
}

/// Ways to break the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    None,
    /// Nobody waits before such a move.
    NoGate(Ungated),
    /// What was acknowledged counts by its content, not by its mark.
    Digests,
    /// Who is not connected is not waited for.
    AwayIsAbsent,
    /// Who is not connected is taken for one that is away for long.
    AwayIsLong,
    /// What was rejected counts as acknowledged.
    RejectedCounts,
    /// A connection is on record only when its first leaf is handed out.
    RecordedWithLeaf,
    /// A proxy that drops a secret keeps what it acknowledged of it.
    DroppedCounts,
    /// A proxy that connects is given what the store had before its last write.
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ungated {
    Activate,
    Drain,
    Withdraw,
    Secure,
}

impl Fault {
    fn lets_pass(self, stage: &Stage) -> bool {
        let Self::NoGate(ungated) = self else {
            return false;
        };
        stage.moves.iter().any(|step| match ungated {
            Ungated::Activate => matches!(step, Move::Activate(_)),
            Ungated::Drain => matches!(step, Move::Drain),
            Ungated::Withdraw => matches!(step, Move::Withdraw(_)),
            Ungated::Secure => matches!(step, Move::Secure(_)),
        })
    }
}

type Question = (Stored, Rows, Fault);

#[derive(Default)]
struct Remembered {
    planned: HashMap<Question, Arc<Planned>>,
    next: HashMap<Question, Option<Arc<Outcome>>>,
    allowed: HashMap<Question, Arc<Vec<Outcome>>>,
    goals: HashMap<Stored, Option<(Posture, bool)>>,
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

fn remember<K: std::hash::Hash + Eq + Clone, V: Clone>(
    of: impl Fn(&mut Remembered) -> &mut HashMap<K, V>,
    key: &K,
    answer: impl FnOnce() -> V,
) -> V {
    let known = REMEMBERED.with_borrow_mut(|all| of(all).get(key).cloned());
    known.unwrap_or_else(|| {
        let value = answer();
        REMEMBERED.with_borrow_mut(|all| of(all).insert(key.clone(), value.clone()));
        value
    })
}

fn goal_of(mesh: &MeshState) -> Goal {
    Goal::of(mesh, Issuing::default(), now()).unwrap()
}

/// The posture that the mesh goes to, and whether the authority that is to
/// sign is one that the model knows.
pub(super) fn goal(stored: &Stored) -> Option<Posture> {
    let answer = remember(
        |all| &mut all.goals,
        stored,
        || {
            let mesh = mesh_state(stored);
            let goal = goal_of(&mesh);
            let known = slot_of(goal.target).is_some();
            Some((goal.posture(&Situation::of(&mesh)), known))
        },
    );
    answer
        .filter(|(_, known)| *known)
        .map(|(posture, _)| posture)
}

fn admit(
    stored: &Stored,
    mesh: &MeshState,
    rows: &Rows,
    moves: &[Move],
    unconfirmed: bool,
) -> Option<Outcome> {
    let write = MeshWrite {
        mesh: mesh.name.clone(),
        expected: mesh.generation,
        operations: moves
            .iter()
            .flat_map(|it| operations(stored, *it))
            .collect(),
        history: None,
    };
    let after = admission::admit(mesh, &write, &evidence(rows), now()).ok()?;
    Some(Outcome::of(stored, &after, moves.to_vec(), unconfirmed))
}

/// As if admission let everything pass.
fn force(stored: &Stored, mesh: &MeshState, moves: &[Move]) -> Outcome {
    let mut situation = Situation::of(mesh);
    let mut after = mesh.clone();
    for step in moves {
        situation.make(*step);
        let (Move::Stage(key)
        | Move::Prepare(key)
        | Move::Activate(key)
        | Move::Retire(key)
        | Move::Withdraw(key)
        | Move::Revoke(key)) = *step
        else {
            continue;
        };
        let authority = &WORLD.authorities[slot_of(key).unwrap()];
        let state = match step {
            Move::Prepare(_) => AuthorityState::Prepared,
            Move::Activate(_) => AuthorityState::Active,
            Move::Retire(_) => AuthorityState::Retiring { since: now() },
            Move::Revoke(_) => AuthorityState::Revoked { at: now() },
            _ => AuthorityState::Staged,
        };
        let authority = Authority {
            state,
            ..authority.clone()
        };
        after.authorities.insert(authority.id, authority);
    }
    after.progress.posture = situation.posture;
    after.progress.marks = situation.marks;
    after.progress.drained = situation.drained;
    Outcome::of(stored, &after, moves.to_vec(), situation.unconfirmed)
}

/// What the leader does with this evidence, all that is due in one write.
pub(super) fn plan(stored: &Stored, rows: &Rows, fault: Fault) -> Arc<Planned> {
    let question = (*stored, *rows, fault);
    remember(
        |all| &mut all.planned,
        &question,
        || {
            let mesh = mesh_state(stored);
            let (goal, evidence) = (goal_of(&mesh), evidence(rows));
            let witness = Witness {
                mesh: &mesh,
                evidence: &evidence,
                rules: &mesh.progress.rules,
                approved: None,
                now: now(),
            };
            let course = course(&Situation::of(&mesh), &goal, &witness);
            let Some((first, _)) = course.stages.first() else {
                return Planned::There.into();
            };
            if course.due == 0 && fault.lets_pass(first) {
                return Planned::Does(force(stored, &mesh, &first.moves)).into();
            }
            let due = &course.stages[..course.due];
            let Some((last, _)) = due.last() else {
                return Planned::Waits.into();
            };
            let is_done = course.due == course.stages.len();
            let unconfirmed = !is_done && last.phase.is_of_posture();
            let moves: Vec<Move> = due.iter().flat_map(|(it, _)| it.moves.clone()).collect();
            let outcome = admit(stored, &mesh, rows, &moves, unconfirmed);
            outcome.map_or(Planned::Refused, Planned::Does).into()
        },
    )
}

/// What becomes of the next stage in the hands of a leader that believes that
/// its gate is open, where the store lets it.
pub(super) fn press_on(stored: &Stored, rows: &Rows, fault: Fault) -> Option<Arc<Outcome>> {
    let question = (*stored, *rows, fault);
    remember(
        |all| &mut all.next,
        &question,
        || {
            let mesh = mesh_state(stored);
            let stage = next(&Situation::of(&mesh), &goal_of(&mesh))?;
            let unconfirmed = stage.phase.is_of_posture();
            admit(stored, &mesh, rows, &stage.moves, unconfirmed).map(Arc::new)
        },
    )
}

/// Everything that the store lets anyone do.
pub(super) fn allowed(stored: &Stored, rows: &Rows, fault: Fault) -> Arc<Vec<Outcome>> {
    let question = (*stored, *rows, fault);
    remember(
        |all| &mut all.allowed,
        &question,
        || {
            let mesh = mesh_state(stored);
            let there = stored.slots.iter().map(|slot| *slot != Slot::Absent);
            let target = goal_of(&mesh).target;
            let keys: Vec<Key> = WORLD
                .authorities
                .iter()
                .map(Key::of)
                .zip(there)
                .filter(|(key, there)| *there || *key == target)
                .map(|(key, _)| key)
                .collect();
            let single = [
                Move::Stage,
                Move::Prepare,
                Move::Activate,
                Move::Retire,
                Move::Withdraw,
                Move::Revoke,
            ];
            let mut tries: Vec<Vec<Move>> = keys
                .iter()
                .flat_map(|key| single.map(|step| vec![step(*key)]))
                .collect();
            tries.push(vec![Move::Drain]);
            tries.extend(Posture::ALL.map(|to| vec![Move::Secure(to)]));
            if let Some(active) = Situation::of(&mesh).active() {
                let retire = Move::Retire(active);
                let others = keys.iter().filter(|key| **key != active);
                tries.extend(others.map(|key| vec![retire, Move::Activate(*key)]));
            }
            let outcomes = tries.into_iter().filter_map(|moves| {
                let outcome = admit(stored, &mesh, rows, &moves, stored.unconfirmed)?;
                (outcome.stored != *stored || outcome.raised != 0).then_some(outcome)
            });
            outcomes.collect::<Vec<_>>().into()
        },
    )
}
