//! The steps of a mesh, in order: what is staged, what is written at once, and
//! the transition to the end.

mod naming;
mod record;
#[cfg(test)]
mod tests;
mod writes;

use std::borrow::Cow;

use self::naming::Naming;
use self::writes::{changes_mesh, deletes_mesh};
use super::{
    Action, Blocked, Circumstances, MeshPlan, Noted, Opened, Outlook, Risk, Step, Window, expiry,
};
use crate::model::{MeshState, Posture, ResourceKey, Revision, Rules, Strategy};
use crate::transition::{Goal, Move, Situation, Stage, Standing, Witness, course};

/// What is wanted of a mesh beside its changes.
pub(super) struct Wanted {
    /// How its transitions are carried out.
    pub(super) rules: Rules,
    /// Resources that are unchanged and come from elsewhere now.
    pub(super) moved: Vec<ResourceKey>,
    /// Who asks.
    pub(super) revision: Option<Revision>,
    /// Whether it is a call: one step, that changes no CA while mTLS is enabled.
    pub(super) is_call: bool,
}

/// Completes a plan that has its changes with the steps.
///
/// # Errors
///
/// - [`Blocked::CaChangeForbidden`] where another authority would sign while
///   mTLS is enabled and that is forbidden.
/// - [`Blocked::RootTooShort`] where one would come to be wanted that ends soon.
/// - [`Blocked::Invalid`] where the Mesh names no CA that is there.
pub(super) fn plan(
    plan: &mut MeshPlan,
    current: &MeshState,
    wanted: Wanted,
    given: Circumstances<'_>,
) -> Result<(), Blocked> {
    let writes = writes::writes(current, &plan.changes, wanted.moved);
    if deletes_mesh(&plan.changes) {
        plan.take_all(writes);
        return Ok(());
    }
    let changes_rules = wanted.rules != current.progress.rules;
    let after = if plan.changes.is_empty() && !changes_rules {
        Cow::Borrowed(current)
    } else {
        let rules = wanted.rules.clone();
        Cow::Owned(writes::after(current, &plan.changes, rules))
    };
    plan.rules_before =
        (changes_rules && current.mesh().is_some()).then(|| current.progress.rules.clone());
    plan.progress.rules = wanted.rules;
    if after.mesh().is_none() || (wanted.is_call && !changes_mesh(&plan.changes)) {
        plan.take_all(writes);
        return Ok(());
    }
    let goal = Goal::of(&after, given.issuing, given.now).ok_or(Blocked::Invalid)?;
    let before = Goal::of(current, given.issuing, given.now);
    let forbids = wanted.is_call || plan.progress.rules.strategy == Strategy::Forbid;
    let goes_back = !wanted.is_call && goes_back(current, &goal);
    if forbids && changes_ca(current, before.as_ref(), &goal) && !goes_back {
        return Err(Blocked::CaChangeForbidden);
    }
    let (issuing, now) = (given.issuing, given.now);
    plan.stopped = expiry::judge(current, before.as_ref(), &goal, issuing, now)?;
    let naming = Naming {
        after: &after,
        before: before.as_ref(),
        goal: &goal,
        issuing: given.issuing,
    };
    if current.mesh().is_none() {
        plan.create(writes, &naming, given);
    } else if wanted.is_call {
        // One step; the transition that it asks for is the reconciler's.
        plan.take_all(writes);
    } else {
        let before = current.progress.transition.as_ref();
        let revision = if plan.changes.is_empty() {
            before.and_then(|it| it.revision.clone())
        } else {
            wanted.revision
        };
        plan.follow(current, writes, &naming, revision, given);
    }
    Ok(())
}

/// Whether the mesh comes to want another authority while mTLS is enabled. One
/// that it wants already, since it is on the way there or since the present
/// one ends, is none.
fn changes_ca(current: &MeshState, before: Option<&Goal>, goal: &Goal) -> bool {
    let is_enabled = current.mesh().is_some_and(|mesh| mesh.mtls.enabled);
    is_enabled && before.is_none_or(|before| before.target != goal.target)
}

/// Whether a transition that runs is only undone: the authority has signed
/// since it began and is still trusted.
fn goes_back(current: &MeshState, goal: &Goal) -> bool {
    let known = Situation::of(current)
        .authorities
        .get(&goal.target)
        .copied();
    let has_signed = matches!(known, Some(Standing::Active | Standing::Retiring));
    current.progress.transition.is_some() && has_signed
}

