//! Transitions go on by themselves: as proxies acknowledge, as time passes,
//! and while the source is out of reach.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::pass::{is_outdated, stages};
use super::verdict::Failure;
use super::{Reconciler, report};
use crate::apply::OpenedKeys;
use crate::clock;
use crate::model::{Current, Desired, MeshName, MeshState};
use crate::plan::{self, Circumstances, MeshPlan};

/// How long to wait after an acknowledgement: others follow.
const SETTLE: Duration = Duration::from_millis(50);
/// How often a gate is looked at where nobody acknowledges: drain times end,
/// leaves expire, patience does.
const LOOK: Duration = Duration::from_secs(1);
/// The most writes in one go. No transition has as many stages.
const MAX_ROUNDS: u32 = 64;

impl Reconciler {
    /// Resolves when a transition may go on; never while none runs.
    pub(super) fn acknowledgement(&self) -> impl Future<Output = ()> + Send + use<> {
        let runs = |mesh: &Arc<MeshState>| mesh.progress.transition.is_some();
        let any = self.follower.current().meshes.values().any(runs);
        let mut acknowledged = self.acknowledged.clone();
        async move {
            if !any {
                return std::future::pending().await;
            }
            tokio::select! {
                changed = acknowledged.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    tokio::time::sleep(SETTLE).await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Takes every transition as far as it may go now, and reports on it. What
    /// fails is tried again later.
    pub(super) async fn go_on(&mut self) {
        self.acknowledged.mark_unchanged();
        for _ in 0..MAX_ROUNDS {
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => {
                    let error = crate::telemetry::chain(&failure).to_string();
                    error!(error, "transitions do not go on");
                    break;
                }
            }
        }
    }

    /// Does what is due of every transition once, and returns whether anything was.
    async fn advance(&mut self) -> Result<bool, Failure> {
        let evidence = self.parts.evidence.snapshot();
        let given = Circumstances {
            evidence: &evidence,
            issuing: self.parts.issuing,
            now: clock::now(),
        };
        let stirred = self.stirred.take();
        let concerns = |mesh: &&Arc<MeshState>| {
            let stirred = stirred.as_ref();
            let was_written = stirred.is_none_or(|stirred| stirred.contains(&mesh.name));
            was_written || mesh.progress.transition.is_some()
        };
        let meshes = self.follower.current().meshes.values().filter(concerns);
        let plans: Vec<(MeshPlan, Arc<MeshState>)> = meshes
            .filter_map(|mesh| Some((plan::advance(mesh, given)?, Arc::clone(mesh))))
            .collect();
        self.stirred = Some(BTreeSet::new());
        let due = |(plan, mesh): &&(MeshPlan, Arc<MeshState>)| plan.is_due(mesh) && !stages(plan);
        if !plans.iter().any(|it| due(&it)) {
            self.report_transitions(given);
            return Ok(false);
        }
        // The store judges by what it knows.
        self.parts
            .evidence
            .flush_evidence(&*self.parts.store)
            .await?;
        let mut current = Current::clone(self.follower.current());
        let (mut written, mut outdated) = (false, false);
        for (plan, mesh) in plans.iter().filter(due) {
            if self.check_term().is_err() {
                break;
            }
            let desired = self.on_behalf_of(mesh);
            match self
                .parts
                .write(plan, &mut current, &OpenedKeys::new(), &desired, &evidence)
                .await
            {
                Ok(_) => {
                    written = true;
                    self.stir(&plan.mesh);
                }
                Err(error) if is_outdated(&error) => {
                    debug!(mesh = %plan.mesh, %error, "planned again");
                    self.stir(&plan.mesh);
                    outdated = true;
                }
                Err(error) => {
                    let error = crate::telemetry::chain(&error).to_string();
                    error!(mesh = %plan.mesh, error, "the transition does not go on");
                }
            }
        }
        self.follower.serve(Arc::new(current)).await;
        if outdated {
            // What is taken in here is no news to anyone later: it is planned now.
            let is_new = self.refresh().await?;
            self.report_transitions(given);
            return Ok(written || is_new);
        }
        if !written {
            // What the store refuses now it refuses until something changes.
            self.report_transitions(given);
        }
        Ok(written)
    }

    fn stir(&mut self, mesh: &MeshName) {
        if let Some(stirred) = &mut self.stirred {
            stirred.insert(mesh.clone());
        }
    }

    /// Nothing is desired anew; what is done goes back to the revision that
    /// asked for the transition.
    fn on_behalf_of(&self, mesh: &MeshState) -> Desired {
        let transition = mesh.progress.transition.as_ref();
        Desired {
            revision: transition.and_then(|it| it.revision.clone()),
            ..Desired::empty(self.parts.name.clone())
        }
    }

    fn report_transitions(&mut self, given: Circumstances<'_>) {
        let meshes = self.follower.current().meshes.values();
        let running: Vec<report::Running> = meshes
            .filter_map(|mesh| report::Running::of(mesh, given))
            .collect();
        let stalled: BTreeSet<MeshName> = running
            .iter()
            .filter(|it| it.is_stalled())
            .map(|it| it.mesh().clone())
            .collect();
        for it in running.iter().filter(|it| it.is_stalled()) {
            if !self.stalled.contains(it.mesh()) {
                warn!(mesh = %it.mesh(), why = it.message(), "the transition is stalled");
            }
        }
        for mesh in self.stalled.difference(&stalled) {
            info!(%mesh, "the transition is stalled no longer");
        }
        self.stalled = stalled;
        self.reporter
            .update(given.now, |report| report.transitions(&running));
    }
}
