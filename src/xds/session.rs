//! The xDS protocol of one stream, as a pure machine: a [`Session`] in one of
//! two variants, [`Sotw`] (state of the world) and [`Delta`] (incremental).
//!
//! A machine is told every request and asked, whenever the stream has room,
//! what comes [`Session::next`]. So a slow proxy is not sent what has been
//! superseded meanwhile, and nothing is queued for it.
//!
//! For each type that the proxy asks for, both variants do this:
//!
//! - Secrets have a response each, so that an answer says something about one
//!   of them. Of any other type, a response holds all that is due.
//! - A resource is sent when the proxy subscribes to it or its version
//!   differs from the one that was sent last. So a rejected version is not
//!   sent again before the content changes: there is no spin, and no reissue
//!   ahead of the next renewal either. What was rejected together with others
//!   goes along with the next response.
//! - A rejection is a request with `error_detail`; versions are not compared
//!   for it. An acceptance has nonce and version of a response that waits for
//!   its answer. The first answer to a response is the one that counts.
//! - A response waits for the answer to the one before; only secrets in the
//!   incremental variant need not.
//! - A secret that does not exist is not mentioned, and one that vanishes is
//!   not taken back: proxies withdraw nothing over SDS.
//! - What a proxy says that it holds from an earlier stream is believed when
//!   the version is the present one, except for names it rejected something
//!   of (`distrusted`): Envoy keeps rejected bytes as its newest, so those are
//!   sent again, in another edition ([`Resource::edition`]) as the stream
//!   provides.
//!
//! The room `order` says what holds between the types, `proof` what a stream
//! proves about its proxy.

mod delta;
mod ledger;
mod order;
mod proof;
#[cfg(test)]
mod properties;
mod sotw;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wide_properties;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use delta::Delta;
pub use sotw::Sotw;

use self::ledger::{Distrusted, Draft, Ledger};
use super::resource::{Resource, ResourceType};
use super::snapshot::Snapshot;

/// The proxy's answer to a response.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It uses the resources.
    Accepted {
        /// Their type.
        kind: ResourceType,
        /// The digest of everything of the type that it has accepted
        /// ([`super::resource::version_of_all`]).
        version: String,
        /// What was in the response and has not been superseded.
        resources: Vec<Arc<Resource>>,
    },
    /// It refused a resource at least and keeps what it had of that.
    Rejected {
        /// Their type.
        kind: ResourceType,
        /// The version of the response.
        version: String,
        /// What was in the response and has not been superseded.
        resources: Vec<Arc<Resource>>,
        /// The proxy's words.
        message: String,
    },
}

/// A response to be sent.
#[derive(Debug, Clone)]
pub struct Response {
    /// The type of all that is in it.
    pub kind: ResourceType,
    /// The version of the response.
    pub version: String,
    /// Identifies the response on its stream.
    pub nonce: String,
    /// What it holds.
    pub resources: Vec<Arc<Resource>>,
    /// The names that it takes back; incremental only.
    pub removed: Vec<Arc<str>>,
}

/// What a proxy holds since before the stream.
#[derive(Debug, Clone)]
pub struct Held {
    /// The type.
    pub kind: ResourceType,
    /// The digest of everything of the type that it is known to hold.
    pub version: String,
    /// What was confirmed now.
    pub resources: Vec<Arc<Resource>>,
}

/// What is to be done next.
#[derive(Debug, Clone)]
pub enum Next {
    /// The response goes out.
    Send(Response),
    /// This is an acceptance.
    Holds(Held),
    /// Something is to be sent once the proxy has answered, or has been silent
    /// for a while ([`Session::on_silence`]).
    AwaitVerdict,
    /// Nothing, until a request comes or the snapshot changes.
    Nothing,
}

/// A variant of the protocol: what it does for one type.
pub trait Variant {
    /// What the proxy sends.
    type Request;

