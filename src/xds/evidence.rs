//! What each proxy has acknowledged.
//!
//! The [`EvidenceBoard`] owns it: the streams write, the planner and the API
//! read, and [`EvidenceBoard::flush`] keeps the store's copy. Where several
//! replicas share the store, [`EvidenceBoard::pull`] brings what others recorded.

mod connection;
mod exchange;
mod others;
mod record;
mod streams;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use self::connection::Connection;
pub use self::exchange::Arrivals;
use self::others::Others;
use self::record::Unsaved;
pub use self::streams::Parts;
use self::streams::Streams;
use crate::ca::Issuing;
use crate::model::{Current, DataplaneId, Evidence, Generation, ProxyEvidence, Timestamp};
use crate::store::{EvidenceChanges, EvidenceMark, Store, StoreError};

/// How long a proxy that came back may take to ask for what it asked for
/// before; Envoy opens a stream again within 30 seconds.
const SETTLING: Duration = Duration::from_mins(1);

/// What every known proxy has acknowledged.
#[derive(Debug)]
pub struct EvidenceBoard {
    /// The name of this instance of the control plane.
    replica: Option<Arc<str>>,
    /// How long leaves live at most.
    leaf_lifetime: Duration,
    /// What this replica knows itself.
    entries: Mutex<BTreeMap<DataplaneId, Entry>>,
    /// What others know. Locked after the entries, where both are.
    others: Mutex<Others>,
    /// What was taken in of others.
    pulled: tokio::sync::Mutex<EvidenceMark>,
    /// Held by who writes to the store.
    writing: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
    /// Wakes who writes to the store: someone waits for it.
    hurry: Notify,
    /// Changes whenever something was written.
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    evidence: Arc<ProxyEvidence>,
    /// Those that the proxy has open.
    streams: Streams,
    /// Since the store knows that the proxy is connected: which generation it
    /// was of then, at most. What was written before may have been written
    /// without a thought of the proxy.
    on_record: Option<Generation>,
    /// What the store does not have yet.
    unsaved: Unsaved,
    /// Changes whenever a secret is accepted while another counts as rejected.
    mended: watch::Sender<u64>,
    /// The visits of the proxy to other replicas that had it when it came here.
    earlier: BTreeMap<Arc<str>, u64>,
}

impl Entry {
    fn new(evidence: Arc<ProxyEvidence>) -> Self {
        Self {
            evidence,
            streams: Streams::default(),
            on_record: None,
            unsaved: Unsaved::Nothing,
            mended: watch::Sender::new(0),
            earlier: BTreeMap::new(),
        }
    }

    /// Whether the proxy is connected and the store does not know that yet.
    fn comes(&self) -> bool {
        self.evidence.connected_since.is_some() && self.on_record.is_none()
    }

    /// The evidence, to change it. Whoever holds a copy keeps what it was.
    fn change(&mut self, unsaved: Unsaved) -> &mut ProxyEvidence {
        self.unsaved = self.unsaved.max(unsaved);
        Arc::make_mut(&mut self.evidence)
    }
}

impl Default for EvidenceBoard {
    fn default() -> Self {
        Self {
            replica: None,
            leaf_lifetime: Issuing::default().leaf_lifetime,
            entries: Mutex::default(),
            others: Mutex::default(),
            pulled: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            hurry: Notify::new(),
            written: watch::Sender::new(0),
        }
    }
}

