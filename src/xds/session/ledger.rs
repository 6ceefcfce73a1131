//! What a proxy subscribes to of one type, what it was sent of it, and what it answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Answered, Held, Response, Verdict};
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

/// What the control plane knows about a name that the proxy subscribes to.
#[derive(Debug)]
pub(super) struct Holding {
    /// Whether the proxy named it, beside a wildcard that it may have.
    pub(super) named: bool,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// The proxy needs it, or needs to know that there is none.
    Needed,
    /// The proxy says that it holds something from an earlier stream.
    Claimed(Option<Digest>),
    /// It was sent.
    Sent {
        resource: Arc<Resource>,
        nonce: u64,
        answer: Answer,
    },
    /// The proxy was told that there is none.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Awaited,
    Accepted,
    /// It was rejected alone.
    Rejected,
    /// It was rejected together with others, one of which may have been the
    /// bad one. It goes along with the next response.
    Tainted,
}

/// A response that waits for its answer.
#[derive(Debug)]
struct Flight {
    nonce: u64,
    version: String,
    /// The resources in it that differ from what the proxy had.
    fresh: Vec<Arc<str>>,
    /// Nothing waits for the answer any longer.
    overdue: bool,
}

/// What a response is to hold.
#[derive(Debug, Default)]
pub struct Draft {
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) removed: Vec<Arc<str>>,
    /// It is all that the proxy will hold.
    pub(super) whole: bool,
}

/// How a nonce relates to the responses of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It is of the newest response.
    Newest,
    /// It is of an older one: the proxy had not seen the newest yet.
    Stale,
    /// No response had it.
    Unknown,
}

/// What the proxy subscribes to of one type, and what became of it.
#[derive(Debug)]
pub struct Ledger {
    pub(super) kind: ResourceType,
    pub(super) holdings: BTreeMap<Arc<str>, Holding>,
    /// The proxy subscribes to all there are.
    pub(super) wildcard: bool,
    /// It is owed a response, whatever it holds.
    pub(super) owed: bool,
    /// Names that are sent whatever the proxy claims.
    distrusted: BTreeSet<String>,
    flights: Vec<Flight>,
    /// The newest nonce of the type; 0 before the first.
    newest: u64,
    /// The last answer was a rejection.
    refused: bool,
}

impl Ledger {
    pub(super) fn new(kind: ResourceType, distrusted: BTreeSet<String>) -> Self {
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
        self.holdings.insert(name.into(), needed);
    }

    /// Notes what the proxy says that it holds.
    pub(super) fn claim(&mut self, name: &str, version: Option<Digest>, named: bool) {
        let state = if self.distrusted.contains(name) {
            State::Needed
        } else {
            State::Claimed(version)
        };
        self.holdings.insert(name.into(), Holding { named, state });
    }

    /// The names that count against the limit: those that came from the proxy.
    pub(super) fn subscribed(&self) -> usize {
        let said = |holding: &&Holding| holding.named || matches!(holding.state, State::Claimed(_));
        self.holdings.values().filter(said).count()
    }

    pub(super) fn age(&self, nonce: &str) -> Age {
        if nonce.is_empty() {
            // It was written before the first response came.
            return Age::Newest;
        }
        match nonce.parse::<u64>() {
            Ok(0) | Err(_) => Age::Unknown,
            Ok(number) if number < self.newest => Age::Stale,
            Ok(number) if number == self.newest => Age::Newest,
            Ok(_) => Age::Unknown,
        }
    }

    /// Whether something still waits for an answer of the proxy.
    pub(super) fn awaits(&self) -> bool {
        self.flights.iter().any(|flight| !flight.overdue)
    }

    /// Lets nothing wait any longer for what has been sent.
    pub(super) fn on_silence(&mut self) {
        for flight in &mut self.flights {
            flight.overdue = true;
        }
    }

