//! One pass of the loop: from the head of the branch to the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, error, info, instrument, warn};

use super::desired::{Gathering, Touched};
use super::report::{ConditionType, State};
use super::verdict::{Failure, Verdict};
use super::{Parts, Pass, Reconciler, Scope};
use crate::apply::{Applier, ApplyError, OpenedKeys};
use crate::clock;
use crate::model::{
    Authority, AuthorityState, Current, Desired, Diagnostic, Evidence, MeshName, MeshState,
    Revision,
};
use crate::outlook;
use crate::plan::{self, Action, AuthorityRef, Circumstances, MeshPlan, Plan};
use crate::source::{Head, Repository};
use crate::store::WriteError;
use crate::store::admission::Refusal;
use crate::telemetry::ReconcileResult;

/// How often a mesh is planned again when others write it at the same time.
const MAX_CONFLICTS: u32 = 5;

impl Reconciler {
    /// Looks once, and does what is to be done.
    #[instrument(skip_all, fields(source = %self.parts.name))]
    pub async fn pass(&mut self) -> Pass {
        let started = Instant::now();
        let mut result = self.try_pass().await;
        for _ in 0..MAX_CONFLICTS {
            if !matches!(result, Err(Failure::Superseded)) {
                break;
            }
            result = self.try_pass().await;
        }
        let outcome = match &result {
            Ok(Done::Nothing) => ReconcileResult::Unchanged,
            Ok(Done::Applied) => ReconcileResult::Applied,
            Ok(Done::HeldBack) => ReconcileResult::HeldBack,
            Err(_) => ReconcileResult::Failed,
        };
        self.parts.metrics.reconciled(outcome, started.elapsed());
        match result {
            // Who does tells how it goes.
            Ok(_) | Err(Failure::NotLeading) => Pass::Settled,
            Err(failure) => {
                self.report_failure(&failure);
                Pass::Retry
            }
        }
    }

    async fn try_pass(&mut self) -> Result<Done, Failure> {
        self.hear();
        self.refresh().await?;
        let head = self.fetch().await?;
        let revision = match head {
            Head::Commit(revision) => revision,
            Head::Empty | Head::Missing => return Ok(self.nothing_to_read(&head)),
        };
        let now = clock::now();
        let touched = self.gather(revision.clone()).await?;
        self.check_term()?;
        match touched {
            None if self.scope.is_empty() => return Ok(Done::Nothing),
            None => {}
            Some(Touched::Everything) => self.scope = Scope::Everything,
            Some(Touched::Meshes(meshes)) => self.scope.add(meshes),
        }
        self.reporter.update(now, |report| report.begin(&revision));
        debug!(%revision, "reconciling");
        let verdict = self.reconcile_loaded(&revision).await?;
        if verdict.ca_change_forbidden.is_empty() {
            return self.conclude(&revision, verdict).await;
        }
        // The documented way of changing a CA is three commits; they may have come at once.
        let verdict = self.catch_up(&revision, verdict).await?;
        self.conclude(&revision, verdict).await
    }

    /// Takes in what others wrote to the store, and returns whether they did.
    pub(super) async fn refresh(&mut self) -> Result<bool, Failure> {
        let Some(touched) = self.follower.refresh().await? else {
            return Ok(false);
        };
        if let Some(stirred) = &mut self.stirred {
            stirred.extend(touched.iter().cloned());
        }
        self.scope.add(touched);
        Ok(true)
    }

    /// Fails where another replica may reconcile by now. What is not written by
    /// then it is to write, who may have seen a later revision.
    pub(super) fn check_term(&self) -> Result<(), Failure> {
        if self.ended.is_cancelled() {
            return Err(Failure::NotLeading);
        }
        Ok(())
    }

    /// Opens the repository if need be, and asks where its branch is.
    async fn fetch(&mut self) -> Result<Head, Failure> {
        let mut gathering = if let Some(gathering) = self.gathering.take() {
            gathering
        } else {
            let config = self.repository_config();
            let opened = blocking(move || Repository::open(&config));
            let opened = self.meanwhile(opened).await?;
            self.new_gathering(opened?)
        };
        // Watching starts before looking, so that no commit falls in between.
        let watch = self.watch.take();
        let looked = blocking(move || {
            let watch = watch.or_else(|| gathering.repository.watch());
            let head = gathering.repository.fetch();
            (gathering, watch, head)
        });
        let (gathering, watch, head) = self.meanwhile(looked).await?;
        self.gathering = Some(gathering);
        let head = head?;
        // The watch of a repository that does not answer may watch what is gone.
        self.watch = watch;
        self.reporter.update(clock::now(), |report| {
            let answers = State::yes("SourceAvailable", "the source answers");
            report.set(ConditionType::Healthy, answers);
        });
        Ok(head)
    }