impl EvidenceBoard {
    /// The board of the replica called `replica`, which starts from what the
    /// store remembers. Nobody is connected to it: whoever was when the last run
    /// of it ended has left now, and may hold a leaf that it was given just
    /// before, of `leaf_lifetime` at most. Who had left before is expected from now
    /// on: it had nowhere to come back to. For others it does not speak.
    #[must_use]
    pub fn restore(
        recorded: EvidenceChanges,
        replica: &str,
        leaf_lifetime: Duration,
        now: Timestamp,
    ) -> Self {
        let mut entries = BTreeMap::new();
        let mut others = Others::since(now);
        for evidence in recorded.records {
            if evidence.recorded_by() != replica {
                others.put(&evidence);
                continue;
            }
            let id = evidence.dataplane.clone();
            let mut entry = Entry::new(evidence);
            if entry.evidence.connected_since.is_some() {
                record::orphan(entry.change(Unsaved::Evidence), leaf_lifetime, now);
            } else if record::had_nowhere_before(&entry.evidence, now) {
                entry.change(Unsaved::Evidence).expected_since = Some(now);
            }
            entries.insert(id, entry);
        }
        Self {
            replica: (!replica.is_empty()).then(|| replica.into()),
            leaf_lifetime,
            entries: Mutex::new(entries),
            others: Mutex::new(others),
            pulled: tokio::sync::Mutex::new(recorded.mark),
            ..Self::default()
        }
    }

    /// Compares what is restored with what the store holds of the meshes:
    /// nothing was told that is not in the store.
    pub fn compare(&self, current: &Current) {
        for (id, entry) in self.lock().iter_mut() {
            if let Some(mesh) = current.meshes.get(&id.mesh)
                && record::compare(Arc::make_mut(&mut entry.evidence), mesh.progress.marks)
            {
                entry.unsaved = Unsaved::Evidence;
            }
        }
    }