    /// Matches an answer to the response it is about. `version` is what an
    /// acceptance has to name.
    pub(super) fn judge(
        &mut self,
        nonce: &str,
        version: Option<&str>,
        rejection: Option<&str>,
    ) -> Option<Answered> {
        let nonce: u64 = nonce.parse().ok()?;
        let index = self.flights.iter().position(|it| it.nonce == nonce)?;
        if rejection.is_none() && version.is_some_and(|it| it != self.flights[index].version) {
            return None;
        }
        let flight = self.flights.remove(index);
        self.refused = rejection.is_some();
        let mut judged = Vec::new();
        for holding in self.holdings.values_mut() {
            if let State::Sent { nonce, answer, .. } = &mut holding.state
                && *nonce == flight.nonce
                && *answer == Answer::Awaited
            {
                *answer = Answer::Accepted;
                judged.push(holding);
            }
        }
        let alone = judged.len() == 1;
        let mut resources = Vec::with_capacity(judged.len());
        for holding in judged {
            if let State::Sent {
                resource, answer, ..
            } = &mut holding.state
            {
                match rejection {
                    Some(_) if alone => *answer = Answer::Rejected,
                    Some(_) => *answer = Answer::Tainted,
                    None => {}
                }
                resources.push(resource.clone());
            }
        }
        let kind = self.kind;
        Some(match rejection {
            Some(message) => Answered {
                verdict: Verdict::Rejected {
                    kind,
                    version: flight.version,
                    resources,
                    message: message.to_owned(),
                },
                fresh: Vec::new(),
            },
            None => Answered {
                verdict: Verdict::Accepted {
                    kind,
                    version: self.held_version(),
                    resources,
                },
                fresh: flight.fresh,
            },
        })
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

    /// Lets go of what an older snapshot alone holds in the same version.
    pub(super) fn refresh(&mut self, snapshot: &Snapshot) {
        for newest in snapshot.of(self.kind) {
            if let Some(Holding {
                state: State::Sent { resource, .. },
                ..
            }) = self.holdings.get_mut(&newest.name)
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
            let state = holding.map(|holding| &holding.state);
            matches!(
                state,
                Some(State::Sent {
                    answer: Answer::Tainted,
                    ..
                })
            )
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
        let is_held = |(_, it): &(&Arc<str>, &Holding)| {
            matches!(it.state, State::Sent { .. } | State::Claimed(_))
        };
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
        self.holdings.iter().filter(is_missing)
    }

    /// Whether the proxy has accepted all that it was sent, and the last
    /// answer was no rejection.
    pub(super) fn is_content(&self) -> bool {
        let accepted = |it: &Holding| match it.state {
            State::Sent { answer, .. } => answer == Answer::Accepted,
            _ => true,
        };
        self.flights.is_empty() && !self.refused && self.holdings.values().all(accepted)
    }

    /// Whether the proxy has answered to the resource.
    pub(super) fn has_answer_for(&self, name: &str) -> bool {
        let state = self.holdings.get(name).map(|it| &it.state);
        matches!(state, Some(State::Sent { answer, .. }) if *answer != Answer::Awaited)
    }

    fn set(&mut self, name: &Arc<str>, state: State) {
        if let Some(holding) = self.holdings.get_mut(name) {
            holding.state = state;
        } else {
            let named = false;
            let holding = Holding { named, state };
            self.holdings.insert(name.clone(), holding);
        }
    }

    /// Notes that a draft is sent.
    pub(super) fn send(&mut self, draft: Draft, version: String, nonce: u64) -> Response {
        let lacked = draft.resources.iter().filter(|it| self.lacks(it));
        let fresh: Vec<_> = match self.kind {
            ResourceType::Cluster => lacked.map(|it| it.name.clone()).collect(),
            _ => Vec::new(),
        };
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
        for name in &draft.removed {
            match self.holdings.get_mut(name) {
                Some(holding) if holding.named => holding.state = State::Absent,
                _ => drop(self.holdings.remove(name)),
            }
        }
        let awaited = |number: u64| {
            self.holdings.values().any(|it| {
                matches!(&it.state, State::Sent { nonce, answer: Answer::Awaited, .. } if *nonce == number)
            })
        };
        self.flights.retain(|flight| awaited(flight.nonce));
        self.flights.push(Flight {
            nonce,
            version: version.clone(),
            fresh,
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
