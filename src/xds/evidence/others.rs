//! What other replicas know of proxies, beside what this one does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{self, Unsaved};
use crate::model::{DataplaneId, Evidence, ProxyEvidence, Timestamp, together};

/// The records of other replicas.
#[derive(Debug, Default)]
pub(super) struct Others {
    proxies: BTreeMap<DataplaneId, Known>,
    /// Since when this replica is there for proxies to come back to.
    since: Option<Timestamp>,
}

/// What others know of one proxy.
#[derive(Debug, Default)]
struct Known {
    /// One of each replica.
    records: Vec<Arc<ProxyEvidence>>,
    /// What they say together with the record of this replica that it was made of.
    whole: Option<(Option<Arc<ProxyEvidence>>, Arc<ProxyEvidence>)>,
}

impl Known {
    fn whole(&mut self, own: Option<&Arc<ProxyEvidence>>) -> Option<Arc<ProxyEvidence>> {
        if let Some((of, whole)) = &self.whole {
            let is_same = match (of, own) {
                (Some(of), Some(own)) => Arc::ptr_eq(of, own),
                (of, own) => of.is_none() && own.is_none(),
            };
            if is_same {
                return Some(Arc::clone(whole));
            }
        }
        let records = self.records.iter().chain(own);
        let records: Vec<_> = records.cloned().collect();
        let whole = together(&records)?;
        self.whole = Some((own.cloned(), Arc::clone(&whole)));
        Some(whole)
    }
}

impl Others {
    /// What others know of a proxy.
    pub(super) fn of(&self, id: &DataplaneId) -> &[Arc<ProxyEvidence>] {
        self.proxies
            .get(id)
            .map_or(&[], |known| known.records.as_slice())
    }

    /// All that others know.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ProxyEvidence>> {
        self.proxies.values().flat_map(|known| &known.records)
    }

    /// Nothing yet, on a replica that is there since then.
    pub(super) fn since(since: Timestamp) -> Self {
        Self {
            since: Some(since),
            ..Self::default()
        }
    }

    /// Takes in a record. Returns whether it says anything new that counts.
    ///
    /// A proxy that had left before this replica was there may have had nowhere to
    /// come back to; nobody but this replica needs to know how it sees that.
    pub(super) fn put(&mut self, record: &Arc<ProxyEvidence>) -> bool {
        let mut record = Arc::clone(record);
        if let Some(since) = self.since
            && record::had_nowhere_before(&record, since)
        {
            Arc::make_mut(&mut record).expected_since = Some(since);
        }
        let known = self.proxies.entry(record.dataplane.clone()).or_default();
        known.whole = None;
        let mut of_replica = known.records.iter_mut();
        let before = of_replica.find(|it| it.recorded_by() == record.recorded_by());
        let Some(before) = before else {
            known.records.push(record);
            return true;
        };
        let is_new = Unsaved::between(before, &record) == Unsaved::Evidence;
        *before = record;
        is_new
    }

    /// Forgets those records that are not to be kept. Returns whether there were any.
    pub(super) fn retain(&mut self, keep: impl Fn(&ProxyEvidence) -> bool) -> bool {
        let mut changed = false;
        self.proxies.retain(|_, known| {
            let before = known.records.len();
            known.records.retain(|it| keep(it));
            if known.records.len() != before {
                known.whole = None;
                changed = true;
            }
            !known.records.is_empty()
        });
        changed
    }

    /// What is known of a proxy of which this replica knows that.
    pub(super) fn whole(
        &mut self,
        id: &DataplaneId,
        own: Option<&Arc<ProxyEvidence>>,
    ) -> Option<Arc<ProxyEvidence>> {
        match self.proxies.get_mut(id) {
            Some(known) => known.whole(own),
            None => own.cloned(),
        }
    }

    /// Puts what others know into `own`, which is all that this replica knows.
    pub(super) fn complete(&mut self, own: &mut Evidence) {
        for (id, known) in &mut self.proxies {
            let ours = own.get(id).cloned();
            if let Some(whole) = known.whole(ours.as_ref()) {
                own.insert(id.clone(), whole);
            }
        }
    }
}
