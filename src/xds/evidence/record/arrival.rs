//! How a replica takes over what others know of a proxy that comes to it. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::doubt;
use crate::model::{Part, ProxyEvidence, Timestamp, together};

/// Notes that a proxy has come, of which other replicas know this.
///
/// What they knew when it had left them is taken over. Those that still have it
/// speak for it themselves; what they sent may have been rejected unheard.
pub(in super::super) fn arrive(
    own: &mut ProxyEvidence,
    others: &[Arc<ProxyEvidence>],
    now: Timestamp,
) {
    let seen = others
        .iter()
        .filter_map(|it| it.follows.get(own.recorded_by()));
    let last = seen.copied().max().unwrap_or_default().max(own.visit);
    let visit = u64::try_from(now.unix_milliseconds()).unwrap_or_default();
    let visit = visit.max(last + 1);
    if !others.is_empty() {
        take_over(own, others);
    }
    own.visit = visit;
    own.connected_since = Some(now);
    own.left = None;
    own.expected_since = None;
    own.seen = now;
}

fn take_over(own: &mut ProxyEvidence, others: &[Arc<ProxyEvidence>]) {
    let (replica, token) = (own.replica.clone(), own.token_expires_at);
    let all = others.iter().cloned().chain([Arc::new(own.clone())]);
    let all: Vec<_> = all.collect();
    let Some(known) = together(&all) else { return };
    *own = Arc::unwrap_or_clone(known);
    let is_gone = |it: &&Arc<ProxyEvidence>| it.connected_since.is_none();
    let gone: Vec<_> = all.iter().filter(is_gone).cloned().collect();
    own.asks = together(&gone).map_or_else(BTreeSet::new, |it| it.asks.clone());
    for it in others {
        if it.connected_since.is_none() {
            follow(own, it);
        } else if it.asks.contains(&Part::Bundle) {
            doubt(own, Part::Bundle);
        }
    }
    own.follows.remove(replica.as_deref().unwrap_or_default());
    own.replica = replica;
    own.token_expires_at = token;
}

/// Takes over what another replica knew of a proxy that has left it and is here.
/// `asked` is what it asks for here. The other's visit is known to be `earlier`
/// than the one here, or is not; `fresh` is whether it was given nothing here yet.
/// Returns what it may still use of what the other gave it.
pub(in super::super) fn absorb(
    own: &mut ProxyEvidence,
    other: &ProxyEvidence,
    asked: impl Fn(Part) -> bool,
    earlier: bool,
    fresh: bool,
) -> Vec<Part> {
    let mut inherited = Vec::new();
    for part in other.asks.iter().copied() {
        let theirs = other.acknowledged.get(&part);
        let asks = asked(part);
        if asks && earlier {
            // What it is given here takes the place of that.
            continue;
        }
        let is_shared = asks || own.asks.contains(&part);
        let proven = if is_shared {
            let ours = own.acknowledged.get(&part);
            // `None` is the least.
            let both = [ours, theirs].into_iter();
            let least = both.min_by_key(|it| it.map(|it| (it.mark, it.at)));
            least.flatten().copied()
        } else {
            theirs.copied()
        };
        match proven {
            Some(proven) => drop(own.acknowledged.insert(part, proven)),
            None => drop(own.acknowledged.remove(&part)),
        }
        if !asks {
            own.asks.insert(part);
            inherited.push(part);
        }
    }
    if fresh || !earlier {
        own.doubted.extend(other.doubted.iter().cloned());
        own.refused.extend(other.refused.iter().cloned());
        for (secret, versions) in &other.rejected {
            let known = own.rejected.entry(secret.clone()).or_default();
            let new = versions.iter().filter(|it| !known.contains(it));
            let new: Vec<_> = new.copied().collect();
            known.extend(new);
            let many = known.len().saturating_sub(super::MAX_REJECTED);
            known.drain(..many);
        }
    }
    if own.leaf_issuer.is_none() {
        own.leaf_issuer = other.leaf_issuer;
        own.leaf_not_after = other.leaf_not_after;
    }
    if own.bundle.is_none() {
        own.bundle = other.bundle;
        own.trusts.clone_from(&other.trusts);
    }
    own.held_until = own
        .held_until
        .max(other.held_until)
        .max(other.leaf_not_after);
    follow(own, other);
    inherited
}

/// Notes that all is taken over that another replica knew.
fn follow(own: &mut ProxyEvidence, other: &ProxyEvidence) {
    let replica = other.replica.clone().unwrap_or_default();
    let visit = own.follows.entry(replica).or_default();
    *visit = other.visit.max(*visit);
    for (replica, visit) in &other.follows {
        if **replica != *own.replica.as_deref().unwrap_or_default() {
            let known = own.follows.entry(Arc::clone(replica)).or_default();
            *known = (*visit).max(*known);
        }
    }
}
