//! What the xDS server keeps in step with the store: evidence, and the tokens.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::Never;
use super::evidence::{Arrivals, EvidenceBoard};
use super::index::Index;
use crate::clock;
use crate::store::encryption::Vault;
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::token::Keyring;

/// How soon a token that another process revoked, or a key that it made, is seen.
const TOKENS: Duration = Duration::from_secs(5);
/// How long evidence gathers before it is written.
pub(super) const GATHER: Duration = Duration::from_millis(200);
/// How long what nothing is decided by may wait longer, such as versions.
pub(super) const INSIGHT: Duration = Duration::from_secs(5);
/// How long what somebody waits for gathers before it is written.
pub(super) const HURRY: Duration = Duration::from_millis(5);
/// The longest time between attempts to write it.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long news of other replicas gather before they are read.
const PULL: Duration = Duration::from_millis(20);
/// How often the store is asked where no news came: they may be lost.
const POLL: Duration = Duration::from_secs(2);
/// How long a proxy that has come waits for what others wrote to be served here.
const FRESH: Duration = Duration::from_millis(700);

/// Keeps the tokens as the store has them.
pub(super) async fn tokens(tokens: &Keyring, store: &dyn Store, vault: &Vault) -> Never {
    let mut news = store.news();
    let mut seen = news.borrow_and_update().secrets;
    let mut failing = false;
    loop {
        let changed = news.wait_for(|it| it.secrets != seen);
        if let Ok(Ok(now)) = timeout(TOKENS, changed).await {
            seen = now.secrets;
        }
        let result = tokens.refresh(store, vault).await;
        if let Err(error) = &result
            && !failing
        {
            tracing::warn!(
                error = %telemetry::chain(error),
                "what other processes did to tokens is not seen; trying again"
            );
        }
        failing = result.is_err();
    }
}

/// Keeps the evidence in step with the store.
pub(super) struct Keeper<'a> {
    pub(super) evidence: &'a EvidenceBoard,
    pub(super) store: &'a dyn Store,
    /// What is served of what the store holds; `None` where nobody else writes.
    pub(super) shared: Option<Shared<'a>>,
}

/// What matters only where other replicas share the store.
pub(super) struct Shared<'a> {
    pub(super) index: &'a Index,
    /// Asks for what others wrote to be served.
    pub(super) look: &'a Notify,
}

impl Keeper<'_> {
    /// Writes what is learnt.
    pub(super) async fn evidence(&self) -> Never {
        let mut changes = self.evidence.subscribe();
        changes.mark_changed();
        let mut reach = self.store.reach();
        let mut pause = GATHER;
        let mut all_at = Instant::now() + INSIGHT;
        loop {
            if pause == GATHER {
                tokio::select! {
                    result = changes.changed() => if result.is_err() {
                        return std::future::pending().await;
                    },
                    () = tokio::time::sleep_until(all_at) => {}
                }
            }
            if pause == GATHER {
                tokio::select! {
                    () = sleep(GATHER) => {}
                    () = self.evidence.hurried() => sleep(HURRY).await,
                }
            } else {
                reach.mark_unchanged();
                tokio::select! {
                    () = sleep(pause) => {}
                    // It may be back.
                    _ = reach.changed() => {}
                }
            }
            changes.mark_unchanged();
            let is_all = Instant::now() >= all_at;
            match self.flush(is_all).await {
                Ok(()) => pause = GATHER,
                Err(error) => {
                    let first = pause == GATHER;
                    pause = (pause * 2).min(LONGEST_RETRY);
                    let error = telemetry::chain(&error).to_string();
                    if first {
                        tracing::warn!(error, "evidence was not written; trying again");
                    } else {
                        tracing::debug!(error, "evidence was not written");
                    }
                    continue;
                }
            }
            if is_all {
                all_at = Instant::now() + INSIGHT;
            }
        }
    }

    async fn flush(&self, is_all: bool) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else {
            return self.evidence.record(is_all, self.store, None).await;
        };
        // Who comes from here on is welcomed the next time.
        let arrivals = self.evidence.arrivals();
        if !arrivals.is_empty() {
            self.welcome(shared, &arrivals).await?;
        }
        if is_all {
            self.evidence.tidy(self.store).await?;
        }
        let recorded = self.evidence.record(is_all, self.store, Some(&arrivals));
        recorded.await?;
        if !arrivals.is_empty() {
            // Who has come waits for what was written before the record.
            shared.look.notify_one();
        }
        Ok(())
    }

    /// Sees to it that who has come is told nothing older than what it was told
    /// elsewhere, and that what others know of it is known here.
    async fn welcome(&self, shared: &Shared<'_>, arrivals: &Arrivals) -> Result<(), StoreError> {
        let generation = self.store.generation().await?;
        let mut serving = shared.index.published();
        if serving.borrow().current.generation < generation {
            shared.look.notify_one();
            let fresh = serving.wait_for(|it| it.current.generation >= generation);
            if timeout(FRESH, fresh).await.is_err() {
                tracing::debug!(%generation, "what others wrote is not served yet");
            }
        }
        self.evidence.pull(self.store, clock::now()).await?;
        let current = serving.borrow().current.clone();
        self.evidence.compare_arrivals(arrivals, &current);
        Ok(())
    }

    /// Takes in what other replicas have learnt.
    pub(super) async fn exchange(&self) -> Never {
        if self.shared.is_none() {
            return std::future::pending().await;
        }
        let mut news = self.store.news();
        let mut seen = news.borrow_and_update().evidence;
        loop {
            let changed = news.wait_for(|it| it.evidence != seen);
            let is_news = timeout(POLL, changed).await.is_ok();
            if is_news {
                sleep(PULL).await;
            }
            seen = news.borrow().evidence;
            if let Err(error) = self.evidence.pull(self.store, clock::now()).await {
                let error = telemetry::chain(&error).to_string();
                tracing::debug!(error, "what others have learnt is not seen yet");
                sleep(GATHER).await;
            }
        }
    }
}
