//! The steps of a mesh, in order: what is staged, what is written at once, and
//! the transition to the end.

use super::deletion;
use super::{Action, AuthorityRef, Blocked, Change, Circumstances, MeshPlan, Noted, Risk, Step};
use crate::ca::CertificateInfo;
use crate::model::{
    Authority, Dataplane, Kind, Mesh, MeshState, Origin, Phase, Posture, Resource, ResourceKey,
    Revision, Rules, StoredResource, Strategy, Transition,
};
use crate::transition::{Course, Gate, Goal, Key, Move, Situation, Stage, Witness, course};
use std::borrow::Cow;
use std::sync::Arc;

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
/// [`Blocked::CaChangeForbidden`] where another authority would sign while
/// mTLS is enabled and that is forbidden, [`Blocked::Invalid`] where the Mesh
/// names no CA that is there.
pub(super) fn plan(
    plan: &mut MeshPlan,
    current: &MeshState,
    wanted: Wanted,
    given: Circumstances<'_>,
) -> Result<(), Blocked> {
    let writes = writes(current, &plan.changes, wanted.moved);
    if deletes_mesh(&plan.changes) {
        plan.take(writes.into_iter().map(|action| (action, None)));
        plan.due = plan.steps.len();
        return Ok(());
    }
    let rules = wanted.rules.clone();
    let after = if plan.changes.is_empty() && rules == current.progress.rules {
        Cow::Borrowed(current)
    } else {
        Cow::Owned(after(current, &plan.changes, rules))
    };
    plan.progress.rules = wanted.rules;
    if after.mesh().is_none() || (wanted.is_call && !changes_mesh(&plan.changes)) {
        plan.take(writes.into_iter().map(|action| (action, None)));
        plan.due = plan.steps.len();
        return Ok(());
    }
    let goal = Goal::of(&after, given.issuing, given.now).ok_or(Blocked::Invalid)?;
    let forbids = wanted.is_call || plan.progress.rules.strategy == Strategy::Forbid;
    if forbids && changes_ca(current, &goal, given) {
        return Err(Blocked::CaChangeForbidden);
    }
    let naming = Naming {
        after: &after,
        goal: &goal,
    };
    if current.mesh().is_none() {
        plan.create(writes, &naming, given);
        return Ok(());
    }
    if wanted.is_call {
        // One step; the transition that it asks for is the reconciler's.
        plan.take(writes.into_iter().map(|action| (action, None)));
        plan.due = plan.steps.len();
        return Ok(());
    }
    let asks = (!plan.changes.is_empty()).then_some(wanted.revision);
    plan.follow(current, writes, &naming, asks, given);
    Ok(())
}

impl MeshPlan {
    fn take(&mut self, actions: impl IntoIterator<Item = (Action, Option<Gate>)>) {
        for (action, waits_for) in actions {
            let number = u32::try_from(self.steps.len()).map_or(u32::MAX, |count| count + 1);
            self.steps.push(Step {
                number,
                risk: risk(&action),
                action,
                waits_for,
            });
        }
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
        let steps = moves.map(|step| naming.action(*step, situation.posture));
        self.take(steps.chain(writes).map(|action| (action, None)));
        self.due = self.steps.len();
    }

