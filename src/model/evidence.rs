//! Evidence: what each proxy has acknowledged over xDS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AuthorityId, BundleId, DataplaneId, Digest, Marks, Part, Timestamp};

/// What one proxy has acknowledged, and whether it is connected.
///
/// The owner is the xDS server; the store keeps the last known value so that
/// a restart or another replica does not start from nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyEvidence {
    /// The proxy.
    pub dataplane: DataplaneId,
    /// Since when it is connected; `None` while it is not.
    pub connected_since: Option<Timestamp>,
    /// Which instance of the control plane it is connected to, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<Arc<str>>,
    /// When the token ends with which it connected last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Timestamp>,
    /// When something of this was last learnt.
    pub seen: Timestamp,
    /// The trust bundle that it acknowledged last.
    pub bundle: Option<BundleId>,
    /// The authorities in that bundle.
    #[serde(default)]
    pub trusts: Vec<AuthorityId>,
    /// The authority of the leaf that it acknowledged last.
    pub leaf_issuer: Option<AuthorityId>,
    /// The end of that leaf.
    pub leaf_not_after: Option<Timestamp>,
    /// By part, the newest mark that it acknowledged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acknowledged: BTreeMap<Part, Acknowledgement>,
    /// The parts that it asked for on the streams that it has or had last, until
    /// it says that it no longer wants one, or is back long enough without it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub asks: BTreeSet<Part>,
    /// By part, the mark of what it is given now if it asks: every stream that
    /// it has is told nothing older from here on.
    #[serde(default, skip_serializing_if = "is_unmarked")]
    pub offered: Marks,
    /// Since when it is not connected; `None` while it is, or was never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Timestamp>,
    /// The end of the longest-lived leaf that it was ever sent, acknowledged or
    /// not: once it has left, it may hold one until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// How long its replaced filter chains keep their connections, in seconds
    /// (Envoy's `--drain-time-s`), where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u32>,
    /// The last rejection, until something good is acknowledged after it.
    pub last_nack: Option<Nack>,
    /// By secret, the versions that it rejected since it last accepted another
    /// one: that it acknowledges one of these proves nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, Vec<Digest>>,
    /// The secrets that it was sent on a stream that broke before it had
    /// answered. It may have rejected them unheard, and acknowledges the same
    /// bytes without using them, so the next acknowledgement proves nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubted: BTreeSet<String>,
    /// The types that hold no secrets of which it rejected the last response.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<String>,
    /// By secret and by other type, the version that it accepted last. Nothing
    /// is decided by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

fn is_unmarked(marks: &Marks) -> bool {
    *marks == Marks::default()
}

/// A rejected response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nack {
    /// When.
    pub at: Timestamp,
    /// What was rejected: the secret, `identity_cert` or `mesh_ca`, or the
    /// type, such as `listener`.
    pub resource: String,
    /// Envoy's own words, cut at 1 KiB.
    pub message: String,
}

/// That a proxy acknowledged a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The mark of the part.
    pub mark: u64,
    /// When it first acknowledged that mark.
    pub at: Timestamp,
}

impl ProxyEvidence {
    /// Whether it acknowledged a part at this mark or a later one.
    #[must_use]
    pub fn has_acknowledged(&self, part: Part, mark: u64) -> bool {
        let known = self.acknowledged.get(&part);
        known.is_some_and(|known| known.mark >= mark)
    }

    /// The evidence of a proxy that has acknowledged nothing.
    #[must_use]
    pub fn none(dataplane: DataplaneId, now: Timestamp) -> Self {
        Self {
            dataplane,
            connected_since: None,
            replica: None,
            token_expires_at: None,
            seen: now,
            bundle: None,
            trusts: Vec::new(),
            leaf_issuer: None,
            leaf_not_after: None,
            acknowledged: BTreeMap::new(),
            asks: BTreeSet::new(),
            offered: Marks::default(),
            left: None,
            held_until: None,
            drain_seconds: None,
            last_nack: None,
            rejected: BTreeMap::new(),
            doubted: BTreeSet::new(),
            refused: BTreeSet::new(),
            versions: BTreeMap::new(),
        }
    }
}

/// What all replicas together know of every proxy, out of what each of them knows.
#[must_use]
pub fn combine(records: impl IntoIterator<Item = Arc<ProxyEvidence>>) -> Evidence {
    let mut by_proxy: BTreeMap<DataplaneId, Vec<Arc<ProxyEvidence>>> = BTreeMap::new();
    for record in records {
        by_proxy
            .entry(record.dataplane.clone())
            .or_default()
            .push(record);
    }
    by_proxy
        .into_iter()
        .map(|(id, records)| match <[_; 1]>::try_from(records) {
            Ok([one]) => (id, one),
            Err(several) => (id, Arc::new(combined(&several))),
        })
        .collect()
}

/// What several replicas know of one proxy, of which there is one at least.
///
/// Whoever has it connected took over what others knew when it came, so only
/// those count for what it uses; where several have, it uses what each gave it.
/// What it may hold or have rejected unheard counts from all.
fn combined(records: &[Arc<ProxyEvidence>]) -> ProxyEvidence {
    let connected: Vec<_> = records
        .iter()
        .filter(|it| it.connected_since.is_some())
        .collect();
    // `None` is the least, so one that is connected comes last.
    let last = records
        .iter()
        .reduce(|one, other| {
            let age = |it: &ProxyEvidence| (it.connected_since, it.seen);
            if age(one) > age(other) { one } else { other }
        })
        .unwrap_or(&records[0]);
    let mut whole = ProxyEvidence::clone(last);
    whole.held_until = records.iter().map(|it| it.held_until).max().flatten();
    whole.leaf_not_after = records.iter().map(|it| it.leaf_not_after).max().flatten();
    if connected.len() < 2 {
        return whole;
    }
    for one in &connected {
        whole.asks.extend(&one.asks);
        whole.doubted.extend(one.doubted.iter().cloned());
        whole.refused.extend(one.refused.iter().cloned());
        for (secret, versions) in &one.rejected {
            let known = whole.rejected.entry(secret.clone()).or_default();
            for version in versions {
                if !known.contains(version) {
                    known.push(*version);
                }
            }
        }
        whole.drain_seconds = whole.drain_seconds.max(one.drain_seconds);
    }
    for part in Part::ALL {
        *whole.offered.of_mut(part) = connected
            .iter()
            .map(|it| it.offered.of(part))
            .min()
            .unwrap_or_default();
        let asking = connected.iter().filter(|it| it.asks.contains(&part));
        let marks = asking.map(|it| it.acknowledged.get(&part).copied());
        // `None` is the least: one of them has proven nothing.
        match marks.min_by_key(|it| it.map(|it| (it.mark, it.at))) {
            Some(Some(proven)) => drop(whole.acknowledged.insert(part, proven)),
            Some(None) => drop(whole.acknowledged.remove(&part)),
            None => {}
        }
    }
    whole.last_nack = connected
        .iter()
        .filter_map(|it| it.last_nack.clone())
        .max_by_key(|nack| nack.at);
    whole
}

/// What every known proxy has acknowledged. Cheap to copy.
pub type Evidence = BTreeMap<DataplaneId, Arc<ProxyEvidence>>;
