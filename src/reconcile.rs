//! The loop: gather, plan, apply, publish; its conditions and its back-off.
//!
//! One task owns all of it. It wakes when the repository changes, when
//! someone asks, and now and then; a pass over a revision that is applied
//! already costs nothing. Of the replicas that share a store one reconciles; the
//! others follow ([`crate::follow`]) until it is their turn.

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
use crate::follow::Follower;
use crate::model::{Current, MeshName, Revision, SourceName, SourceStatus};
use crate::source::decryption::Identities;
use crate::source::{Repository, RepositoryConfig, Watch};
use crate::state::Publisher;
use crate::store::encryption::Vault;
use crate::store::{News, Store};
use crate::telemetry::Metrics;
use crate::xds::evidence::EvidenceBoard;

mod advance;
mod catch_up;
pub mod desired;
mod keys;
mod pass;
pub mod report;
mod term;
mod verdict;

use self::desired::{DesiredState, Gathering};
use self::report::{ReportWatch, Reporter, SourceReport};
use self::term::Heard;

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
    /// Asks for a look at what others wrote.
    pub look: Arc<Notify>,
    /// The name of this replica.
    pub replica: Arc<str>,
    /// Whether other replicas may share the store.
    pub shared: bool,
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
    /// Serves what is current.
    follower: Follower,
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
    /// Sees what happens in the store.
    news: watch::Receiver<News>,
    /// What of it was looked at.
    seen: News,
    /// Whether this replica reconciles.
    leading: watch::Sender<bool>,
    /// Cancelled when it no longer does.
    ended: CancellationToken,
    /// The state of the source as it was kept for the other replicas, and when.
    kept: Option<(SourceStatus, Instant)>,
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
    /// A reconciler that starts from what `current` and `applied` say. It leads
    /// once it runs and is let.
    #[must_use]
    pub fn new(parts: Parts, current: Arc<Current>, applied: Option<Revision>) -> Self {
        let report = SourceReport::new(&parts.name, &parts.source, applied.clone(), clock::now());
        let ready = watch::Sender::new(current.generation.0 > 0);
        let acknowledged = parts.evidence.subscribe();
        let news = parts.store.news();
        let seen = *news.borrow();
        let store = Arc::clone(&parts.store);
        let (publisher, evidence) = (Arc::clone(&parts.publisher), Arc::clone(&parts.evidence));
        let follower = Follower::new(store, publisher, Some(evidence), current);
        Self {
            parts,
            reporter: Reporter::new(report),
            ready,
            gathering: None,
            watch: None,
            follower,
            applied,
            caught_up: None,
            scope: Scope::Everything,
            stirred: None,
            stalled: BTreeSet::new(),
            acknowledged,
            news,
            seen,
            leading: watch::Sender::new(false),
            ended: CancellationToken::new(),
            kept: None,
        }
    }

    /// Sees whether this replica reconciles.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
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

    /// Waits for the next pass. What others write meanwhile is served at once,
    /// and is a reason for a pass where something is held back.
    async fn rest(&mut self, until: Instant, held_back: bool) {
        loop {
            self.keep().await;
            let (news, keep_at) = (self.news(Heard::ALL), self.keep_at());
            tokio::select! {
                () = moved(self.watch.as_ref()) => return,
                () = tokio::time::sleep_until(until) => return,
                () = self.acknowledgement() => {
                    self.go_on().await;
                    continue;
                }
                () = at(keep_at) => continue,
                () = news => {}
                () = self.parts.look.notified() => {}
                () = at(self.parts.shared.then(|| Instant::now() + term::POLL)) => {}
            }
            let heard = self.hear();
            if heard.sync {
                return;
            }
            if heard.sources {
                self.check_kept().await;
            }
            // A pass begins with what failed here.
            match self.refresh().await {
                Ok(true) if held_back => return,
                Ok(true) => self.go_on().await,
                Ok(false) => {}
                Err(_) => return,
            }
        }
    }

    /// Does slow work, and serves what others write meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let look = Arc::clone(&self.parts.look);
        loop {
            let news = self.news(Heard::WRITTEN);
            tokio::select! {
                done = work.as_mut() => return done,
                () = self.acknowledgement() => {
                    self.go_on().await;
                    continue;
                }
                () = news => {}
                () = look.notified() => {}
            }
            self.seen.meshes = self.news.borrow().meshes;
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

/// Resolves then; never where there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
