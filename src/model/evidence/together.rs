//! What several replicas of the control plane know of one proxy, put together.
//!
//! Each keeps a record of its own, of the streams that the proxy has or had with
//! it. A replica that the proxy comes to takes over what others knew when it had
//! left them, and says so ([`ProxyEvidence::follows`]); such a record says nothing
//! more, but for how long the proxy may hold a leaf. All others count, as the
//! streams of one replica do: what one of them has not proven is not proven.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Acknowledgement, Evidence, ProxyEvidence};
use crate::model::{DataplaneId, Part};

#[cfg(test)]
mod tests;

/// How long Envoy keeps the connections of a replaced filter chain where it does
/// not say, in seconds.
const DEFAULT_DRAIN_SECONDS: u32 = 600;

/// What all replicas together know of every proxy, out of what each of them knows.
#[must_use]
pub fn combine(records: impl IntoIterator<Item = Arc<ProxyEvidence>>) -> Evidence {
    let mut by_proxy: BTreeMap<DataplaneId, Vec<Arc<ProxyEvidence>>> = BTreeMap::new();
    for record in records {
        if let Some(known) = by_proxy.get_mut(&record.dataplane) {
            known.push(record);
        } else {
            // Most proxies have one.
            by_proxy.insert(record.dataplane.clone(), vec![record]);
        }
    }
    let proxies = by_proxy.into_iter();
    proxies
        .filter_map(|(id, records)| Some((id, together(&records)?)))
        .collect()
}

/// What these records of one proxy say together; `None` where there is none.
/// Their order does not matter.
#[must_use]
pub fn together(records: &[Arc<ProxyEvidence>]) -> Option<Arc<ProxyEvidence>> {
    match records {
        [] => None,
        [one] => Some(Arc::clone(one)),
        several => Some(Arc::new(of_several(several))),
    }
}

fn of_several(records: &[Arc<ProxyEvidence>]) -> ProxyEvidence {
    let is_replaced = |it: &ProxyEvidence| records.iter().any(|by| by.replaces(it));
    let mut counting: Vec<&ProxyEvidence> = records
        .iter()
        .map(Arc::as_ref)
        .filter(|it| !is_replaced(it))
        .collect();
    if counting.is_empty() {
        counting.extend(records.iter().map(Arc::as_ref));
    }
    // `None` is the least, so one that has the proxy connected comes last.
    counting.sort_by_key(|it| (it.connected_since, it.seen, it.visit, it.recorded_by()));
    let mut whole = counting.last().map_or_else(
        || ProxyEvidence::clone(&records[0]),
        |it| ProxyEvidence::clone(it),
    );
    for it in counting.iter().rev() {
        whole.asks.extend(&it.asks);
        whole.doubted.extend(it.doubted.iter().cloned());
        whole.refused.extend(it.refused.iter().cloned());
        whole.seen = whole.seen.max(it.seen);
        whole.left = whole.left.max(it.left);
        whole.expected_since = whole.expected_since.max(it.expected_since);
        // Each has what its streams have shown; the last one counts.
        for (name, version) in &it.versions {
            let known = whole.versions.entry(name.clone());
            known.or_insert_with(|| version.clone());
        }
    }
    let trusting = counting.iter().rev().find(|it| it.bundle.is_some());
    if let Some(it) = trusting {
        whole.bundle = it.bundle;
        whole.trusts.clone_from(&it.trusts);
    }
    if whole.connected_since.is_some() {
        whole.left = None;
        whole.expected_since = None;
    }
    let drains = |it: &&ProxyEvidence| it.drain_seconds.unwrap_or(DEFAULT_DRAIN_SECONDS);
    whole.drain_seconds = counting
        .iter()
        .copied()
        .max_by_key(drains)
        .and_then(|it| it.drain_seconds);
    note_rejected(&mut whole, &counting);
    note_offered(&mut whole, &counting);
    note_acknowledged(&mut whole, &counting);
    note_leaf(&mut whole, &counting);
    for it in records {
        // Whatever became of it since: it may hold what anyone gave it.
        whole.held_until = whole.held_until.max(it.held_until).max(it.leaf_not_after);
        for (replica, visit) in &it.follows {
            let known = whole.follows.entry(Arc::clone(replica)).or_default();
            *known = (*visit).max(*known);
        }
    }
    whole
}

fn note_rejected(whole: &mut ProxyEvidence, counting: &[&ProxyEvidence]) {
    let latest = |it: &ProxyEvidence| {
        let nack = it.last_nack.clone()?;
        Some((nack.at, nack.resource.clone(), nack.message.clone(), nack))
    };
    whole.last_nack = (counting.iter())
        .filter_map(|it| latest(it))
        .max_by(|one, other| (one.0, &one.1, &one.2).cmp(&(other.0, &other.1, &other.2)))
        .map(|(.., nack)| nack);
    if counting.iter().all(|it| it.rejected == whole.rejected) {
        return;
    }
    for it in counting {
        for (secret, versions) in &it.rejected {
            let known = whole.rejected.entry(secret.clone()).or_default();
            known.extend(versions);
            known.sort_unstable();
            known.dedup();
        }
    }
}

/// Those that have the proxy, or had it last where none has.
fn note_offered(whole: &mut ProxyEvidence, counting: &[&ProxyEvidence]) {
    let is_connected = whole.connected_since.is_some();
    let offering = counting
        .iter()
        .filter(|it| it.connected_since.is_some() == is_connected);
    for it in offering {
        for part in Part::ALL {
            let offered = whole.offered.of_mut(part);
            *offered = it.offered.of(part).min(*offered);
        }
    }
}

/// A part is acknowledged as far as everyone says of whom it is asked.
fn note_acknowledged(whole: &mut ProxyEvidence, counting: &[&ProxyEvidence]) {
    for part in Part::ALL {
        let asks = |it: &&&ProxyEvidence| it.asks.contains(&part);
        let is_asked = counting.iter().any(|it| asks(&it));
        let proven = counting
            .iter()
            .filter(|it| !is_asked || asks(it))
            .map(|it| it.acknowledged.get(&part).copied())
            .reduce(|one, other| {
                let (one, other) = (one?, other?);
                Some(Acknowledgement {
                    mark: one.mark.min(other.mark),
                    // Since then by all of them.
                    at: one.at.max(other.at),
                })
            });
        match proven.flatten() {
            Some(proven) => drop(whole.acknowledged.insert(part, proven)),
            None => drop(whole.acknowledged.remove(&part)),
        }
    }
}

/// It may use the leaf of any: the one of the oldest authority counts.
fn note_leaf(whole: &mut ProxyEvidence, counting: &[&ProxyEvidence]) {
    let age = |it: &&&ProxyEvidence| {
        let mark = it.acknowledged.get(&Part::Leaf).map(|it| it.mark);
        (mark, it.leaf_not_after, it.leaf_issuer)
    };
    let holders = counting.iter().filter(|it| it.leaf_issuer.is_some());
    if let Some(oldest) = holders.min_by_key(age) {
        whole.leaf_issuer = oldest.leaf_issuer;
    }
    whole.leaf_not_after = counting.iter().filter_map(|it| it.leaf_not_after).max();
}
