//! What the reconciler says of itself: conditions in the manner of Kubernetes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::watch;

use super::verdict::Verdict;
use crate::config::SourceConfig;
use crate::model::{
    Diagnostic, MeshName, MeshState, Revision, SourceName, SourceStatus, Standing, Timestamp,
};
use crate::outlook::Outlook;
use crate::plan::Circumstances;
use crate::source::redact_url;

pub use crate::model::{Condition, ConditionStatus, ConditionType};

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// The source's name.
    pub name: SourceName,
    /// The repository's URL or path, without credentials.
    pub repo: String,
    /// The branch; empty until it is known.
    pub branch: String,
    /// The path inside the repository.
    pub path: String,
    /// The revision that was looked at last.
    pub attempted: Option<Revision>,
    /// The last revision that was accepted and written.
    pub applied: Option<Revision>,
    /// How it stands now.
    pub conditions: Vec<Condition>,
    /// What is wrong with the attempted revision.
    pub diagnostics: Vec<Diagnostic>,
    /// How each mesh stands that is not simply as the revision wants it.
    pub meshes: BTreeMap<MeshName, Vec<Condition>>,
}

/// Sees every report that is published.
pub type ReportWatch = watch::Receiver<Arc<Vec<SourceReport>>>;

/// The status, reason and message of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    status: ConditionStatus,
    reason: String,
    message: String,
}

impl State {
    pub(super) fn yes(reason: &str, message: &str) -> Self {
        Self::new(ConditionStatus::True, reason, message)
    }

    pub(super) fn no(reason: &str, message: &str) -> Self {
        Self::new(ConditionStatus::False, reason, message)
    }

    fn new(status: ConditionStatus, reason: &str, message: &str) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// The reason of the conditions of a transition that runs.
const RUNNING: &str = "TransitionRunning";
/// The reason of the conditions of a transition that waits for longer than it should.
const STALLED: &str = "TransitionStalled";

/// A transition that runs.
#[derive(Debug)]
pub(super) struct Running {
    mesh: MeshName,
    message: String,
    since: Timestamp,
    stalled: bool,
}

impl Running {
    pub(super) fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// The transition of a mesh; `None` where none runs.
    pub(super) fn of(mesh: &MeshState, given: Circumstances<'_>) -> Option<Self> {
        let outlook = Outlook::running(mesh, given)?;
        let mut message = format!("phase {}", outlook.transition.phase);
        if let Some(waiting) = &outlook.waiting {
            if waiting.held {
                let _ = write!(message, ", held before {} by `hold`", waiting.before);
            } else {
                let _ = write!(message, ", waits for {}", waiting.gate);
            }
            for (index, awaited) in waiting.awaited.iter().take(NAMED).enumerate() {
                let start = if index == 0 { ": " } else { ", " };
                let _ = write!(message, "{start}{} ({})", awaited.dataplane, awaited.why);
            }
            if waiting.awaited.len() > NAMED {
                let _ = write!(message, " and {} more", waiting.awaited.len() - NAMED);
            }
        }
        if let Some(obstacle) = &outlook.blocked {
            let _ = write!(message, ", blocked: {obstacle}; {}", obstacle.hint());
        }
        Some(Self {
            mesh: mesh.name.clone(),
            message,
            since: outlook.transition.since,
            stalled: outlook.stalled_since().is_some(),
        })
    }
}

/// The most proxies that a message names.
const NAMED: usize = 5;

/// The one writer of a source's report.
#[derive(Debug)]
pub(super) struct Reporter {
    report: SourceReport,
    sender: watch::Sender<Arc<Vec<SourceReport>>>,
}

impl Reporter {
    pub(super) fn new(report: SourceReport) -> Self {
        let sender = watch::Sender::new(Arc::new(vec![report.clone()]));
        Self { report, sender }
    }

    pub(super) fn subscribe(&self) -> ReportWatch {
        self.sender.subscribe()
    }

    /// What was wrong with the revision that was looked at last.
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        &self.report.diagnostics
    }

