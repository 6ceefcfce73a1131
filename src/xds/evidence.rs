//! What each proxy has acknowledged.
//!
//! The [`EvidenceBoard`] owns it: the streams write, the planner and the API
//! read, and [`EvidenceBoard::flush`] keeps the store's copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::resource::{Editions, Proof, Resource, ResourceType};
use super::snapshot::Snapshot;
use crate::clock;
use crate::model::{DataplaneId, Evidence, Nack, ProxyEvidence, Timestamp};
use crate::store::{Store, StoreError};

/// The longest message of a proxy that is kept, in bytes.
const MAX_MESSAGE: usize = 1024;
/// The most rejected versions that are kept of one secret.
const MAX_REJECTED: usize = 16;

/// What every known proxy has acknowledged.
#[derive(Debug)]
pub struct EvidenceBoard {
    entries: Mutex<BTreeMap<DataplaneId, Entry>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    evidence: ProxyEvidence,
    /// How many streams the proxy has open.
    streams: usize,
    /// Whether the store has an older value.
    unsaved: bool,
    /// Changes whenever a secret is accepted while another counts as rejected.
    mended: watch::Sender<u64>,
}

impl Entry {
    fn new(evidence: ProxyEvidence) -> Self {
        Self {
            evidence,
            streams: 0,
            unsaved: false,
            mended: watch::Sender::new(0),
        }
    }
}

impl Default for EvidenceBoard {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl EvidenceBoard {
    /// A board that starts from what the store remembers. Nobody is connected.
    #[must_use]
    pub fn restore(evidence: Evidence) -> Self {
        let entries = evidence
            .into_iter()
            .map(|(id, mut evidence)| {
                let was_connected = evidence.connected_since.take().is_some();
                let entry = Entry {
                    unsaved: was_connected,
                    ..Entry::new(evidence)
                };
                (id, entry)
            })
            .collect();
        Self {
            entries: Mutex::new(entries),
            ..Self::default()
        }
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Evidence {
        self.lock()
            .iter()
            .map(|(id, entry)| (id.clone(), entry.evidence.clone()))
            .collect()
    }

    /// What is known of one proxy now.
    #[must_use]
    pub fn of(&self, dataplane: &DataplaneId) -> Option<ProxyEvidence> {
        self.lock()
            .get(dataplane)
            .map(|entry| entry.evidence.clone())
    }

    /// Changes whenever the evidence does.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes that a proxy has opened a stream. It counts as connected until
    /// all of its [`Connection`]s are dropped.
    #[must_use]
    pub fn connect(self: &Arc<Self>, dataplane: DataplaneId, now: Timestamp) -> Connection {
        let mended = {
            let mut entries = self.lock();
            let entry = entries
                .entry(dataplane.clone())
                .or_insert_with(|| Entry::new(ProxyEvidence::none(dataplane.clone(), now)));
            entry.streams += 1;
            if entry.streams == 1 {
                entry.evidence.connected_since = Some(now);
                entry.evidence.seen = now;
                entry.unsaved = true;
            }
            entry.mended.subscribe()
        };
        self.changed();
        Connection {
            board: self.clone(),
            dataplane,
            mended,
        }
    }

    /// Forgets what a proxy has acknowledged. One that is connected stays so.
    pub fn forget(&self, dataplane: &DataplaneId) {
        {
            let mut entries = self.lock();
            let Some(entry) = entries.get_mut(dataplane) else {
                return;
            };
            if entry.streams == 0 {
                entries.remove(dataplane);
            } else {
                let evidence = ProxyEvidence::none(dataplane.clone(), entry.evidence.seen);
                entry.evidence = ProxyEvidence {
                    connected_since: entry.evidence.connected_since,
                    ..evidence
                };
                entry.unsaved = true;
            }
        }
        self.changed();
    }

    /// Forgets the proxies that no longer exist, are not connected and hold
    /// no leaf that is still valid.
    pub fn forget_gone(&self, exists: impl Fn(&DataplaneId) -> bool, now: Timestamp) {
        let forgotten = {
            let mut entries = self.lock();
            let before = entries.len();
            entries.retain(|id, entry| {
                entry.streams > 0
                    || entry.evidence.leaf_not_after.is_some_and(|end| end > now)
                    || exists(id)
            });
            before - entries.len()
        };
        if forgotten > 0 {
            self.changed();
        }
    }

    /// Writes to the store what it does not have yet. What could not be
    /// written, or changed meanwhile, is still to be written afterwards.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), StoreError> {
        let unsaved: Vec<ProxyEvidence> = self
            .lock()
            .values()
            .filter(|entry| entry.unsaved)
            .map(|entry| entry.evidence.clone())
            .collect();
        if unsaved.is_empty() {
            return Ok(());
        }
        store.record_evidence(&unsaved).await?;
        let mut entries = self.lock();
        for saved in &unsaved {
            if let Some(entry) = entries.get_mut(&saved.dataplane)
                && entry.evidence == *saved
            {
                entry.unsaved = false;
            }
        }
        Ok(())
    }

