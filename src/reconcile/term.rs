//! Who reconciles: a replica follows until it leads, and leads until it no longer does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

use super::{FIRST_BACK_OFF, LONGEST_BACK_OFF, Pass, Reconciler, Scope};
use crate::clock;
use crate::clock::jittered;
use crate::store::{Leadership, News, Store, StoreError};

/// How often the store is looked at where no news came: they may be lost.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// The longest wait before leadership is asked for again.
const LONGEST_CLAIM: Duration = Duration::from_secs(2);
/// How often at most the state of the source is kept for the other replicas.
const KEEP: Duration = Duration::from_millis(500);

/// The time that this replica leads.
#[derive(Debug)]
pub(super) struct Term {
    ended: CancellationToken,
    _given_up: DropGuard,
}

impl Term {
    /// It ends when leadership is lost, and is given up at once on `shutdown`.
    fn begin(leadership: Leadership, shutdown: CancellationToken) -> Self {
        let (ended, given_up) = (CancellationToken::new(), CancellationToken::new());
        let end = ended.clone();
        let dropped = given_up.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = leadership.lost() => {}
                () = shutdown.cancelled() => {}
                () = dropped.cancelled() => {}
            }
            end.cancel();
            drop(leadership);
        });
        Self {
            ended,
            _given_up: given_up.drop_guard(),
        }
    }
}

/// What happened in the store since the last look, beside what was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// Someone asked for a pass.
    pub(super) sync: bool,
    /// The state of a source was kept.
    pub(super) sources: bool,
}

impl Heard {
    /// What the loop looks at.
    pub(super) const ALL: fn(&News) -> [u64; 3] = |it| [it.meshes, it.sources, it.sync];
    /// What a pass looks at that is under way.
    pub(super) const WRITTEN: fn(&News) -> [u64; 3] = |it| [it.meshes, 0, 0];
}

/// Leadership, however long the store does not answer.
async fn claim(store: Arc<dyn Store>, replica: Arc<str>) -> Leadership {
    let mut wait = FIRST_BACK_OFF;
    loop {
        match store.lead(&replica).await {
            Ok(leadership) => return leadership,
            Err(error) => debug!(error = %crate::telemetry::chain(&error), "cannot lead yet"),
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(LONGEST_CLAIM);
    }
}

impl Reconciler {
    /// Serves, and reconciles while it leads, until `shutdown`. A write that has
    /// begun is finished.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(leadership) = shutdown.run_until_cancelled(self.follow()).await {
            let term = Term::begin(leadership, shutdown.clone());
            self.ended = term.ended.clone();
            self.lead().await;
            self.leading.send_replace(false);
            drop(term);
            if shutdown.is_cancelled() {
                return;
            }
            info!("this replica no longer reconciles");
        }
    }

    /// Serves what others write until this replica is to lead.
    async fn follow(&mut self) -> Leadership {
        let store = Arc::clone(&self.parts.store);
        let claim = claim(store, Arc::clone(&self.parts.replica));
        let mut claim = std::pin::pin!(claim);
        let look = Arc::clone(&self.parts.look);
        loop {
            tokio::select! {
                biased;
                leadership = claim.as_mut() => return leadership,
                () = self.news(Heard::ALL) => {}
                () = look.notified() => {}
                () = sleep(POLL) => {}
            }
            self.hear();
            // What the store's reach is, others tell.
            if let Err(error) = self.take_in().await {
                debug!(error = %crate::telemetry::chain(&error), "not taken in yet");
            }
        }
    }

    async fn take_in(&mut self) -> Result<(), StoreError> {
        // What it says is applied is served when it is shown.
        let status = self.parts.store.source_status(&self.parts.name).await?;
        self.follower.refresh().await?;
        let is_applied = status.as_ref().is_some_and(|it| it.applied.is_some());
        if self.follower.current().generation.0 > 0 || is_applied {
            self.ready.send_replace(true);
        }
        if let Some(status) = status {
            self.reporter.show(&status);
        }
        Ok(())
    }

    /// Resolves when something happened that was not looked at: one of these.
    pub(super) fn news(
        &self,
        of: fn(&News) -> [u64; 3],
    ) -> impl Future<Output = ()> + Send + use<> {
        let seen = of(&self.seen);
        let mut news = self.news.clone();
        async move {
            if news.wait_for(|it| of(it) != seen).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What happened since the last look.
    pub(super) fn hear(&mut self) -> Heard {
        let now = *self.news.borrow_and_update();
        let seen = std::mem::replace(&mut self.seen, now);
        Heard {
            sync: seen.sync != now.sync,
            sources: seen.sources != now.sources,
        }
    }

    /// Keeps the state of the source again, where another replica did that still
    /// believed that it leads.
    pub(super) async fn check_kept(&mut self) {
        if !self.parts.shared {
            return;
        }
        let Some((kept, _)) = &self.kept else { return };
        let stored = self.parts.store.source_status(&self.parts.name).await;
        if stored.is_ok_and(|stored| stored.as_ref() != Some(kept)) {
            self.kept = None;
        }
    }

    /// Reconciles until the term ends.
    async fn lead(&mut self) {
        let ended = self.ended.clone();
        if ended.run_until_cancelled(self.begin_term()).await.is_none() {
            return;
        }
        self.leading.send_replace(true);
        if self.parts.shared {
            info!("this replica reconciles now");
        }
        let mut back_off = FIRST_BACK_OFF;
        while !ended.is_cancelled() {
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
            if ended.run_until_cancelled(rested).await.is_none() {
                return;
            }
        }
    }

    /// Starts from what the store says, as a process does that was just started.
    async fn begin_term(&mut self) {
        let mut wait = FIRST_BACK_OFF;
        while let Err(error) = self.catch_on().await {
            debug!(error = %crate::telemetry::chain(&error), "cannot begin yet");
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_CLAIM);
        }
        self.caught_up = None;
        self.scope = Scope::Everything;
        self.stirred = None;
        self.stalled.clear();
        self.kept = None;
    }

    async fn catch_on(&mut self) -> Result<(), StoreError> {
        self.take_in().await?;
        let store = &*self.parts.store;
        let status = store.source_status(&self.parts.name).await?;
        self.applied = status.and_then(|status| status.applied);
        if self.parts.shared {
            self.parts.evidence.reload(store, clock::now()).await?;
        }
        Ok(())
    }

    /// When the state of the source is to be kept, where it is not.
    pub(super) fn keep_at(&self) -> Option<Instant> {
        let is_kept = |(kept, _): &(_, _)| *kept == self.reporter.status(self.applied.as_ref());
        let is_due = self.parts.shared && !self.kept.as_ref().is_some_and(is_kept);
        let last = self.kept.as_ref().map(|(_, at)| *at);
        is_due.then(|| last.map_or_else(Instant::now, |last| last + KEEP))
    }

    /// Keeps the state of the source for the other replicas, if it is time.
    pub(super) async fn keep(&mut self) {
        if self.keep_at().is_none_or(|at| at > Instant::now()) || self.ended.is_cancelled() {
            return;
        }
        let status = self.reporter.status(self.applied.as_ref());
        // What fails is tried again with the next look.
        match self.parts.store.put_source_status(&status).await {
            Ok(()) => self.kept = Some((status, Instant::now())),
            Err(error) => debug!(error = %crate::telemetry::chain(&error), "not kept yet"),
        }
    }
}
