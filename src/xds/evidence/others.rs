//! What other replicas know of proxies, beside what this one does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Unsaved;
use crate::model::{DataplaneId, Evidence, ProxyEvidence, together};

/// The records of other replicas.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<DataplaneId, Known>);

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
        self.0.get(id).map_or(&[], |known| known.records.as_slice())
    }

    /// All that others know.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ProxyEvidence>> {
        self.0.values().flat_map(|known| &known.records)
    }

    /// Takes in a record. Returns whether it says anything new that counts.
    pub(super) fn put(&mut self, record: &Arc<ProxyEvidence>) -> bool {
        let known = self.0.entry(record.dataplane.clone()).or_default();
        known.whole = None;
        let mut of_replica = known.records.iter_mut();
        let before = of_replica.find(|it| it.recorded_by() == record.recorded_by());
        let Some(before) = before else {
            known.records.push(Arc::clone(record));
            return true;
        };
        let is_new = Unsaved::between(before, record) == Unsaved::Evidence;
        *before = Arc::clone(record);
        is_new
    }

    /// Forgets those records that are not to be kept. Returns whether there were any.
    pub(super) fn retain(&mut self, keep: impl Fn(&ProxyEvidence) -> bool) -> bool {
        let mut changed = false;
        self.0.retain(|_, known| {
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
        match self.0.get_mut(id) {
            Some(known) => known.whole(own),
            None => own.cloned(),
        }
    }

    /// Puts what others know into `own`, which is all that this replica knows.
    pub(super) fn complete(&mut self, own: &mut Evidence) {
        for (id, known) in &mut self.0 {
            let ours = own.get(id).cloned();
            if let Some(whole) = known.whole(ours.as_ref()) {
                own.insert(id.clone(), whole);
            }
        }
    }
}
