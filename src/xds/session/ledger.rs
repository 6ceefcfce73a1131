//! What a proxy subscribes to of one type, what it was sent of it, and what it answered.

mod answers;
mod holding;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) use self::holding::{Age, Answer, Distrusted, Draft, Holding, State};

use self::holding::Flight;
use super::{Held, Response};
use crate::model::Digest;
use crate::xds::resource::{Resource, ResourceType, version_of_all};
use crate::xds::snapshot::Snapshot;

/// About how many bytes of resources one response holds at most, where it can
/// be split: Envoy reads 4 MiB.
const MAX_RESPONSE: usize = 1024 * 1024;
/// About what a resource costs beside its content.
const OVERHEAD: usize = 128;

/// The name that stands for all resources of a type.
pub(super) const WILDCARD: &str = "*";

/// What the proxy subscribes to of one type, and what became of it.
#[derive(Debug)]
pub struct Ledger {
    pub(super) kind: ResourceType,
    /// Boxed: a node of the map has room for eleven of them.
    pub(super) holdings: BTreeMap<Arc<str>, Box<Holding>>,
    /// The proxy subscribes to all there are.
    pub(super) wildcard: bool,
    /// It is owed a response, whatever it holds.
    pub(super) owed: bool,
    /// What is sent whatever the proxy claims.
    pub(super) distrusted: Distrusted,
    flights: Vec<Flight>,
    /// The newest nonce of the type; 0 before the first.
    newest: u64,
    /// The last answer was a rejection.
    refused: bool,
}

impl Ledger {
    pub(super) fn new(kind: ResourceType, distrusted: Distrusted) -> Self {
        Self {
            kind,
            holdings: BTreeMap::new(),
            wildcard: false,
            owed: false,
            distrusted,
            flights: Vec::new(),
            newest: 0,
            refused: false,
        }
    }

    /// Whether one can subscribe to all resources of the type.
    pub(super) fn has_wildcard(&self) -> bool {
        matches!(self.kind, ResourceType::Cluster | ResourceType::Listener)
    }

    pub(super) fn need(&mut self, name: &str) {
        let needed = Holding {
            named: true,
            state: State::Needed,
        };
        self.holdings.insert(name.into(), Box::new(needed));
    }

    /// Notes what the proxy says that it holds. Whether it is believed to hold a
    /// secret is decided when that is confirmed: more may be known by then.
    pub(super) fn claim(&mut self, name: &str, version: Option<Digest>, named: bool) {
        let is_secret = self.kind == ResourceType::Secret;
        let state = if !is_secret && self.distrusted.holds(name) {
            State::Needed
        } else {
            State::Claimed(version)
        };
        let holding = Box::new(Holding { named, state });
        self.holdings.insert(name.into(), holding);
    }

    /// The names that count against the limit: those that came from the proxy.
    pub(super) fn subscribed(&self) -> usize {
        let said = |holding: &&Holding| holding.named || matches!(holding.state, State::Claimed(_));
        self.holdings.values().map(Box::as_ref).filter(said).count()
    }

    /// The digest of everything of the type that the proxy has accepted.
    pub(super) fn held_version(&self) -> String {
        version_of_all(self.accepted().map(|it| (&*it.name, it.version))).to_string()
    }

    /// What the proxy has accepted, in the order of the names.
    pub(super) fn accepted(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.holdings.values().filter_map(|it| match &it.state {
            State::Sent {
                resource,
                answer: Answer::Accepted,
                ..
            } => Some(resource),
            _ => None,
        })
    }

    /// Believes no longer that the proxy has a resource.
    pub(super) fn doubt(&mut self, name: &str) {
        if let Some(holding) = self.holdings.get_mut(name)
            && matches!(holding.state, State::Claimed(_) | State::Sent { .. })
        {
            holding.state = State::Claimed(None);
        }
    }