    fn update<T>(
        &self,
        dataplane: &DataplaneId,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let result = {
            let mut entries = self.lock();
            let entry = entries.get_mut(dataplane)?;
            entry.unsaved = true;
            change(entry)
        };
        self.changed();
        Some(result)
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DataplaneId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open stream of a proxy.
#[derive(Debug)]
pub struct Connection {
    board: Arc<EvidenceBoard>,
    dataplane: DataplaneId,
    mended: watch::Receiver<u64>,
}

impl Connection {
    /// Changes when the proxy has accepted a secret while another counts as
    /// rejected: that one may have been good, and may be tried again. While one
    /// secret of a TLS context is bad, Envoy rejects every other with its error.
    #[must_use]
    pub fn mended(&self) -> watch::Receiver<u64> {
        self.mended.clone()
    }

    /// Of each resource that the proxy rejected: an edition that it did not.
    #[must_use]
    pub fn untried(&self, snapshot: &Snapshot) -> Editions {
        let entries = self.board.lock();
        let Some(entry) = entries.get(&self.dataplane) else {
            return Editions::new();
        };
        let resources = snapshot.of(ResourceType::Secret).iter();
        resources
            .filter_map(|resource| {
                let rejected = entry.evidence.rejected.get(&*resource.name)?;
                let untried = |edition: &u32| {
                    let version = resource.edition(*edition).version;
                    !rejected.contains(&version)
                };
                let edition = (0..).take(MAX_REJECTED + 1).find(untried)?;
                Some((resource.version, edition))
            })
            .collect()
    }

    /// The secrets of which the proxy rejected something last.
    #[must_use]
    pub fn distrusted(&self) -> BTreeSet<String> {
        self.board
            .lock()
            .get(&self.dataplane)
            .map(|entry| entry.evidence.rejected.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Notes that the proxy accepted a secret. Returns whether that proves
    /// anything: Envoy also acknowledges bytes that it rejected before,
    /// without using them.
    pub fn accepted(&self, resource: &Resource, now: Timestamp) -> bool {
        self.board
            .update(&self.dataplane, |entry| {
                let proves = accept(&mut entry.evidence, resource, now);
                if proves && !entry.evidence.rejected.is_empty() {
                    entry.mended.send_modify(|count| *count += 1);
                }
                proves
            })
            .unwrap_or(false)
    }

    /// Notes the version of a type that the proxy acknowledged.
    pub fn acknowledged(&self, kind: ResourceType, version: &str, now: Timestamp) {
        let _ = (kind, version, now);
    }

    /// Notes that the proxy rejected a response of a type that holds no secrets.
    pub fn refused(&self, kind: ResourceType, message: &str, now: Timestamp) {
        let _ = (kind, message, now);
    }

    /// Notes that the proxy rejected a secret.
    pub fn rejected(&self, resource: &Resource, message: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            reject(&mut entry.evidence, resource, message, now);
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        {
            let mut entries = self.board.lock();
            let Some(entry) = entries.get_mut(&self.dataplane) else {
                return;
            };
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams > 0 {
                return;
            }
            entry.evidence.connected_since = None;
            entry.evidence.seen = clock::now();
            entry.unsaved = true;
        }
        self.board.changed();
    }
}

fn accept(evidence: &mut ProxyEvidence, resource: &Resource, now: Timestamp) -> bool {
    evidence.seen = now;
    let rejected = evidence.rejected.get(&*resource.name);
    if rejected.is_some_and(|versions| versions.contains(&resource.version)) {
        return false;
    }
    evidence.rejected.remove(&*resource.name);
    let healed = |nack: &Nack| *nack.resource == *resource.name;
    if evidence.last_nack.as_ref().is_some_and(healed) {
        evidence.last_nack = None;
    }
    match resource.proof() {
        Some(Proof::Trusts(bundle, authorities)) => {
            evidence.bundle = Some(bundle);
            evidence.trusts = authorities;
        }
        Some(Proof::Holds(issuer, not_after)) => {
            evidence.leaf_issuer = Some(issuer);
            evidence.leaf_not_after = Some(not_after);
        }
        None => {}
    }
    true
}

fn reject(evidence: &mut ProxyEvidence, resource: &Resource, message: &str, now: Timestamp) {
    evidence.seen = now;
    evidence.last_nack = Some(Nack {
        at: now,
        resource: (*resource.name).to_owned(),
        message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
    });
    let versions = evidence
        .rejected
        .entry((*resource.name).to_owned())
        .or_default();
    if !versions.contains(&resource.version) {
        if versions.len() == MAX_REJECTED {
            versions.remove(0);
        }
        versions.push(resource.version);
    }
}

#[cfg(test)]
mod tests;
