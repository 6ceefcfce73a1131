//! The order of the types on one stream: make before break (xDS protocol,
//! "Eventual consistency considerations").
//!
//! Clusters come before their endpoints, those before listeners, those before
//! routes. Listeners and routes wait while a response of an earlier type has no
//! answer, and while a cluster that was sent lacks its endpoints: the proxy may
//! have to ask for them first. Endpoints wait for no cluster: Envoy answers to
//! clusters once they are warm, which they are with their endpoints
//! (`ClusterManagerImpl` pauses CDS while clusters warm). A rejection is an
//! answer; it holds nothing back, least of all a listener that withdraws a
//! permission. Secrets wait for nothing and nothing waits for them.
//!
//! Removal is the reverse: a cluster that vanished is taken away, and its
//! endpoints after it, when the proxy has accepted all the listeners there
//! are. In the state of the world it stays in the responses until then. One
//! thing that variant cannot express: after a reconnect nobody knows which
//! clusters an older listener uses.
//!
//! No wait can be for ever, except that for listeners which never become good:
//! [`Session::on_silence`] ends the others.
//!
//! A cluster that changed is a new one to Envoy, and it is used once its
//! endpoints have come, also when they are the same ("Resource warming"). It
//! does not ask for them again: they are sent behind the cluster. A stream that
//! breaks between the two is followed by one that begins with the endpoints, for
//! the first request for clusters is withheld as their answer would be. So who
//! asks for endpoints first is not believed to hold any, and listeners wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ledger::Draft;
use super::{Next, Session, Variant};
use crate::xds::resource::ResourceType;
use crate::xds::snapshot::Snapshot;

impl<V: Variant> Session<V> {
    /// What is to be done now. [`Next::Send`] counts as sent.
    pub fn next(&mut self, snapshot: &Snapshot) -> Next {
        for of_type in &mut self.types {
            of_type.ledger_mut().refresh(snapshot);
            if let Some(held) = of_type.confirm(snapshot) {
                return Next::Holds(held);
            }
        }
        self.settle_warming(snapshot);
        let mut waits = self.keeps_for_listeners(snapshot);
        let withheld = self.withholds_clusters && self.of(ResourceType::Cluster).is_none();
        let mut blocked = withheld || !self.warming.is_empty();
        for index in 0..self.types.len() {
            let of_type = &self.types[index];
            let kind = of_type.ledger().kind;
            let is_secret = kind == ResourceType::Secret;
            if let Some(draft) = self.due(of_type, snapshot) {
                let is_blocked = blocked && kind > ResourceType::Endpoints;
                if !is_blocked && !of_type.waits() {
                    return self.send(index, draft);
                }
                waits = true;
                blocked |= !is_secret;
            }
            blocked |= !is_secret && of_type.ledger().awaits();
        }
        if waits {
            Next::AwaitVerdict
        } else {
            Next::Nothing
        }
    }

    /// Gives up waiting for the proxy before the next response.
    pub fn on_silence(&mut self) {
        for of_type in &mut self.types {
            of_type.ledger_mut().on_silence();
        }
        self.warming.clear();
        self.expects_listeners = false;
        self.withholds_clusters = false;
    }

    fn send(&mut self, index: usize, draft: Draft) -> Next {
        self.sent += 1;
        let of_type = &mut self.types[index];
        let version = of_type.version(&draft);
        let fresh = of_type.ledger().fresh(&draft);
        let response = of_type.ledger_mut().send(draft, version, self.sent);
        if response.kind == ResourceType::Cluster {
            self.warm(fresh);
        }
        Next::Send(response)
    }

    fn due(&self, of_type: &V, snapshot: &Snapshot) -> Option<Draft> {
        let kind = of_type.ledger().kind;
        of_type.due(snapshot, &|name| match kind {
            ResourceType::Cluster => self.listeners_are_new(snapshot),
            ResourceType::Endpoints => {
                !self.keeps_cluster(name, snapshot) && self.listeners_are_new(snapshot)
            }
            _ => true,
        })
    }

    /// Whether no listener of the proxy may refer to what has vanished.
    fn listeners_are_new(&self, snapshot: &Snapshot) -> bool {
        match self.of(ResourceType::Listener) {
            Some(listeners) => {
                listeners.ledger().is_content() && listeners.due(snapshot, &|_| true).is_none()
            }
            None => !self.expects_listeners,
        }
    }

    /// Whether the proxy has a cluster that has vanished.
    fn keeps_cluster(&self, name: &str, snapshot: &Snapshot) -> bool {
        self.of(ResourceType::Cluster).is_some_and(|clusters| {
            let mut vanished = clusters.ledger().vanished(snapshot);
            vanished.any(|(cluster, _)| **cluster == *name)
        })
    }

    /// Whether something is kept until the proxy has asked for listeners, or has not.
    fn keeps_for_listeners(&self, snapshot: &Snapshot) -> bool {
        self.expects_listeners
            && self.of(ResourceType::Listener).is_none()
            && [ResourceType::Cluster, ResourceType::Endpoints]
                .into_iter()
                .filter_map(|kind| self.of(kind))
                .any(|it| it.due(snapshot, &|_| true).is_some() && self.due(it, snapshot).is_none())
    }

    /// Notes clusters that were sent and need their endpoints, whatever the
    /// proxy had of those.
    fn warm(&mut self, fresh: Vec<Arc<str>>) {
        if let Some(endpoints) = self.of_mut(ResourceType::Endpoints) {
            for name in &fresh {
                endpoints.ledger_mut().doubt(name);
            }
        }
        self.warming.extend(fresh);
    }

    /// Forgets the clusters that need no endpoints any longer.
    fn settle_warming(&mut self, snapshot: &Snapshot) {
        if self.warming.is_empty() {
            return;
        }
        let ledger = |kind| {
            let mut ledgers = self.types.iter().map(Variant::ledger);
            ledgers.find(|it| it.kind == kind)
        };
        let clusters = ledger(ResourceType::Cluster);
        let endpoints = ledger(ResourceType::Endpoints);
        let there =
            |kind| -> BTreeSet<&str> { snapshot.of(kind).iter().map(|it| &*it.name).collect() };
        let there = [there(ResourceType::Cluster), there(ResourceType::Endpoints)];
        self.warming.retain(|name| {
            there.iter().all(|it| it.contains(&**name))
                && !clusters.is_some_and(|it| it.has_rejected(name))
                && !endpoints.is_some_and(|it| it.has_answer_for(name))
        });
    }
}