    /// Drops holdings. What was rejected together with one of them is due again.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &mut Holding) -> bool) {
        let mut taint = false;
        self.holdings.retain(|name, holding| {
            let kept = keep(name, holding);
            taint |= !kept && holding.is_tainted();
            kept
        });
        if taint {
            self.untaint();
        }
    }

    fn untaint(&mut self) {
        for holding in self.holdings.values_mut() {
            if holding.is_tainted() {
                holding.state = State::Claimed(None);
            }
        }
    }

    /// Lets go of what an older snapshot alone holds in the same version, and
    /// of rejections that what has vanished may be to blame for.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        if self.holdings.values().any(|it| it.is_tainted())
            && self.missing(snapshot).any(|(_, it)| it.is_tainted())
        {
            self.untaint();
        }
        for newest in snapshot.of(self.kind) {
            if let Some(holding) = self.holdings.get_mut(&newest.name)
                && let State::Sent { resource, .. } = &mut holding.state
                && resource.version == newest.version
                && !Arc::ptr_eq(resource, newest)
            {
                *resource = newest.clone();
            }
        }
    }

    /// Notes that the proxy holds this since before the stream.
    pub(super) fn confirm(&mut self, resources: Vec<Arc<Resource>>) -> Held {
        for resource in &resources {
            let state = State::Sent {
                resource: resource.clone(),
                nonce: 0,
                answer: Answer::Accepted,
            };
            self.set(&resource.name, state);
        }
        self.owed = false;
        Held {
            kind: self.kind,
            version: self.held_version(),
            resources,
        }
    }

    /// What the proxy subscribes to and exists.
    pub(super) fn wanted<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        let wanted = |it: &&Arc<Resource>| self.wildcard || self.holdings.contains_key(&*it.name);
        snapshot.of(self.kind).iter().filter(wanted)
    }

    /// Whether the proxy has not been sent the resource in this version.
    pub(super) fn lacks(&self, resource: &Resource) -> bool {
        match self.holdings.get(&*resource.name).map(|it| &it.state) {
            Some(State::Sent { resource: sent, .. }) => sent.version != resource.version,
            _ => true,
        }
    }

    /// The wanted resources that the proxy has not been sent in this version,
    /// as many as one response holds, and with them what was rejected for
    /// another's fault. `true`: there are more.
    pub(super) fn lacking(&self, snapshot: &Snapshot) -> (Vec<Arc<Resource>>, bool) {
        let tainted = |it: &&Arc<Resource>| {
            let holding = self.holdings.get(&*it.name);
            holding.is_some_and(|it| it.is_tainted())
        };
        let mut bytes = 0;
        let mut batch = Vec::new();
        let fits = |batch: &mut Vec<Arc<Resource>>, bytes: &mut usize, it: &Arc<Resource>| {
            let size = it.size() + OVERHEAD;
            if !batch.is_empty() && *bytes + size > MAX_RESPONSE {
                return false;
            }
            *bytes += size;
            batch.push(it.clone());
            true
        };
        for resource in self.wanted(snapshot).filter(|it| self.lacks(it)) {
            if !fits(&mut batch, &mut bytes, resource) {
                return (batch, true);
            }
        }
        if !batch.is_empty() {
            let along = self.wanted(snapshot).filter(|it| !self.lacks(it));
            for resource in along.filter(tainted) {
                if !fits(&mut batch, &mut bytes, resource) {
                    break;
                }
            }
        }
        (batch, false)
    }

    /// What the proxy holds and does not exist any more.
    pub(super) fn vanished<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Holding)> {
        let is_held =
            |(_, it): &(&Arc<str>, &Holding)| !matches!(it.state, State::Needed | State::Absent);
        self.missing(snapshot).filter(is_held)
    }

    /// What the proxy has an entry for and does not exist.
    pub(super) fn missing<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Holding)> {
        let there = snapshot.of(self.kind).iter();
        let there: BTreeSet<&str> = there.map(|it| &*it.name).collect();
        let is_missing = move |(name, _): &(&Arc<str>, &Holding)| !there.contains(&***name);
        let holdings = self.holdings.iter().map(|(name, it)| (name, &**it));
        holdings.filter(is_missing)
    }

    /// Whether the proxy has accepted all that it was sent, and the last
    /// answer was no rejection.
    pub(super) fn is_content(&self) -> bool {
        let accepted = |it: &Holding| match it.state {
            State::Sent { answer, .. } | State::Taken { answer, .. } => answer == Answer::Accepted,
            _ => true,
        };
        self.flights.is_empty() && !self.refused && self.holdings.values().all(|it| accepted(it))
    }

    /// Whether the proxy has answered to the resource.
    pub(super) fn has_answer_for(&self, name: &str) -> bool {
        let state = self.holdings.get(name).map(|it| &it.state);
        matches!(state, Some(State::Sent { answer, .. }) if *answer != Answer::Awaited)
    }

    /// Whether the proxy refused what it was sent last of the name.
    pub(super) fn has_rejected(&self, name: &str) -> bool {
        let state = self.holdings.get(name).map(|it| &it.state);
        matches!(state, Some(State::Sent { answer, .. })
            if matches!(answer, Answer::Rejected | Answer::Tainted))
    }

    /// The names that were sent on this stream.
    pub(super) fn sent(&self) -> impl Iterator<Item = &str> {
        let sent = |it: &Holding| matches!(it.state, State::Sent { nonce, .. } if nonce != 0);
        let names = self.holdings.iter().filter(move |(_, it)| sent(it));
        names.map(|(name, _)| &**name)
    }

    pub(super) fn has_accepted(&self, resource: &Resource) -> bool {
        let state = self.holdings.get(&*resource.name).map(|it| &it.state);
        matches!(state, Some(State::Sent { resource: sent, answer: Answer::Accepted, .. })
            if sent.version == resource.version)
    }

    fn set(&mut self, name: &Arc<str>, state: State) {
        if let Some(holding) = self.holdings.get_mut(name) {
            holding.state = state;
        } else {
            let named = false;
            let holding = Holding { named, state };
            self.holdings.insert(name.clone(), Box::new(holding));
        }
    }

    /// The resources of a draft that the proxy has not accepted before.
    pub(super) fn fresh(&self, draft: &Draft) -> Vec<Arc<str>> {
        let fresh = draft.resources.iter().filter(|it| !self.has_accepted(it));
        fresh.map(|it| it.name.clone()).collect()
    }

    /// Notes that a draft is sent.
    pub(super) fn send(&mut self, draft: Draft, version: String, nonce: u64) -> Response {
        if draft.whole {
            // What is not in it is gone, and so is what was said before.
            self.flights.clear();
            self.holdings.retain(|_, holding| holding.named);
            for holding in self.holdings.values_mut() {
                holding.state = State::Absent;
            }
        }
        for resource in &draft.resources {
            let state = State::Sent {
                resource: resource.clone(),
                nonce,
                answer: Answer::Awaited,
            };
            self.set(&resource.name, state);
        }
        for holding in self.holdings.values_mut() {
            // Now that something else has changed, it is due again.
            if let State::Taken { answer, .. } = holding.state
                && answer == Answer::Rejected
            {
                holding.state = State::Claimed(None);
            }
        }
        for name in &draft.removed {
            let answer = Answer::Awaited;
            self.set(name, State::Taken { nonce, answer });
        }
        let awaited = |number: u64| {
            self.holdings.values().any(|it| match it.state {
                State::Sent { nonce, answer, .. } | State::Taken { nonce, answer } => {
                    nonce == number && answer == Answer::Awaited
                }
                _ => false,
            })
        };
        self.flights.retain(|flight| awaited(flight.nonce));
        self.flights.push(Flight {
            nonce,
            version: version.clone(),
            count: draft.resources.len(),
            overdue: false,
        });
        self.newest = nonce;
        self.owed = false;
        Response {
            kind: self.kind,
            version,
            nonce: nonce.to_string(),
            resources: draft.resources,
            removed: draft.removed,
        }
    }

    /// The digest of everything of the type that the proxy will hold when it
    /// accepts the draft.
    pub(super) fn version_with(&self, draft: &Draft) -> Digest {
        let mut after: BTreeMap<&str, Digest> = BTreeMap::new();
        if !draft.whole {
            after.extend(self.accepted().map(|it| (&*it.name, it.version)));
            for name in &draft.removed {
                after.remove(&**name);
            }
        }
        after.extend(draft.resources.iter().map(|it| (&*it.name, it.version)));
        version_of_all(after)
    }
}