    /// A type that the proxy has not asked for yet. What is `distrusted` is
    /// sent whatever the proxy claims to hold.
    fn new(kind: ResourceType, distrusted: Distrusted) -> Self;

    /// Takes in a request.
    fn on_request(&mut self, request: &Self::Request) -> Option<Verdict>;

    /// Settles what the proxy claims to hold.
    fn confirm(&mut self, snapshot: &Snapshot) -> Option<Held>;

    /// What there is to send. Of what has vanished, that which `may_go`.
    fn due(&self, snapshot: &Snapshot, may_go: &dyn Fn(&str) -> bool) -> Option<Draft>;

    /// The version of a response.
    fn version(&self, draft: &Draft) -> String;

    /// Whether what is due waits for the answer to what was sent of the type.
    fn waits(&self) -> bool;

    /// What was sent, and what was answered.
    fn ledger(&self) -> &Ledger;

    /// The same, to be changed.
    fn ledger_mut(&mut self) -> &mut Ledger;
}

/// The protocol's machine for one stream.
#[derive(Debug)]
pub struct Session<V> {
    /// The types that the proxy has asked for, in their order.
    types: Vec<V>,
    distrusted: BTreeSet<String>,
    /// The number in the newest nonce.
    sent: u64,
    /// Clusters that were sent and lack their endpoints.
    warming: BTreeSet<Arc<str>>,
    /// The proxy may still ask for listeners: it asks for one type after the other.
    expects_listeners: bool,
    /// The proxy asked for endpoints first, so its clusters warm ([`order`]).
    withholds_clusters: bool,
}

impl<V: Variant> Session<V> {
    /// A stream that has just begun. `distrusted` are the secrets, by name, and
    /// the other types, by [`ResourceType::name`], of which the proxy rejected
    /// something last: of those it may use what it does not say.
    #[must_use]
    pub fn new(distrusted: BTreeSet<String>) -> Self {
        Self {
            types: Vec::new(),
            distrusted,
            sent: 0,
            warming: BTreeSet::new(),
            expects_listeners: true,
            withholds_clusters: false,
        }
    }

    /// Believes what the proxy says that it holds of a secret, as far as that is
    /// not confirmed or denied yet.
    pub fn believe(&mut self, secret: &str) {
        self.distrusted.remove(secret);
        if let Some(secrets) = self.of_mut(ResourceType::Secret) {
            secrets.ledger_mut().distrusted.lift(secret);
        }
    }

    /// Takes in a request for a type.
    pub fn on_request(&mut self, kind: ResourceType, request: &V::Request) -> Option<Verdict> {
        let place = self.types.partition_point(|it| it.ledger().kind < kind);
        let is_new = self.types.get(place).map(|it| it.ledger().kind) != Some(kind);
        if is_new {
            let distrusted = match kind {
                ResourceType::Secret => Distrusted::Names(self.distrusted.clone()),
                ResourceType::Endpoints => {
                    if let Some(clusters) = self.of(ResourceType::Cluster) {
                        // It may have written this before the clusters came.
                        let sent = clusters.ledger().sent().map(str::to_owned);
                        Distrusted::Names(sent.collect())
                    } else {
                        self.withholds_clusters = true;
                        Distrusted::All
                    }
                }
                _ if self.distrusted.contains(kind.name()) => Distrusted::All,
                _ => Distrusted::default(),
            };
            self.types.insert(place, V::new(kind, distrusted));
        }
        self.types[place].on_request(request)
    }

    /// How many names came from the proxy.
    pub fn subscribed(&self) -> usize {
        let names = self.types.iter().map(|it| it.ledger().subscribed());
        names.sum()
    }

    fn of(&self, kind: ResourceType) -> Option<&V> {
        self.types.iter().find(|it| it.ledger().kind == kind)
    }

    fn of_mut(&mut self, kind: ResourceType) -> Option<&mut V> {
        self.types.iter_mut().find(|it| it.ledger().kind == kind)
    }
}
