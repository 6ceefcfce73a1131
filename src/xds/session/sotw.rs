//! State of the world.
//!
//! A proxy has one version for all resources of a type: that of the response
//! it accepted last. So that it says what the proxy holds after a reconnect,
//! the version of a response tells everything of the type that the proxy will
//! hold once it accepts it: of secrets it lists the content digests, of any
//! other type it is one digest over them. For that to be complete, a response
//! waits for the answer to the one before. A proxy that stays silent is sent
//! the rest all the same, under versions that claim less: at worst it is sent
//! something again after a reconnect, never is it believed to hold what it
//! lacks.
//!
//! A response for clusters or listeners is all that the proxy will hold of
//! them; what is not in it is gone. One for endpoints or routes says nothing
//! about what is not in it. A proxy subscribes to all clusters or listeners as
//! long as it has never named one, or when it names `*`.
//!
//! One thing the protocol cannot express: a proxy that drops a name, takes it
//! back and loses its stream before that is answered comes back under the
//! version that it had. Envoy's SDS has a stream and a version per secret, so
//! there a secret that was dropped starts without a version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::ledger::{Age, Distrusted, Draft, Ledger, State, WILDCARD};
use super::{Held, Variant, Verdict};
use crate::model::Digest;
use crate::xds::resource::{Resource, ResourceType, version_of_all};
use crate::xds::snapshot::Snapshot;

/// The most digests in one version.
const MAX_DIGESTS: usize = 16;

/// The state-of-the-world protocol, for one type.
#[derive(Debug)]
pub struct Sotw {
    ledger: Ledger,
    /// Still to come is the first request, the one that may name a version of
    /// an earlier stream.
    first: bool,
    /// What that version lists.
    claims: BTreeSet<Digest>,
    /// The proxy has named a resource: to name none is to want none.
    has_named: bool,
}

impl Sotw {
    fn is_secret(&self) -> bool {
        self.ledger.kind == ResourceType::Secret
    }

    fn begin(&mut self, request: &DiscoveryRequest) {
        self.first = false;
        self.claims = request
            .version_info
            .split(',')
            .take(MAX_DIGESTS)
            .filter_map(|digest| digest.parse().ok())
            .collect();
        self.ledger.owed = self.ledger.has_wildcard();
        if self.is_secret() {
            for name in &request.resource_names {
                self.ledger.claim(name, None, true);
            }
        } else {
            let mut names = request.resource_names.iter();
            let distrusted = &self.ledger.distrusted;
            if matches!(distrusted, Distrusted::All) || names.any(|it| distrusted.holds(it)) {
                self.claims.clear();
            }
            self.subscribe(&request.resource_names);
        }
    }

    fn subscribe(&mut self, names: &[String]) {
        if self.ledger.has_wildcard() {
            self.has_named |= !names.is_empty();
            let wildcard = !self.has_named || names.iter().any(|name| name == WILDCARD);
            self.ledger.owed |= wildcard && !self.ledger.wildcard;
            self.ledger.wildcard = wildcard;
        }
        self.forget_except(names);
        for name in names {
            if self.ledger.has_wildcard() && name == WILDCARD {
                continue;
            }
            if !self.ledger.holdings.contains_key(name.as_str()) {
                self.ledger.need(name);
                self.ledger.owed |= self.ledger.has_wildcard();
            }
        }
    }

    /// Forgets the names that the proxy no longer subscribes to, so that one
    /// that comes back is sent.
    fn forget_except(&mut self, names: &[String]) {
        let kept: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let wildcard = self.ledger.wildcard;
        self.ledger.retain(|name, holding| {
            holding.named = kept.contains(name);
            holding.named || (wildcard && matches!(holding.state, State::Sent { .. }))
        });
    }

    /// The first claim that is true, if any.
    fn confirm_secret(&mut self, snapshot: &Snapshot) -> Option<Held> {
        for resource in snapshot.of(ResourceType::Secret) {
            let Some(holding) = self.ledger.holdings.get_mut(&resource.name) else {
                continue;
            };
            if !matches!(holding.state, State::Claimed(_)) {
                continue;
            }
            let is_distrusted = self.ledger.distrusted.holds(&resource.name);
            if !is_distrusted && self.claims.contains(&resource.version) {
                return Some(self.ledger.confirm(vec![resource.clone()]));
            }
            holding.state = State::Needed;
        }
        None
    }