    /// What is known now, by all replicas.
    #[must_use]
    pub fn snapshot(&self) -> Evidence {
        let entries = self.lock();
        let mut known = entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.evidence.clone()))
            .collect();
        self.others().complete(&mut known);
        known
    }

    /// What is known of one proxy now.
    #[must_use]
    pub fn of(&self, dataplane: &DataplaneId) -> Option<Arc<ProxyEvidence>> {
        let entries = self.lock();
        let own = entries.get(dataplane).map(|entry| &entry.evidence);
        self.others().whole(dataplane, own)
    }

    /// Changes whenever the evidence does; not for versions alone, by which
    /// nothing is decided.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that a proxy has opened a stream with a token that ends then. It
    /// counts as connected until all of its [`Connection`]s are dropped.
    #[must_use]
    pub fn connect(
        self: &Arc<Self>,
        dataplane: DataplaneId,
        token_expires_at: Timestamp,
        now: Timestamp,
    ) -> Connection {
        let (mended, shown) = {
            let mut entries = self.lock();
            let none = || Entry::new(Arc::new(ProxyEvidence::none(dataplane.clone(), now)));
            let entry = entries.entry(dataplane.clone()).or_insert_with(none);
            if entry.evidence.token_expires_at != Some(token_expires_at) {
                entry.change(Unsaved::Insight).token_expires_at = Some(token_expires_at);
            }
            if entry.streams.is_empty() {
                let others = self.others();
                let others = others.of(&dataplane);
                let here = others.iter().filter(|it| it.connected_since.is_some());
                let visit =
                    |it: &Arc<ProxyEvidence>| (it.replica.clone().unwrap_or_default(), it.visit);
                entry.earlier = here.map(visit).collect();
                let evidence = entry.change(Unsaved::Evidence);
                evidence.replica.clone_from(&self.replica);
                record::arrive(evidence, others, now);
            }
            let shown = entry.streams.begin(&entry.evidence, now);
            (entry.mended.subscribe(), shown)
        };
        self.changed();
        Connection::new(self.clone(), dataplane, mended, shown)
    }

    /// Forgets what a proxy has acknowledged: its dataplane was deleted, and
    /// one that comes back under its name is another. Streams that are still
    /// open stay so, and prove nothing any more.
    pub fn forget(&self, dataplane: &DataplaneId) {
        {
            let mut entries = self.lock();
            self.others().retain(|it| it.dataplane != *dataplane);
            let Some(entry) = entries.get_mut(dataplane) else {
                return;
            };
            if entry.streams.is_empty() {
                entries.remove(dataplane);
            } else {
                entry.streams.forget();
                let evidence = entry.change(Unsaved::Evidence);
                *evidence = ProxyEvidence {
                    connected_since: evidence.connected_since,
                    replica: evidence.replica.take(),
                    visit: evidence.visit,
                    token_expires_at: evidence.token_expires_at,
                    ..ProxyEvidence::none(dataplane.clone(), evidence.seen)
                };
            }
        }
        self.changed();
    }

    /// Forgets the proxies that no longer exist and are not connected.
    pub fn forget_gone(&self, exists: impl Fn(&DataplaneId) -> bool) {
        let forgotten = {
            let mut entries = self.lock();
            let before = entries.len();
            entries.retain(|id, entry| !entry.streams.is_empty() || exists(id));
            let others = self.others().retain(|it| exists(&it.dataplane));
            others || before != entries.len()
        };
        if forgotten {
            self.changed();
        }
    }

    /// Waits no longer for proxies to ask again for what they asked for
    /// before, where they are back long enough.
    pub fn settle(&self, now: Timestamp) {
        let mut changed = false;
        for entry in self.lock().values_mut() {
            if entry.streams.may_settle(SETTLING, &entry.evidence, now) {
                let evidence = Arc::make_mut(&mut entry.evidence);
                entry.streams.settle(evidence);
                entry.unsaved = Unsaved::Evidence;
                changed = true;
            }
        }
        if changed {
            self.changed();
        }
    }

    /// Resolves when someone waits for the store to have what is known now.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Writes to the store what it does not have yet. What could not be
    /// written, or changed meanwhile, is still to be written afterwards.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.record(true, store, None).await
    }

    /// Writes what plans count on; proxies of which only versions are new are
    /// left for [`EvidenceBoard::flush`], and so is it to let in those that have
    /// come.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn flush_evidence(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.record(false, store, Some(&Arrivals::default())).await
    }

    /// Writes all, or what plans count on. Of the proxies that have come, only the
    /// `welcomed` ones count as recorded; each does where nobody else writes to
    /// the store.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn record(
        &self,
        is_all: bool,
        store: &dyn Store,
        welcomed: Option<&Arrivals>,
    ) -> Result<(), StoreError> {
        let least = if is_all {
            Unsaved::Insight
        } else {
            Unsaved::Evidence
        };
        let is_welcome = |it: &ProxyEvidence| welcomed.is_none_or(|all| all.has(it));
        let _turn = self.writing.lock().await;
        let mut someone_came = false;
        let unsaved: Vec<Arc<ProxyEvidence>> = self
            .lock()
            .values()
            .filter(|entry| {
                let comes = entry.comes() && is_welcome(&entry.evidence);
                someone_came |= comes;
                comes || entry.unsaved >= least
            })
            .map(|entry| entry.evidence.clone())
            .collect();
        if unsaved.is_empty() {
            return Ok(());
        }
        store.record_evidence(&unsaved).await?;
        let generation = if someone_came {
            Some(store.generation().await?)
        } else {
            None
        };
        let mut entries = self.lock();
        for saved in &unsaved {
            if let Some(entry) = entries.get_mut(&saved.dataplane) {
                // Whoever changes what is being written makes a copy of it.
                let is_same = Arc::ptr_eq(saved, &entry.evidence);
                let is_here = saved.connected_since == entry.evidence.connected_since;
                if entry.comes() && is_here && is_welcome(saved) {
                    entry.on_record = generation;
                }
                entry.unsaved = if is_same {
                    Unsaved::Nothing
                } else {
                    Unsaved::between(saved, &entry.evidence)
                };
            }
        }
        drop(entries);
        self.written
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// Changes what is known of a proxy, and says so to whoever listens if it
    /// is evidence.
    fn update<T>(
        &self,
        dataplane: &DataplaneId,
        change: impl FnOnce(&mut Entry) -> (Unsaved, T),
    ) -> Option<T> {
        let (unsaved, result) = {
            let mut entries = self.lock();
            let entry = entries.get_mut(dataplane)?;
            let (unsaved, result) = change(entry);
            entry.unsaved = entry.unsaved.max(unsaved);
            (unsaved, result)
        };
        if unsaved == Unsaved::Evidence {
            self.changed();
        }
        Some(result)
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DataplaneId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