    /// What the other replicas are to show.
    pub(super) fn status(&self, applied: Option<&Revision>) -> SourceStatus {
        let report = &self.report;
        let standing = Standing {
            branch: report.branch.clone(),
            attempted: report.attempted.clone(),
            conditions: report.conditions.clone(),
            diagnostics: report.diagnostics.clone(),
            meshes: report.meshes.clone(),
        };
        SourceStatus {
            source: report.name.clone(),
            applied: applied.cloned(),
            standing: Some(Box::new(standing)),
        }
    }

    /// Shows what the replica that reconciles says.
    pub(super) fn show(&mut self, status: &SourceStatus) {
        let before = self.report.clone();
        let report = &mut self.report;
        report.applied.clone_from(&status.applied);
        if let Some(standing) = &status.standing {
            let Standing {
                branch,
                attempted,
                conditions,
                diagnostics,
                meshes,
            } = Standing::clone(standing);
            report.branch = branch;
            report.attempted = attempted;
            report.conditions = conditions;
            report.diagnostics = diagnostics;
            report.meshes = meshes;
        }
        if self.report != before {
            self.publish();
        }
    }

    fn publish(&self) {
        let reports = Arc::new(vec![self.report.clone()]);
        self.sender.send_replace(reports);
    }

    /// Changes the report and publishes it where it is another one then.
    pub(super) fn update(&mut self, now: Timestamp, change: impl FnOnce(&mut Draft<'_>)) {
        let before = self.report.clone();
        change(&mut Draft {
            report: &mut self.report,
            now,
        });
        if self.report != before {
            self.publish();
        }
    }
}

/// A report that is being changed at a point in time.
pub(super) struct Draft<'a> {
    report: &'a mut SourceReport,
    now: Timestamp,
}

