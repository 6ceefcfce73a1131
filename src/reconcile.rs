//! The loop: gather, plan, apply, publish; its conditions and its back-off.
//!
//! One task owns all of it. It wakes when the repository changes, when
//! someone asks, and now and then; a pass over a revision that is applied
//! already costs nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ca::Issuing;
use crate::clock;
use crate::config::SourceConfig;
use crate::model::{Current, MeshName, Revision, SourceName};
use crate::source::decryption::Identities;
use crate::source::{Repository, RepositoryConfig, Watch};
use crate::state::Publisher;
use crate::store::Store;
use crate::store::encryption::Vault;
use crate::telemetry::Metrics;
use crate::xds::evidence::EvidenceBoard;

mod advance;
mod catch_up;
pub mod desired;
mod keys;
mod pass;
pub mod report;
mod verdict;

use self::desired::{DesiredState, Gathering};
use self::report::{ReportWatch, Reporter, SourceReport};

/// The first wait after a failure; it doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
const LONGEST_BACK_OFF: Duration = Duration::from_mins(1);

/// What the reconciler is built from.
#[derive(Debug)]
pub struct Parts {
    /// Where the desired state comes from.
    pub source: SourceConfig,
    /// Its name.
    pub name: SourceName,
    /// Where clones are kept.
    pub cache_dir: PathBuf,
    /// What opens sealed keys.
    pub identities: Identities,
    /// How leaves are issued: no authority may end before one does.
    pub issuing: Issuing,
    /// Where the current state is kept.
    pub store: Arc<dyn Store>,
    /// What seals keys before they are kept.
    pub vault: Arc<Vault>,
    /// What serves the current state.
    pub publisher: Arc<Publisher>,
    /// What proxies have acknowledged.
    pub evidence: Arc<EvidenceBoard>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Asks for a pass now.
    pub sync: Arc<Notify>,
    /// Says that someone else in this process wrote to the store.
    pub written: Arc<Notify>,
}

/// The reconciler of one source.
#[derive(Debug)]
pub struct Reconciler {
    parts: Parts,
    reporter: Reporter,
    ready: watch::Sender<bool>,
    /// The repository with what was read from it; `None` until it is opened.
    gathering: Option<Gathering>,
    /// Watches a local repository while it answers.
    watch: Option<Watch>,
    current: Arc<Current>,
    /// Whether some authority could not be made ready to sign, which may pass.
    unusable: bool,
    /// The last revision that was accepted and written.
    applied: Option<Revision>,
    /// The revision up to which earlier commits were tried one by one.
    caught_up: Option<Revision>,
    scope: Scope,
    /// The meshes that were written since they were last looked at for what
    /// comes next by itself; `None` are all.
    stirred: Option<BTreeSet<MeshName>>,
    /// The meshes whose transition is stalled, by the log.
    stalled: BTreeSet<MeshName>,
    /// Sees that proxies have acknowledged something.
    acknowledged: watch::Receiver<u64>,
}

/// The meshes that the next plan looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Everything,
    Meshes(BTreeSet<MeshName>),
}

impl Scope {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Meshes(meshes) if meshes.is_empty())
    }

    fn add(&mut self, meshes: impl IntoIterator<Item = MeshName>) {
        if let Self::Meshes(scope) = self {
            scope.extend(meshes);
        }
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Nothing is left to do, or nothing that trying again would help.
    Settled,
    /// Something that may go away failed.
    Retry,
}

impl Reconciler {
    /// A reconciler that starts from what `current` and `applied` say.
    #[must_use]
    pub fn new(parts: Parts, current: Arc<Current>, applied: Option<Revision>) -> Self {
        let report = SourceReport::new(&parts.name, &parts.source, applied.clone(), clock::now());
        let ready = watch::Sender::new(current.generation.0 > 0);
        let acknowledged = parts.evidence.subscribe();
        Self {
            parts,
            reporter: Reporter::new(report),
            ready,
            gathering: None,
            watch: None,
            current,
            unusable: true,
            applied,
            caught_up: None,
            scope: Scope::Everything,
            stirred: None,
            stalled: BTreeSet::new(),
            acknowledged,
        }
    }

    /// Sees how the source stands.
    #[must_use]
    pub fn reports(&self) -> ReportWatch {
        self.reporter.subscribe()
    }

    /// Becomes true with the first snapshot that is reconciled.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Reconciles until `shutdown`. A write that has begun is finished.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let outcome = self.pass().await;
            // Authorities come to their end by themselves.
            self.stirred = None;
            self.go_on().await;
            let wait = match outcome {
                Pass::Settled => {
                    back_off = FIRST_BACK_OFF;
                    self.parts.source.poll_interval
                }
                Pass::Retry => {
                    let wait = jittered(back_off).min(self.parts.source.poll_interval);
                    back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                    wait
                }
            };
            // What is held back may wait for what others write.
            let held_back = outcome == Pass::Settled && !self.scope.is_empty();
            let rested = self.rest(Instant::now() + wait, held_back);
            if shutdown.run_until_cancelled(rested).await.is_none() {
                return;
            }
        }
    }

    /// Waits for the next pass. What others write meanwhile is served at once,
    /// and is a reason for a pass where something is held back.
    async fn rest(&mut self, until: Instant, held_back: bool) {
        loop {
            tokio::select! {
                () = moved(self.watch.as_ref()) => return,
                () = self.parts.sync.notified() => return,
                () = tokio::time::sleep_until(until) => return,
                () = self.acknowledgement() => {
                    self.go_on().await;
                    continue;
                }
                () = self.parts.written.notified() => {}
            }
            // A pass begins with what failed here.
            if self.refresh().await.is_err() || held_back {
                return;
            }
            self.go_on().await;
        }
    }

    /// Does slow work, and serves what others write meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let written = Arc::clone(&self.parts.written);
        loop {
            tokio::select! {
                done = work.as_mut() => return done,
                () = self.acknowledgement() => {
                    self.go_on().await;
                    continue;
                }
                () = written.notified() => {}
            }
            if let Err(error) = self.refresh().await {
                let error = crate::telemetry::chain(&error).to_string();
                tracing::warn!(error, "what was written is not served yet");
            }
        }
    }

    fn repository_config(&self) -> RepositoryConfig {
        RepositoryConfig {
            repo: self.parts.source.repo.clone(),
            branch: self.parts.source.branch.clone(),
            path: self.parts.source.path.clone(),
            cache_dir: self.parts.cache_dir.clone(),
        }
    }

    fn new_gathering(&self, repository: Repository) -> Gathering {
        let state = DesiredState::new(
            self.parts.name.clone(),
            Some(self.parts.identities.clone()),
            self.parts.issuing.leaf_lifetime,
        );
        Gathering {
            repository,
            state,
            loaded: None,
        }
    }
}

/// Resolves when the repository moves; never for one that is only polled.
async fn moved(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The wait, a quarter more or less, so that many daemons do not come at once.
#[allow(
    clippy::disallowed_methods,
    reason = "jitter wants chance; nothing else depends on it"
)]
fn jittered(wait: Duration) -> Duration {
    use rand::Rng as _;
    wait.mul_f64(rand::rng().random_range(0.75..1.25))
}