    /// The writes, and then the transition to the end.
    fn follow(
        &mut self,
        current: &MeshState,
        writes: Vec<Action>,
        naming: &Naming<'_>,
        asks: Option<Option<Revision>>,
        given: Circumstances<'_>,
    ) {
        let situation = Situation::of(naming.after);
        let witness = witness(naming.after, &self.progress, given);
        let course = course(&situation, naming.goal, &witness);
        let mut posture = situation.posture;
        let mut writes = Some(writes);
        for (index, (stage, _)) in course.stages.iter().enumerate() {
            // What is staged is there before anything is written that names it.
            let stages = stage.phase == Phase::Stage && index < course.due;
            if !stages && let Some(writes) = writes.take() {
                self.take(writes.into_iter().map(|action| (action, None)));
                self.due = self.steps.len();
            }
            for step in &stage.moves {
                let action = naming.action(*step, posture);
                if let Move::Secure(to) = step {
                    posture = *to;
                }
                let gate = Some(stage.gate).filter(|gate| !gate.is_open());
                self.take([(action, gate)]);
            }
            if index < course.due {
                self.due = self.steps.len();
            }
        }
        if let Some(writes) = writes.take() {
            self.take(writes.into_iter().map(|action| (action, None)));
            self.due = self.steps.len();
        }
        self.progress.transition = record(current, naming, &course, asks, given);
        self.waiting = course.waiting;
    }
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

/// What is to be known of the transition that runs after what is due is done.
fn record(
    current: &MeshState,
    naming: &Naming<'_>,
    course: &Course,
    asks: Option<Option<Revision>>,
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
        revision: asks.unwrap_or_else(|| before.and_then(|it| it.revision.clone())),
        started: before.map_or(given.now, |it| it.started),
        phase: phase.or(before.map(|it| it.phase)).unwrap_or(Phase::Stage),
        since: match (phase, before) {
            (None, Some(before)) => before.since,
            _ => given.now,
        },
        plaintext_since: before
            .and_then(|it| it.plaintext_since)
            .or(window.then_some(given.now)),
        approved: before.map(|it| it.approved.clone()).unwrap_or_default(),
    })
}

/// Whether the mesh comes to want another authority while mTLS is enabled.
fn changes_ca(current: &MeshState, goal: &Goal, given: Circumstances<'_>) -> bool {
    let Some(before) = current.mesh().filter(|mesh| mesh.mtls.enabled) else {
        return false;
    };
    let known = Goal::of(current, given.issuing, given.now);
    let kind = |key: Key| matches!(key, Key::Builtin(_));
    let is_builtin = matches!(before.mtls.ca, crate::model::CaSpec::Builtin { .. });
    known.is_none_or(|known| known.target != goal.target) || is_builtin != kind(goal.target)
}

fn deletes_mesh(changes: &[Change]) -> bool {
    let deleted = changes.iter().filter(|change| change.after.is_none());
    deleted.into_iter().any(|it| it.resource.kind == Kind::Mesh)
}

fn changes_mesh(changes: &[Change]) -> bool {
    changes.iter().any(|it| it.resource.kind == Kind::Mesh)
}

/// The mesh as it is once the changes are written.
fn after(current: &MeshState, changes: &[Change], rules: Rules) -> MeshState {
    let mut after = current.clone();
    for change in changes {
        match &change.after {
            Some(wanted) => {
                let stored = StoredResource {
                    resource: wanted.resource.clone(),
                    digest: wanted.digest,
                    origin: Origin::Api {},
                };
                after
                    .resources
                    .insert(change.resource.clone(), Arc::new(stored));
            }
            None => {
                after.resources.remove(&change.resource);
            }
        }
    }
    after.progress.rules = rules;
    after
}

/// What is written at once: the Mesh, deletions with dependents first, then
/// what refers to the Mesh.
fn writes(current: &MeshState, changes: &[Change], moved: Vec<ResourceKey>) -> Vec<Action> {
    let mut actions = Vec::new();
    let deleted = deletion::in_order(changes);
    if deletes_mesh(changes) {
        if !deleted.is_empty() {
            actions.push(Action::DeleteResources(deleted));
        }
        actions.push(Action::DeleteMesh);
        return actions;
    }
    actions.extend(mesh_action(current, changes));
    if !deleted.is_empty() {
        actions.push(Action::DeleteResources(deleted));
    }
    let written: Vec<ResourceKey> = changes
        .iter()
        .filter(|change| change.after.is_some() && change.resource.kind != Kind::Mesh)
        .map(|change| change.resource.clone())
        .collect();
    if !written.is_empty() {
        actions.push(Action::WriteResources(written));
    }
    if !moved.is_empty() {
        actions.push(Action::RecordOrigin(moved));
    }
    actions
}

/// How the Mesh resource itself changes.
fn mesh_action(current: &MeshState, changes: &[Change]) -> Option<Action> {
    let key = ResourceKey::mesh(&current.name);
    let change = changes.iter().find(|change| change.resource == key)?;
    let Resource::Mesh(after) = &change.after.as_ref()?.resource else {
        return None;
    };
    let Some(before) = current.mesh() else {
        return Some(Action::CreateMesh);
    };
    Some(match (before.mtls.enabled, after.mtls.enabled) {
        (false, true) => Action::EnableMtls,
        (true, false) => Action::DisableMtls,
        _ if before.mtls.ca != after.mtls.ca => Action::ChangeCa,
        _ => Action::UpdateMesh,
    })
}

