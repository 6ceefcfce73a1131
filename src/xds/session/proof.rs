//! What a stream proves about its proxy: which parts it asks for, and of which
//! of them it uses what the present snapshot holds and nothing else.
//!
//! Nothing is remembered: a part is proven by what the proxy holds, so also
//! under a mark that brought it nothing new and therefore no response.
//!
//! A secret is proven when there is one and its present bytes are accepted.
//! One that does not exist proves nothing, for none is taken back over SDS. All
//! listeners, or all clusters, are proven together, to a proxy that subscribes
//! to whatever there is: it has accepted each in its present version, gave up
//! those that vanished, and has nothing left to answer. Where there are none,
//! that it knows so.

use super::ledger::{Answer, Ledger, State};
use super::{Session, Variant};
use crate::model::Part;
use crate::xds::resource::{IDENTITY_CERT, MESH_CA, ResourceType};
use crate::xds::snapshot::Snapshot;

impl Part {
    /// The type of its resources, and the name where it is one of them.
    fn resources(self) -> (ResourceType, Option<&'static str>) {
        match self {
            Self::Bundle => (ResourceType::Secret, Some(MESH_CA)),
            Self::Leaf => (ResourceType::Secret, Some(IDENTITY_CERT)),
            Self::Inbounds => (ResourceType::Listener, None),
            Self::Outbounds => (ResourceType::Cluster, None),
        }
    }
}

impl<V: Variant> Session<V> {
    /// Whether the proxy subscribes to something of a part.
    #[must_use]
    pub fn asks(&self, part: Part) -> bool {
        let (kind, name) = part.resources();
        self.of(kind).is_some_and(|it| {
            let ledger = it.ledger();
            match name {
                Some(name) => ledger.holdings.contains_key(name),
                None => ledger.wildcard || ledger.subscribed() > 0,
            }
        })
    }

    /// Whether the proxy uses what the snapshot holds of a part, and nothing else.
    #[must_use]
    pub fn proves(&self, part: Part, snapshot: &Snapshot) -> bool {
        let (kind, name) = part.resources();
        self.of(kind).is_some_and(|it| {
            let ledger = it.ledger();
            match name {
                Some(name) => {
                    let mut secrets = snapshot.of(kind).iter();
                    secrets.any(|it| *it.name == *name && ledger.has_accepted(it))
                }
                None => ledger.holds_all_of(snapshot),
            }
        })
    }
}

impl<V: Variant> Session<V> {
    /// Whether the proxy has rejected something of a type that it was not sent
    /// again since.
    #[must_use]
    pub fn rejects(&self, kind: ResourceType) -> bool {
        self.of(kind).is_some_and(|it| it.ledger().rejects())
    }
}

impl Ledger {
    fn rejects(&self) -> bool {
        let mut states = self.holdings.values().map(|it| &it.state);
        states.any(|state| {
            matches!(
                state,
                State::Sent {
                    answer: Answer::Rejected | Answer::Tainted,
                    ..
                }
            )
        })
    }

    fn holds_all_of(&self, snapshot: &Snapshot) -> bool {
        self.wildcard
            && !self.owed
            && self.is_content()
            && self.wanted(snapshot).all(|it| self.has_accepted(it))
            && (self.missing(snapshot)).all(|(_, it)| matches!(it.state, State::Absent))
    }
}
