//! What replicas tell each other of proxies, by way of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::{self, Unsaved};
use super::{Entry, EvidenceBoard};
use crate::model::{Current, DataplaneId, ProxyEvidence, Timestamp};
use crate::store::{EvidenceMark, Store, StoreError};

/// Proxies that have come, each with its visit.
#[derive(Debug, Default)]
pub struct Arrivals(BTreeMap<DataplaneId, u64>);

impl Arrivals {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is what is known of one of them since it came.
    pub(super) fn has(&self, evidence: &ProxyEvidence) -> bool {
        self.0.get(&evidence.dataplane) == Some(&evidence.visit)
    }
}

impl EvidenceBoard {
    /// Takes in what other replicas have recorded, and notices where another
    /// one recorded on behalf of this one that it was gone.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn pull(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let mut mark = self.pulled.lock().await;
        let changes = store.evidence_since(*mark).await?;
        *mark = changes.mark;
        self.take_in(&changes.records, now);
        Ok(())
    }

    /// The same with all that is recorded, so that what was forgotten is forgotten
    /// here too, and what this one has on record that the store does not have is
    /// recorded again.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn reload(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let mut mark = self.pulled.lock().await;
        let on_record: Vec<DataplaneId> = {
            let entries = self.lock();
            let all = entries.iter();
            all.filter(|(_, entry)| entry.on_record.is_some())
                .map(|(id, _)| id.clone())
                .collect()
        };
        let changes = store.evidence_since(EvidenceMark(0)).await?;
        *mark = changes.mark;
        let place = |it: &ProxyEvidence| (it.dataplane.clone(), it.replica.clone());
        let kept: BTreeSet<_> = changes.records.iter().map(|it| place(it)).collect();
        let gone = self.others().retain(|it| kept.contains(&place(it)));
        let mut missing = false;
        {
            let mut entries = self.lock();
            for id in on_record {
                if kept.contains(&(id.clone(), self.replica.clone())) {
                    continue;
                }
                if let Some(entry) = entries.get_mut(&id) {
                    // It is welcomed again, as one that has come.
                    entry.on_record = None;
                    entry.unsaved = Unsaved::Evidence;
                    missing = true;
                }
            }
        }
        self.take_in(&changes.records, now);
        if gone || missing {
            self.changed();
        }
        Ok(())
    }

    fn take_in(&self, records: &[Arc<ProxyEvidence>], now: Timestamp) {
        let mut changed = false;
        {
            let mut entries = self.lock();
            let mut others = self.others();
            for it in records {
                let entry = entries.get_mut(&it.dataplane);
                if it.replica == self.replica {
                    if let Some(entry) = entry {
                        entry.check_own(it);
                    }
                    continue;
                }
                changed |= others.put(it);
                if let Some(entry) = entry.filter(|entry| !entry.streams.is_empty()) {
                    changed |= entry.hear(it, now);
                }
            }
        }
        if changed {
            self.changed();
        }
    }

    /// The proxies that have come and that the store does not know of yet.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals {
        let entries = self.lock();
        let came = entries.iter().filter(|(_, entry)| entry.comes());
        Arrivals(
            came.map(|(id, entry)| (id.clone(), entry.evidence.visit))
                .collect(),
        )
    }

    /// Notes, of those that have come, what their meshes were told at most:
    /// `current` is no older than what any replica served when they came.
    pub fn compare_arrivals(&self, arrivals: &Arrivals, current: &Current) {
        let mut entries = self.lock();
        for id in arrivals.0.keys() {
            let entry = entries.get_mut(id).filter(|entry| entry.comes());
            let Some(entry) = entry.filter(|entry| arrivals.has(&entry.evidence)) else {
                continue;
            };
            if entry.evidence.doubted.is_empty() {
                continue;
            }
            if let Some(mesh) = current.meshes.get(&id.mesh) {
                record::compare(entry.change(Unsaved::Evidence), mesh.progress.marks);
            }
        }
    }

    /// Forgets what this replica knew of proxies that have left it, and that
    /// another one says all of.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn tidy(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _turn = self.writing.lock().await;
        let replica = self.replica.clone().unwrap_or_default();
        let replaced: Vec<(DataplaneId, Arc<str>)> = {
            let entries = self.lock();
            let others = self.others();
            let is_replaced = |(id, entry): &(&DataplaneId, &Entry)| {
                let all = others.of(id);
                entry.streams.is_empty() && all.iter().any(|it| says_all(it, &entry.evidence))
            };
            let replaced = entries.iter().filter(is_replaced);
            replaced
                .map(|(id, _)| (id.clone(), Arc::clone(&replica)))
                .collect()
        };
        if replaced.is_empty() {
            return Ok(());
        }
        store.forget_evidence(&replaced).await?;
        let mut entries = self.lock();
        for (id, _) in &replaced {
            // It may be back meanwhile, and is recorded then.
            if entries.get(id).is_some_and(|it| it.streams.is_empty()) {
                entries.remove(id);
            }
        }
        Ok(())
    }

    /// Records, on behalf of replicas that are dead, that the proxies have left
    /// which they had, and forgets what others say all of.
    ///
    /// # Errors
    ///
    /// Fails when the store does.
    pub async fn bury(
        &self,
        store: &dyn Store,
        is_dead: impl Fn(&str) -> bool,
        current: &Current,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut orphans, mut replaced) = (Vec::new(), Vec::new());
        {
            let entries = self.lock();
            let others = self.others();
            for it in others.iter().filter(|it| is_dead(it.recorded_by())) {
                let id = &it.dataplane;
                let own = entries.get(id).map(|entry| &entry.evidence);
                let mut all = others.of(id).iter().chain(own);
                if it.connected_since.is_some() {
                    let mut orphan = ProxyEvidence::clone(it);
                    record::orphan(&mut orphan, self.leaf_lifetime, now);
                    if let Some(mesh) = current.meshes.get(&id.mesh) {
                        record::compare(&mut orphan, mesh.progress.marks);
                    }
                    orphans.push(Arc::new(orphan));
                } else if all.any(|by| says_all(by, it)) {
                    let replica = it.replica.clone().unwrap_or_default();
                    replaced.push((id.clone(), replica));
                }
            }
        }
        if !orphans.is_empty() {
            store.record_evidence(&orphans).await?;
            self.take_in(&orphans, now);
        }
        if !replaced.is_empty() {
            store.forget_evidence(&replaced).await?;
            let gone: BTreeSet<_> = replaced.into_iter().collect();
            self.others().retain(|it| {
                let replica = it.replica.clone().unwrap_or_default();
                !gone.contains(&(it.dataplane.clone(), replica))
            });
        }
        Ok(())
    }
}