impl Draft<'_> {
    /// A revision is looked at.
    pub(super) fn begin(&mut self, revision: &Revision) {
        self.report.attempted = Some(revision.clone());
        self.report.branch = revision.branch.to_string();
        self.set(
            ConditionType::Reconciling,
            State::yes("Progressing", "applying the revision"),
        );
    }

    /// The pass over `revision` is over.
    /// `goes_on` says that transitions run.
    pub(super) fn conclude(&mut self, revision: &Revision, verdict: Verdict, goes_on: bool) {
        let errors = verdict
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .count();
        let (ready, stalled) = if verdict.is_complete() {
            self.report.applied = Some(revision.clone());
            let message = format!("applied {revision}");
            (
                State::yes("ReconciliationSucceeded", &message),
                State::no("ReconciliationSucceeded", &message),
            )
        } else {
            let (reason, message) = problem(&verdict, errors);
            (State::no(reason, &message), State::yes(reason, &message))
        };
        self.set(ConditionType::Ready, ready);
        self.set(ConditionType::Stalled, stalled);
        let reconciling = if goes_on {
            State::yes(RUNNING, "a transition runs")
        } else {
            State::no("Idle", "nothing is under way")
        };
        self.set(ConditionType::Reconciling, reconciling);
        let since = self.now;
        self.report.meshes = verdict
            .meshes
            .into_iter()
            .map(|(mesh, reasons)| {
                let conditions = reasons.into_iter().map(|(reason, message)| Condition {
                    r#type: ConditionType::Stalled,
                    status: ConditionStatus::True,
                    reason,
                    message,
                    last_transition_time: since,
                });
                (mesh, conditions.collect())
            })
            .collect();
        self.report.diagnostics = verdict.diagnostics;
    }

    /// These transitions run, and no others.
    pub(super) fn transitions(&mut self, running: &[Running]) {
        let is_of_transition = |reason: &str| reason == RUNNING || reason == STALLED;
        for conditions in self.report.meshes.values_mut() {
            conditions.retain(|condition| !is_of_transition(&condition.reason));
        }
        for transition in running {
            let (r#type, reason) = if transition.stalled {
                (ConditionType::Stalled, STALLED)
            } else {
                (ConditionType::Reconciling, RUNNING)
            };
            let conditions = self.report.meshes.entry(transition.mesh.clone());
            conditions.or_default().push(Condition {
                r#type,
                status: ConditionStatus::True,
                reason: reason.to_owned(),
                message: transition.message.clone(),
                last_transition_time: transition.since,
            });
        }
        self.report
            .meshes
            .retain(|_, conditions| !conditions.is_empty());
        let said = |running: Vec<&Running>| -> String {
            let each = running
                .iter()
                .map(|it| format!("mesh {}: {}", it.mesh, it.message));
            each.collect::<Vec<_>>().join("; ")
        };
        let reason = |this: &Self, r#type| {
            let mut all = this.report.conditions.iter();
            let found = all.find(|it| it.r#type == r#type);
            found.map(|it| it.reason.clone()).unwrap_or_default()
        };
        if !running.is_empty() && reason(self, ConditionType::Reconciling) != "Retrying" {
            let state = State::yes(RUNNING, &said(running.iter().collect()));
            self.set(ConditionType::Reconciling, state);
        } else if reason(self, ConditionType::Reconciling) == RUNNING {
            self.set(
                ConditionType::Reconciling,
                State::no("Idle", "nothing is under way"),
            );
        }
        let stalled: Vec<_> = running.iter().filter(|it| it.stalled).collect();
        let before = reason(self, ConditionType::Stalled);
        let is_free =
            self.report.conditions.iter().any(|it| {
                it.r#type == ConditionType::Stalled && it.status != ConditionStatus::True
            });
        if !stalled.is_empty() && (is_free || before == STALLED) {
            let state = State::yes(STALLED, &said(stalled));
            self.set(ConditionType::Stalled, state);
        } else if before == STALLED {
            let state = State::no("ReconciliationSucceeded", "every transition goes on");
            self.set(ConditionType::Stalled, state);
        }
    }

    /// The pass failed and will be tried again.
    pub(super) fn fail(&mut self, reason: &str, message: &str, source: bool) {
        if source {
            self.set(ConditionType::Healthy, State::no(reason, message));
        }
        self.set(ConditionType::Ready, State::no(reason, message));
        self.set(ConditionType::Reconciling, State::yes("Retrying", message));
    }

    /// Sets a condition; since when it holds changes only with its status.
    pub(super) fn set(&mut self, r#type: ConditionType, state: State) {
        let now = self.now;
        let conditions = &mut self.report.conditions;
        let before = conditions
            .iter()
            .find(|condition| condition.r#type == r#type);
        let since = before
            .filter(|condition| condition.status == state.status)
            .map_or(now, |condition| condition.last_transition_time);
        conditions.retain(|condition| condition.r#type != r#type);
        conditions.push(Condition {
            r#type,
            status: state.status,
            reason: state.reason,
            message: state.message,
            last_transition_time: since,
        });
        conditions.sort_by_key(|condition| condition.r#type);
    }
}

/// The one reason that a source's conditions name for a revision that is not
/// wholly applied; the diagnostics name all.
fn problem(verdict: &Verdict, errors: usize) -> (&'static str, String) {
    if verdict.commit_held_back {
        return (
            "CommitInvalid",
            format!("nothing of the revision is applied: {errors} errors"),
        );
    }
    if let Some(blocked) = verdict.blocked.first() {
        return (blocked.reason(), blocked.to_string());
    }
    let meshes: Vec<&str> = verdict.meshes.keys().map(MeshName::as_str).collect();
    (
        "MeshesHeldBack",
        format!("held back: mesh {}", meshes.join(", ")),
    )
}

impl SourceReport {
    /// The report of a source that was not looked at yet.
    pub(super) fn new(
        name: &SourceName,
        config: &SourceConfig,
        applied: Option<Revision>,
        now: Timestamp,
    ) -> Self {
        let unknown = |r#type| Condition {
            r#type,
            status: ConditionStatus::Unknown,
            reason: "NotReconciled".to_owned(),
            message: "the source was not looked at yet".to_owned(),
            last_transition_time: now,
        };
        Self {
            name: name.clone(),
            repo: redact_url(&config.repo),
            branch: config.branch.clone().unwrap_or_default(),
            path: config.path.clone(),
            attempted: None,
            applied,
            conditions: vec![
                unknown(ConditionType::Ready),
                unknown(ConditionType::Reconciling),
                unknown(ConditionType::Stalled),
                unknown(ConditionType::Healthy),
            ],
            diagnostics: Vec::new(),
            meshes: BTreeMap::new(),
        }
    }
}
