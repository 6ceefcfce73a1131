//! The replicas of the control plane that share a store: this one tells that it
//! lives, and the one that reconciles speaks for those that no longer do.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::clock;
use crate::model::Timestamp;
use crate::state;
use crate::store::encryption::Vault;
use crate::store::{Announced, Reach, Replica, Store, StoreError};
use crate::telemetry;
use crate::xds::evidence::EvidenceBoard;

/// How often a replica tells that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How often one that shares its store with nobody does.
const ALONE: Duration = Duration::from_secs(5);
/// For how long a replica may be silent before it counts as dead.
pub const SILENCE: Duration = Duration::from_secs(6);
/// For how long a dead replica is remembered.
const MEMORY: Duration = Duration::from_mins(10);
/// How often all evidence is read again: what was forgotten is no news.
const RELOAD: Duration = Duration::from_mins(1);

/// Two replicas of one name would write over each other's evidence.
#[derive(Debug, thiserror::Error)]
#[error("another replica called {name} runs on this store; set general.instanceId to another name")]
pub struct NameTaken {
    /// The name.
    pub name: Arc<str>,
}

/// A replica, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Since when it runs.
    pub since: Timestamp,
    /// Whether it reconciles.
    pub leads: bool,
    /// Since when it is silent, where it counts as dead.
    pub silent_since: Option<Timestamp>,
}

/// The replicas, in the order of their names; this one is among them.
pub type Roster = Arc<Vec<Member>>;

/// What the task works with.
#[derive(Debug)]
pub struct Parts {
    /// Where replicas meet.
    pub store: Arc<dyn Store>,
    /// What proxies have acknowledged.
    pub evidence: Arc<EvidenceBoard>,
    /// What is served.
    pub serving: state::Watch,
    /// Whether this replica reconciles.
    pub leading: watch::Receiver<bool>,
    /// What seals keys: others are told what it can open.
    pub vault: Arc<Vault>,
    /// Whether other replicas may share the store.
    pub shared: bool,
}

/// This replica among the others.
#[derive(Debug)]
pub struct Replicas {
    parts: Parts,
    own: Replica,
    roster: watch::Sender<Roster>,
    /// When the store last took the word of this replica.
    heard: Option<Instant>,
    /// Since when it has without a break.
    steady_since: Instant,
    /// When all evidence is to be read again.
    reload_at: Instant,
    /// Whether the file of the store's identities could not be read last.
    unreadable: bool,
}

/// Sees to it that no other replica of this name lives, and announces this one.
///
/// # Errors
///
/// Fails where another one lives, and when the store does.
pub async fn enter(store: &dyn Store, own: &Replica) -> Result<Result<(), NameTaken>, StoreError> {
    let other = |all: Vec<Announced>| {
        let mut all = all.into_iter();
        all.find(|it| it.replica.name == own.name && it.replica.run != own.run)
    };
    if let Some(before) = other(store.replicas().await?)
        && before.ago < SILENCE
    {
        // One that was killed says nothing more.
        let wait = BEAT + BEAT / 2;
        sleep(wait).await;
        let now = other(store.replicas().await?);
        if now.is_some_and(|now| now.ago < before.ago + wait / 2) {
            let name = Arc::clone(&own.name);
            return Ok(Err(NameTaken { name }));
        }
    }
    store.announce(own).await?;
    Ok(Ok(()))
}

impl Replicas {
    /// This replica, which has entered.
    #[must_use]
    pub fn new(parts: Parts, own: Replica) -> Self {
        let now = Instant::now();
        let alone = member(&own, None);
        Self {
            parts,
            own,
            roster: watch::Sender::new(Arc::new(vec![alone])),
            heard: Some(now),
            steady_since: now,
            reload_at: now + RELOAD,
            unreadable: false,
        }
    }

    /// Sees who is there.
    #[must_use]
    pub fn roster(&self) -> watch::Receiver<Roster> {
        self.roster.subscribe()
    }