fn risk(action: &Action) -> Risk {
    match action {
        Action::DisableMtls => Risk::Plaintext,
        Action::Secure { from, to } if from > to && *to >= Posture::Permissive => Risk::Plaintext,
        Action::Secure {
            to: Posture::Encrypting,
            ..
        }
        | Action::EnableMtls
        | Action::DrainConnections => Risk::Disruptive,
        Action::RevokeAuthority(_) | Action::DeleteMesh => Risk::Destructive,
        _ => Risk::None,
    }
}

/// Gives moves the names that people know.
struct Naming<'a> {
    after: &'a MeshState,
    goal: &'a Goal,
}

impl Naming<'_> {
    fn action(&self, step: Move, posture: Posture) -> Action {
        match step {
            Move::Stage(Key::Builtin(ordinal)) => Action::CreateAuthority { ordinal },
            Move::Stage(key) => match self.goal.provided.get(&key) {
                Some(provided) => Action::StageAuthority {
                    name: provided.name.clone(),
                    certificate: provided.certificate.clone(),
                },
                // A provided authority that is wanted is one of the goal's.
                None => Action::Confirm,
            },
            Move::Prepare(key) => Action::PrepareAuthority(self.reference(key)),
            Move::Activate(key) => Action::ActivateAuthority {
                certificate: self.described(key),
                authority: self.reference(key),
                reissues: self.reissues(),
            },
            Move::Retire(key) => Action::RetireAuthority(self.reference(key)),
            Move::Drain => Action::DrainConnections,
            Move::Withdraw(key) => Action::WithdrawAuthority(self.reference(key)),
            Move::Revoke(key) => Action::RevokeAuthority(self.reference(key)),
            Move::Secure(to) => Action::Secure { from: posture, to },
            Move::Confirm => Action::Confirm,
        }
    }

    fn stored(&self, key: Key) -> Option<&Authority> {
        let mut all = self.after.authorities.values();
        all.find(|authority| Key::of(authority) == key)
    }

    fn reference(&self, key: Key) -> AuthorityRef {
        match key {
            Key::Builtin(ordinal) => AuthorityRef::Builtin(ordinal),
            Key::Provided(id) => {
                let wanted = self.goal.provided.get(&key).map(|it| it.name.clone());
                let stored = || match &self.stored(key)?.origin {
                    crate::model::AuthorityOrigin::Provided { name } => Some(name.clone()),
                    crate::model::AuthorityOrigin::Builtin { .. } => None,
                };
                match wanted.or_else(stored) {
                    Some(name) => AuthorityRef::Provided { name, id },
                    None => AuthorityRef::Builtin(0),
                }
            }
        }
    }

    /// What the certificate says; nothing where this plan stages or makes it.
    fn described(&self, key: Key) -> Option<CertificateInfo> {
        CertificateInfo::from_pem(&self.stored(key)?.certificate).ok()
    }

    fn reissues(&self) -> Vec<crate::model::DataplaneId> {
        if self.goal.enabled {
            self.after.dataplanes().map(Dataplane::id).collect()
        } else {
            Vec::new()
        }
    }

    /// What the mesh has, in words.
    fn present(&self, current: &MeshState) -> String {
        let signs = current.active_authority().map(Key::of);
        match signs.filter(|_| current.progress.posture != Posture::Plaintext) {
            Some(key) => self.name(key),
            None => "plaintext".to_owned(),
        }
    }

    /// What the mesh is to have, in words.
    fn future(&self) -> String {
        let enabled = self.after.mesh().map(|mesh: &Mesh| mesh.mtls.enabled);
        if enabled == Some(true) {
            self.name(self.goal.target)
        } else {
            "plaintext".to_owned()
        }
    }

    fn name(&self, key: Key) -> String {
        match self.reference(key) {
            AuthorityRef::Builtin(ordinal) => format!("builtin authority {ordinal}"),
            AuthorityRef::Provided { name, .. } => format!("provided authority {name}"),
        }
    }
}