    /// A response that is all that the proxy will hold.
    fn whole(&self, snapshot: &Snapshot, may_go: &dyn Fn(&str) -> bool) -> Option<Draft> {
        let ledger = &self.ledger;
        let mut resources: Vec<Arc<Resource>> = ledger.wanted(snapshot).cloned().collect();
        let mut is_due = ledger.owed || resources.iter().any(|it| ledger.lacks(it));
        for (name, holding) in ledger.vanished(snapshot) {
            match &holding.state {
                State::Sent { resource, .. } if !may_go(name) => resources.push(resource.clone()),
                _ => is_due = true,
            }
        }
        is_due.then_some(Draft {
            resources,
            whole: true,
            ..Draft::default()
        })
    }

    /// The version of a secret's response.
    fn digests(&self, draft: &Draft) -> String {
        let names: Vec<_> = draft.resources.iter().map(|it| &it.name).collect();
        let others = self
            .ledger
            .accepted()
            .filter(|it| !names.contains(&&it.name));
        let digests: Vec<String> = draft
            .resources
            .iter()
            .chain(others)
            .take(MAX_DIGESTS)
            .map(|it| it.version.to_string())
            .collect();
        digests.join(",")
    }
}

impl Variant for Sotw {
    type Request = DiscoveryRequest;

    fn new(kind: ResourceType, distrusted: Distrusted) -> Self {
        Self {
            ledger: Ledger::new(kind, distrusted),
            first: true,
            claims: BTreeSet::new(),
            has_named: false,
        }
    }

    fn on_request(&mut self, request: &DiscoveryRequest) -> Option<Verdict> {
        if self.first {
            self.begin(request);
            return None;
        }
        let nonce = request.response_nonce.as_str();
        let rejection = request.error_detail.as_ref();
        let answered = self.ledger.judge(
            nonce,
            Some(&request.version_info),
            rejection.map(|status| status.message.as_str()),
        );
        match self.ledger.age(nonce) {
            Age::Newest => self.subscribe(&request.resource_names),
            // One with the newest nonce follows, and that gets the response.
            // But only this one shows that a name was dropped in between.
            Age::Stale => self.forget_except(&request.resource_names),
            Age::Unknown => {}
        }
        answered
    }

    fn confirm(&mut self, snapshot: &Snapshot) -> Option<Held> {
        if self.is_secret() {
            return self.confirm_secret(snapshot);
        }
        let claims = std::mem::take(&mut self.claims);
        if claims.is_empty() {
            return None;
        }
        let wanted = self.ledger.wanted(snapshot);
        let wanted: BTreeMap<_, _> = wanted.map(|it| (&*it.name, it)).collect();
        let present = version_of_all(wanted.iter().map(|(name, it)| (*name, it.version)));
        let wanted: Vec<_> = wanted.into_values().cloned().collect();
        claims
            .contains(&present)
            .then(|| self.ledger.confirm(wanted))
    }

    fn due(&self, snapshot: &Snapshot, may_go: &dyn Fn(&str) -> bool) -> Option<Draft> {
        let ledger = &self.ledger;
        if ledger.has_wildcard() {
            return self.whole(snapshot, may_go);
        }
        let resources = if self.is_secret() {
            let mut lacking = ledger.wanted(snapshot).filter(|it| ledger.lacks(it));
            lacking.next().cloned().into_iter().collect()
        } else {
            ledger.lacking(snapshot).0
        };
        (!resources.is_empty()).then(|| Draft {
            resources,
            ..Draft::default()
        })
    }

    fn version(&self, draft: &Draft) -> String {
        if self.is_secret() {
            self.digests(draft)
        } else {
            self.ledger.version_with(draft).to_string()
        }
    }

    fn waits(&self) -> bool {
        self.ledger.awaits()
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}