/// Whether `by` says all that a record says, so that it may be forgotten.
fn says_all(by: &ProxyEvidence, record: &ProxyEvidence) -> bool {
    let holds = record.may_hold_until();
    by.replaces(record) && by.held_until >= holds
}

impl Entry {
    /// Compares what is recorded under the name of this replica.
    fn check_own(&mut self, recorded: &ProxyEvidence) {
        let is_of_before = recorded.visit <= self.evidence.visit;
        if is_of_before && recorded.connected_since.is_none() && !self.streams.is_empty() {
            // It was taken for dead.
            self.unsaved = Unsaved::Evidence;
        }
    }

    /// Takes in what another replica knows of the proxy, which is here. Returns
    /// whether anything follows.
    pub(super) fn hear(&mut self, other: &ProxyEvidence, now: Timestamp) -> bool {
        let fresh = self.on_record.is_none();
        let by = other.replica.clone().unwrap_or_default();
        if other.connected_since.is_some() {
            if fresh && self.earlier.insert(by, other.visit) != Some(other.visit) {
                let evidence = self.change(Unsaved::Evidence);
                if other.asks.contains(&crate::model::Part::Bundle) {
                    record::doubt(evidence, crate::model::Part::Bundle);
                }
                return true;
            }
            return false;
        }
        if self.evidence.replaces(other) {
            // It was orphaned meanwhile.
            let holds = other.may_hold_until();
            if holds > self.evidence.held_until {
                self.change(Unsaved::Evidence).held_until = holds;
            }
            return false;
        }
        let is_known = self.earlier.get(&by).is_some_and(|it| *it >= other.visit);
        let Self {
            evidence, streams, ..
        } = self;
        let asked = |part| streams.asks(part);
        let evidence = Arc::make_mut(evidence);
        let inherited = record::absorb(evidence, other, asked, fresh || is_known, fresh);
        for part in inherited {
            streams.inherit(part, now);
        }
        self.unsaved = Unsaved::Evidence;
        true
    }
}