    /// Tells that this replica lives until `shutdown`.
    ///
    /// # Errors
    ///
    /// Fails where another replica of this name has started.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), NameTaken> {
        let shown = show_whether_leading(
            self.roster.clone(),
            Arc::clone(&self.own.name),
            self.parts.leading.clone(),
        );
        let lived = shutdown.run_until_cancelled(self.live());
        tokio::select! {
            taken = lived => taken.map_or(Ok(()), Err),
            never = shown => match never {},
        }
    }

    async fn live(&mut self) -> NameTaken {
        let mut leading = self.parts.leading.clone();
        if !self.parts.shared {
            self.bury_former().await;
        }
        let mut reach = self.parts.store.reach();
        loop {
            self.own.leads = *leading.borrow_and_update();
            self.look_at_identities();
            if self.parts.shared {
                match self.beat().await {
                    Ok(Some(taken)) => return taken,
                    Ok(None) => {}
                    Err(error) => debug!(error = %telemetry::chain(&error), "not heard"),
                }
            } else {
                // Nobody else runs, but for who seals keys anew.
                if let Err(error) = self.parts.store.announce(&self.own).await {
                    debug!(error = %telemetry::chain(&error), "not heard");
                }
                let alone = Arc::new(vec![member(&self.own, None)]);
                self.roster.send_replace(alone);
            }
            tokio::select! {
                () = sleep(if self.parts.shared { BEAT } else { ALONE }) => {}
                Ok(()) = leading.changed() => {}
                Ok(()) = reach.changed() => tell(&reach.borrow_and_update()),
            }
        }
    }

    /// Sees whether the file of identities is another one by now.
    fn look_at_identities(&mut self) {
        let vault = &self.parts.vault;
        match vault.refresh() {
            Ok(true) => {
                let to = vault.recipients().into_iter().next();
                info!(to, "the identities of the store are others from now on");
                self.unreadable = false;
            }
            Ok(false) => self.unreadable = false,
            Err(error) if !self.unreadable => {
                self.unreadable = true;
                let error = telemetry::chain(&error).to_string();
                warn!(error, "the identities of the store stay as they were");
            }
            Err(_) => {}
        }
        self.own.recipients = vault.recipients();
    }

    /// Nobody else runs on this store; what was recorded under other names is of
    /// runs that have ended.
    async fn bury_former(&self) {
        let Parts {
            store, evidence, ..
        } = &self.parts;
        let is_other = |name: &str| *name != *self.own.name;
        let current = self.parts.serving.borrow().current.clone();
        let buried = evidence.bury(&**store, is_other, &current, clock::now());
        if let Err(error) = buried.await {
            let error = telemetry::chain(&error).to_string();
            warn!(error, "what earlier runs recorded under other names stays");
        }
    }

    /// Tells that this replica lives, and looks who else does.
    async fn beat(&mut self) -> Result<Option<NameTaken>, StoreError> {
        let Parts {
            store,
            evidence,
            serving,
            ..
        } = &self.parts;
        let all = store.replicas().await?;
        let own = all.iter().find(|it| it.replica.name == self.own.name);
        if let Some(other) = own
            .map(|it| &it.replica)
            .filter(|it| it.run != self.own.run)
        {
            if (other.since, &other.run) < (self.own.since, &self.own.run) {
                let name = Arc::clone(&self.own.name);
                return Ok(Some(NameTaken { name }));
            }
            error!(name = %self.own.name, "another replica of this name has started; it will stop");
        }
        let is_gone = own.is_none();
        store.announce(&self.own).await?;
        let now = Instant::now();
        let last = self.heard.replace(now);
        let silent = last.map_or(Duration::MAX, |last| now - last);
        if silent > BEAT * 3 {
            self.steady_since = now;
        }
        let is_back = is_gone || silent > SILENCE / 2;
        if is_back || now >= self.reload_at {
            // The others may have taken this one for dead, or be about to.
            self.reload_at = now + if is_back { SILENCE } else { RELOAD };
            evidence.reload(&**store, clock::now()).await?;
        }
        let at = clock::now();
        let others = all.iter().filter(|it| it.replica.name != self.own.name);
        let mut roster: Vec<_> = others
            .map(|it| member(&it.replica, (it.ago > SILENCE).then(|| at - it.ago)))
            .collect();
        roster.push(member(&self.own, None));
        roster.sort_by(|one, other| one.name.cmp(&other.name));
        let roster = Arc::new(roster);
        self.log(&roster);
        self.roster.send_replace(Arc::clone(&roster));
        // Where the store was away, nobody was heard.
        if self.own.leads && now - self.steady_since > SILENCE {
            let living = roster.iter().filter(|it| it.silent_since.is_none());
            let living: BTreeSet<&str> = living.map(|it| &*it.name).collect();
            let is_dead = |name: &str| !living.contains(name);
            let current = serving.borrow().current.clone();
            evidence.bury(&**store, is_dead, &current, at).await?;
            for it in all.iter().filter(|it| it.ago > MEMORY) {
                store.forget_replica(&it.replica.name).await?;
            }
        }
        Ok(None)
    }

    fn log(&self, roster: &Roster) {
        let before = self.roster.borrow();
        let find = |all: &Roster, name: &str| all.iter().find(|it| *it.name == *name).cloned();
        for it in roster.iter().filter(|it| it.name != self.own.name) {
            let was_dead = find(&before, &it.name).map(|it| it.silent_since.is_some());
            match (was_dead, it.silent_since) {
                (Some(false), Some(since)) => {
                    warn!(replica = %it.name, %since, "a replica is silent");
                }
                (Some(true), None) => info!(replica = %it.name, "a replica is back"),
                (None, None) => info!(replica = %it.name, "another replica is there"),
                _ => {}
            }
        }
        for it in before.iter() {
            if it.silent_since.is_none() && find(roster, &it.name).is_none() {
                info!(replica = %it.name, "a replica has left");
            }
        }
    }
}

/// Shows at once where this replica comes to reconcile or no longer does: the
/// store that the others are told through may be what was lost.
async fn show_whether_leading(
    roster: watch::Sender<Roster>,
    own: Arc<str>,
    mut leading: watch::Receiver<bool>,
) -> Infallible {
    while leading.changed().await.is_ok() {
        let leads = *leading.borrow_and_update();
        roster.send_modify(|all| {
            for it in Arc::make_mut(all).iter_mut().filter(|it| it.name == own) {
                it.leads = leads;
            }
        });
    }
    std::future::pending().await
}

/// Says once that the store is lost, and that it is back.
fn tell(reach: &Reach) {
    match reach {
        Reach::Answers => info!("the store answers again"),
        Reach::Lost { since, why } => {
            warn!(%since, %why, "the store does not answer; what was last known is served");
        }
    }
}

fn member(replica: &Replica, silent_since: Option<Timestamp>) -> Member {
    Member {
        name: Arc::clone(&replica.name),
        since: replica.since,
        leads: replica.leads && silent_since.is_none(),
        silent_since,
    }
}