impl MeshPlan {
    fn take(&mut self, action: Action) -> &mut Step {
        let number = u32::try_from(self.steps.len()).map_or(u32::MAX, |count| count + 1);
        self.steps.push(Step {
            number,
            risk: risk(&action),
            action,
            phase: None,
            waits_for: None,
            held: None,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Takes what is done now, as are all steps before it.
    pub(super) fn take_all(&mut self, actions: impl IntoIterator<Item = Action>) {
        for action in actions {
            self.take(action);
        }
        self.due = self.steps.len();
    }

    /// A mesh that is new has no connections: it starts as it is to be.
    fn create(&mut self, writes: Vec<Action>, naming: &Naming<'_>, given: Circumstances<'_>) {
        let in_plaintext = Goal {
            enabled: false,
            ..naming.goal.clone()
        };
        let situation = Situation::of(naming.after);
        let witness = witness(naming.after, &self.progress, given);
        let course = course(&situation, &in_plaintext, &witness);
        let stages = course.stages.iter();
        let moves = stages.flat_map(|(stage, _)| &stage.moves);
        let posture = if naming.goal.enabled {
            Posture::Strict
        } else {
            Posture::Plaintext
        };
        self.take_all(moves.map(|step| naming.action(*step, posture)));
        self.take_all(writes);
    }

    /// The writes, and then the transition to the end.
    fn follow(
        &mut self,
        current: &MeshState,
        writes: Vec<Action>,
        naming: &Naming<'_>,
        revision: Option<Revision>,
        given: Circumstances<'_>,
    ) {
        let situation = Situation::of(naming.after);
        let mut progress = self.progress.clone();
        if let Some(transition) = &mut progress.transition {
            transition.approved = naming.approved(transition);
        }
        let witness = witness(naming.after, &progress, given);
        let mut course = course(&situation, naming.goal, &witness);
        if self.stopped.is_some() {
            let ends = course
                .stages
                .iter()
                .position(|(stage, _)| hands_over(stage));
            course.due = course.due.min(ends.unwrap_or(course.due));
        }
        // What is staged is there before anything is written that names it.
        let staged = course.stages.iter().take(course.due);
        let staged = staged.take_while(|(stage, _)| stage.moves.iter().all(is_staging));
        let (first, then) = course.stages.split_at(staged.count());
        let mut posture = situation.posture;
        for (stage, _) in first {
            self.stage(stage, &mut posture, naming);
        }
        self.take_all(writes);
        for (index, (stage, _)) in (first.len()..).zip(then) {
            let begins = self.steps.len();
            self.stage(stage, &mut posture, naming);
            if index < course.due {
                self.due = self.steps.len();
            }
            if course.held == Some(index) {
                self.steps[begins].held = self.progress.rules.hold;
            }
        }
        let due = course.stages.iter().take(course.due);
        let gated = due.filter(|(stage, _)| !stage.gate.is_open());
        let opened = gated.map(|(stage, marks)| Opened {
            gate: stage.gate,
            marks: *marks,
            phase: stage.phase,
        });
        self.opened = opened.collect();
        self.progress.transition = record::record(current, naming, &course, revision, given);
        self.outlook = self.outlook(current, naming, &witness);
        self.waiting = course.waiting;
    }

    fn stage(&mut self, stage: &Stage, posture: &mut Posture, naming: &Naming<'_>) {
        for step in &stage.moves {
            let taken = self.take(naming.action(*step, *posture));
            taken.phase = Some(stage.phase);
            taken.waits_for = Some(stage.gate).filter(|gate| !gate.is_open());
            if let Move::Secure(to) = step {
                *posture = *to;
            }
        }
    }

    fn outlook(
        &self,
        current: &MeshState,
        naming: &Naming<'_>,
        witness: &Witness<'_>,
    ) -> Option<Outlook> {
        let before = current.progress.transition.as_ref();
        let from = before.map_or_else(|| naming.present(current), |it| it.from.clone());
        let to = naming.future();
        let waits = self.steps.iter().any(|it| it.waits_for.is_some());
        let drains = |it: &Step| matches!(it.action, Action::DrainConnections);
        let undrained = if self.steps.iter().any(drains) {
            witness.undrained()
        } else {
            Vec::new()
        };
        (waits || from != to).then(|| Outlook {
            from,
            to,
            strategy: naming.goal.strategy,
            hold: self.progress.rules.hold,
            plaintext: Window::of(&self.steps, &current.progress),
            undrained,
            passed_over: witness.passed_over(),
            replaces: naming.replaces(current, witness.now),
        })
    }
}

/// Whether another authority comes to sign, or connections become plaintext
/// for that: until it has signed, nothing else is secured in another way.
fn hands_over(stage: &Stage) -> bool {
    let hands_over = |step: &Move| matches!(step, Move::Activate(_) | Move::Secure(_));
    stage.moves.iter().any(hands_over)
}

fn is_staging(step: &Move) -> bool {
    matches!(step, Move::Stage(_))
}

fn witness<'a>(after: &'a MeshState, progress: &'a Noted, given: Circumstances<'a>) -> Witness<'a> {
    Witness {
        mesh: after,
        evidence: given.evidence,
        rules: &progress.rules,
        approved: progress.transition.as_ref().map(|it| &it.approved),
        now: given.now,
    }
}

fn risk(action: &Action) -> Risk {
    match action {
        Action::DisableMtls => Risk::Plaintext,
        Action::Secure { from, to, .. } if from > to && *to >= Posture::Permissive => {
            Risk::Plaintext
        }
        // Listeners are replaced, or what no permission allows is denied.
        Action::Secure { from, to, .. }
            if *to >= Posture::Permissive || *from == Posture::Permissive =>
        {
            Risk::Disruptive
        }
        Action::EnableMtls | Action::DrainConnections => Risk::Disruptive,
        Action::RevokeAuthority(_) | Action::DeleteMesh => Risk::Destructive,
        _ => Risk::None,
    }
}