    /// Loads a revision; `None` where it is loaded already.
    pub(super) async fn gather(&mut self, revision: Revision) -> Result<Option<Touched>, Failure> {
        let mut gathering = self.gathering.take().ok_or(Failure::Interrupted)?;
        let now = clock::now();
        let work = blocking(move || {
            let mut loaded = gathering.load(&revision, now);
            // A root comes near its end without a commit.
            if matches!(loaded, Ok(None)) && gathering.state.recheck(now) {
                loaded = Ok(Some(Touched::Everything));
            }
            (gathering, loaded)
        });
        let (gathering, loaded): (Gathering, _) = self.meanwhile(work).await?;
        self.gathering = Some(gathering);
        Ok(loaded?)
    }

    /// Plans and applies what is loaded, as far as the scope goes.
    pub(super) async fn reconcile_loaded(
        &mut self,
        revision: &Revision,
    ) -> Result<Verdict, Failure> {
        let gathering = self.gathering.as_ref().ok_or(Failure::Interrupted)?;
        let mut verdict = Verdict {
            diagnostics: gathering.state.diagnostics(),
            ..Verdict::default()
        };
        if gathering.state.holds_back_commit() {
            verdict.commit_held_back = true;
            return Ok(verdict);
        }
        let mut desired = gathering.state.desired();
        desired.settled = self.applied.as_ref() == Some(revision);
        for _ in 0..MAX_CONFLICTS {
            let plan = self.plan(&desired);
            let conflicts = self.execute(&plan, &desired, &mut verdict).await?;
            if conflicts.is_empty() {
                // What blocks the whole revision blocks it in every mesh.
                self.scope = if verdict.blocked.is_empty() {
                    Scope::Meshes(verdict.unfinished())
                } else {
                    Scope::Everything
                };
                return Ok(verdict);
            }
            self.scope = Scope::Meshes(conflicts);
            self.refresh().await?;
            // Who wrote may be the one that leads now, from a later revision.
            if self.parts.shared && self.fetch().await? != Head::Commit(revision.clone()) {
                return Err(Failure::Superseded);
            }
        }
        Err(Failure::Contended)
    }

    pub(super) fn plan(&self, desired: &Desired) -> Plan {
        let evidence = self.parts.evidence.snapshot();
        let scope = match &self.scope {
            Scope::Everything => None,
            Scope::Meshes(meshes) => Some(meshes),
        };
        let given = Circumstances {
            evidence: &evidence,
            issuing: self.parts.issuing,
            now: clock::now(),
        };
        plan::plan_within(scope, self.follower.current(), desired, given)
    }

    /// Applies every mesh that is not blocked, and returns those that someone
    /// else wrote in between.
    async fn execute(
        &mut self,
        plan: &Plan,
        desired: &Desired,
        verdict: &mut Verdict,
    ) -> Result<BTreeSet<MeshName>, Failure> {
        // The store judges by what it knows.
        self.parts
            .evidence
            .flush_evidence(&*self.parts.store)
            .await?;
        let gathering = self.gathering.as_ref().ok_or(Failure::Interrupted)?;
        let place = |found: &Diagnostic| gathering.state.place(found.clone());
        verdict
            .diagnostics
            .extend(plan.diagnostics.iter().map(place));
        verdict.blocked.extend(plan.blocked.iter().cloned());
        let keys = gathering.state.open_keys(
            plan.meshes
                .iter()
                .filter(|mesh| !mesh.is_blocked() && stages(mesh))
                .map(|m| &m.mesh),
        );
        let evidence = self.parts.evidence.snapshot();
        let mut current = Current::clone(self.follower.current());
        let mut conflicts = BTreeSet::new();
        let mut failure = None;
        for mesh in &plan.meshes {
            if mesh.is_blocked() {
                verdict.block(mesh);
                continue;
            }
            if let Err(ended) = self.check_term() {
                failure = Some(ended);
                break;
            }
            match self
                .parts
                .write(mesh, &mut current, &keys, desired, &evidence)
                .await
            {
                Ok(true) => {
                    verdict.applied.insert(mesh.mesh.clone());
                }
                // It only waits.
                Ok(false) => {}
                Err(error) if is_outdated(&error) => {
                    conflicts.insert(mesh.mesh.clone());
                }
                Err(ApplyError::Write {
                    source: WriteError::Store(error),
                    ..
                }) => {
                    failure = Some(Failure::Store(error));
                    break;
                }
                Err(error) => {
                    error!(mesh = %mesh.mesh, error = %crate::telemetry::chain(&error), "not applied");
                    verdict.fail(mesh, &error);
                }
            }
        }
        if !verdict.applied.is_empty() {
            self.follower.serve(Arc::new(current)).await;
        }
        failure.map_or(Ok(conflicts), Err)
    }

    /// Says how the pass ended, and remembers it.
    async fn conclude(&mut self, revision: &Revision, verdict: Verdict) -> Result<Done, Failure> {
        let now = clock::now();
        self.check_term()?;
        let complete = verdict.is_complete();
        if complete && self.applied.as_ref() != Some(revision) {
            let mut status = self.reporter.status(Some(revision));
            status.standing = status.standing.filter(|_| self.parts.shared);
            self.parts.store.put_source_status(&status).await?;
            self.applied = Some(revision.clone());
            self.parts.metrics.source_applied(&self.parts.name, now);
        }
        if self.reporter.diagnostics() != verdict.diagnostics {
            log(&verdict.diagnostics);
        }
        self.ready.send_replace(true);
        let done = if !complete {
            Done::HeldBack
        } else if verdict.applied.is_empty() {
            Done::Nothing
        } else {
            Done::Applied
        };
        let mut meshes = self.follower.current().meshes.values();
        let goes_on = meshes.any(|mesh| mesh.progress.transition.is_some());
        self.reporter
            .update(now, |report| report.conclude(revision, verdict, goes_on));
        Ok(done)
    }

