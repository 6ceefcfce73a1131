//! Evidence: what each proxy has acknowledged over xDS.

mod together;

pub use together::{combine, together};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AuthorityId, BundleId, DataplaneId, Digest, Marks, MeshName, Part, Timestamp};

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
    /// Tells the times apart that the proxy came to that replica, from its first
    /// stream there to the end of its last: rises with each.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub visit: u64,
    /// By replica, up to which visit all is taken over in this that it knew of
    /// the proxy when that had left it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub follows: BTreeMap<Arc<str>, u64>,
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
    /// Since when a control plane is there for it to come back to, where that is
    /// later than it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_since: Option<Timestamp>,
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

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
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

    /// Until when it may hold a leaf; `None` where it never had one.
    #[must_use]
    pub fn may_hold_until(&self) -> Option<Timestamp> {
        self.held_until.max(self.leaf_not_after)
    }

    /// Since when it could have come back and has not; `None` while it is connected.
    #[must_use]
    pub fn away_since(&self) -> Option<Timestamp> {
        let left = self.left.unwrap_or(self.seen);
        let since = self.expected_since.map_or(left, |it| it.max(left));
        self.connected_since.is_none().then_some(since)
    }

    /// The name of the replica whose record it is; empty for one that has none.
    #[must_use]
    pub fn recorded_by(&self) -> &str {
        self.replica.as_deref().unwrap_or_default()
    }

    /// Whether all that `other` says is taken over in this, but for what the
    /// proxy may hold.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let taken_over = self.follows.get(other.recorded_by());
        other.connected_since.is_none() && taken_over.is_some_and(|visit| *visit >= other.visit)
    }

    /// The evidence of a proxy that has acknowledged nothing.
    #[must_use]
    pub fn none(dataplane: DataplaneId, now: Timestamp) -> Self {
        Self {
            dataplane,
            connected_since: None,
            replica: None,
            visit: 0,
            follows: BTreeMap::new(),
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
            expected_since: None,
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

/// What every known proxy has acknowledged. Cheap to copy.
pub type Evidence = BTreeMap<DataplaneId, Arc<ProxyEvidence>>;

/// The proxies of a mesh that are connected, in the order of their names.
pub fn connected<'a>(
    evidence: &'a Evidence,
    mesh: &'a MeshName,
) -> impl Iterator<Item = &'a DataplaneId> {
    let of_mesh = evidence.values().filter(|it| it.dataplane.mesh == *mesh);
    let connected = of_mesh.filter(|it| it.connected_since.is_some());
    connected.map(|it| &it.dataplane)
}