    /// The branch has no commit: what was applied stays.
    fn nothing_to_read(&mut self, head: &Head) -> Done {
        let (reason, message) = match head {
            Head::Missing => (
                "BranchMissing",
                "the branch is gone; what was applied stays",
            ),
            _ => (
                "BranchEmpty",
                "the branch has no commit yet; what was applied stays",
            ),
        };
        self.reporter.update(clock::now(), |report| {
            report.set(ConditionType::Ready, State::no(reason, message));
            report.set(ConditionType::Reconciling, State::no(reason, message));
            report.set(ConditionType::Stalled, State::yes(reason, message));
        });
        Done::HeldBack
    }

    fn report_failure(&mut self, failure: &Failure) {
        let message = crate::telemetry::chain(failure).to_string();
        warn!(error = %message, "reconciliation failed, trying again");
        let source = matches!(failure, Failure::Source(_));
        self.reporter.update(clock::now(), |report| {
            report.fail(failure.reason(), &message, source);
        });
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Nothing,
    Applied,
    HeldBack,
}

fn log(diagnostics: &[Diagnostic]) {
    for found in diagnostics.iter().filter(|found| found.is_error()) {
        let code = found.code.as_str();
        warn!(code, file = %found.file, line = found.line, "{}", found.message);
    }
}

impl Parts {
    /// Carries out what is due of the plan of one mesh, and returns whether
    /// anything is.
    pub(super) async fn write(
        &self,
        plan: &MeshPlan,
        current: &mut Current,
        keys: &OpenedKeys,
        desired: &Desired,
        evidence: &Evidence,
    ) -> Result<bool, ApplyError> {
        let before = current.meshes.get(&plan.mesh).cloned();
        let before = before.unwrap_or_else(|| Arc::new(MeshState::absent(plan.mesh.clone())));
        if !plan.is_due(&before) {
            return Ok(false);
        }
        for authority in to_sign(plan, &before) {
            if !self.publisher.can_sign(authority).await {
                return Err(ApplyError::CannotSign {
                    mesh: plan.mesh.clone(),
                    id: authority.id,
                });
            }
        }
        let now = clock::now();
        let applier = Applier {
            evidence,
            store: self.store.as_ref(),
            vault: &self.vault,
            keys,
            now,
        };
        let written = applier.apply(plan, &before, desired).await?;
        let ended = outlook::recorded(&before, plan, evidence, now).ended;
        if let Some(window) = ended.and_then(|ended| ended.plaintext) {
            self.metrics.plaintext_window(&plan.mesh, window.0);
        }
        info!(mesh = %plan.mesh, generation = %written.generation, steps = plan.due, "applied");
        if let Some(ended) = &before.progress.transition
            && plan.progress.transition.is_none()
        {
            info!(mesh = %plan.mesh, from = ended.from, to = ended.to, "the transition has ended");
        }
        // What lies in a gap was written by others and is yet to be taken in.
        if written.generation.0 == current.generation.0 + 1 {
            current.generation = written.generation;
        }
        match written.mesh {
            Some(state) => current.meshes.insert(plan.mesh.clone(), state),
            None => current.meshes.remove(&plan.mesh),
        };
        Ok(true)
    }
}

/// The stored authorities that come to sign now.
fn to_sign<'a>(plan: &MeshPlan, mesh: &'a MeshState) -> impl Iterator<Item = &'a Authority> {
    let due = plan.steps[..plan.due].iter();
    let activated: Vec<AuthorityRef> = due
        .filter_map(|step| match &step.action {
            Action::ActivateAuthority { authority, .. } => Some(authority.clone()),
            _ => None,
        })
        .collect();
    let is_usable = |it: &&Authority| !matches!(it.state, AuthorityState::Revoked { .. });
    let stored = mesh.authorities.values().filter(is_usable);
    stored.filter(move |authority| activated.iter().any(|wanted| wanted.names(authority)))
}

/// Whether the store has moved on, or proxies have, since the plan was made.
pub(super) fn is_outdated(error: &ApplyError) -> bool {
    let ApplyError::Write { source, .. } = error else {
        return false;
    };
    match source {
        WriteError::Conflict { .. } => true,
        WriteError::Refused { source, .. } => {
            matches!(
                source,
                Refusal::Unproven { .. }
                    | Refusal::StillInUse { .. }
                    | Refusal::DataplanesConnected { .. }
            )
        }
        WriteError::Store(_) => false,
    }
}

/// Whether a provided authority comes into the store, whose key a source holds.
pub(super) fn stages(mesh: &MeshPlan) -> bool {
    mesh.steps[..mesh.due]
        .iter()
        .any(|step| matches!(step.action, Action::StageAuthority { .. }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::Interrupted)
}
