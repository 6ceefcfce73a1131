//! Incremental: every resource has a version of its own, and is taken back by name.
//!
//! A proxy may subscribe to all clusters and all listeners: by naming nothing
//! in its first request for the type, or by naming `*` at any time. Names
//! beside that are its own affair, until it drops one: then it is told the
//! state of that resource again, as the protocol demands.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::ledger::{Distrusted, Draft, Ledger, State, WILDCARD};
use super::{Held, Variant, Verdict};
use crate::xds::resource::ResourceType;
use crate::xds::snapshot::Snapshot;

/// The incremental protocol, for one type.
#[derive(Debug)]
pub struct Delta {
    ledger: Ledger,
    /// Still to come is the first request, the one with `initial_resource_versions`.
    first: bool,
}

impl Delta {
    fn begin(&mut self, request: &DeltaDiscoveryRequest) {
        self.first = false;
        let names = &request.resource_names_subscribe;
        let asked: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if self.ledger.has_wildcard() && (asked.is_empty() || asked.contains(WILDCARD)) {
            self.ledger.wildcard = true;
            self.ledger.owed = true;
        }
        for (name, version) in &request.initial_resource_versions {
            let is_named = asked.contains(name.as_str());
            if is_named || self.ledger.wildcard {
                self.ledger.claim(name, version.parse().ok(), is_named);
            }
        }
        for name in names {
            if !self.ledger.holdings.contains_key(name.as_str()) {
                self.subscribe(name);
            }
        }
    }

    fn subscribe(&mut self, name: &str) {
        let is_wildcard = name == WILDCARD && self.ledger.kind != ResourceType::Secret;
        if !is_wildcard {
            // Also where the proxy had subscribed before: it asks because it
            // has lost the resource.
            self.ledger.need(name);
        } else if self.ledger.has_wildcard() && !self.ledger.wildcard {
            self.ledger.wildcard = true;
            self.ledger.owed = true;
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == WILDCARD {
            self.ledger.wildcard = false;
            self.ledger.retain(|_, holding| holding.named);
        } else if !self.ledger.wildcard {
            self.ledger.retain(|held, _| held != name);
        } else if let Some(holding) = self.ledger.holdings.get_mut(name)
            && std::mem::take(&mut holding.named)
        {
            holding.state = State::Needed;
        }
    }
}

impl Variant for Delta {
    type Request = DeltaDiscoveryRequest;

    fn new(kind: ResourceType, distrusted: Distrusted) -> Self {
        Self {
            ledger: Ledger::new(kind, distrusted),
            first: true,
        }
    }

    fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Option<Verdict> {
        let rejection = request.error_detail.as_ref();
        let rejection = rejection.map(|status| status.message.as_str());
        let nonce = &request.response_nonce;
        let answered = self.ledger.judge(nonce, None, rejection);
        if self.first {
            self.begin(request);
            return answered;
        }
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(name);
        }
        for name in &request.resource_names_subscribe {
            self.subscribe(name);
        }
        answered
    }

    fn confirm(&mut self, snapshot: &Snapshot) -> Option<Held> {
        let is_secret = self.ledger.kind == ResourceType::Secret;
        let mut true_claims = Vec::new();
        for resource in snapshot.of(self.ledger.kind) {
            let Some(holding) = self.ledger.holdings.get_mut(&resource.name) else {
                continue;
            };
            let State::Claimed(claim) = holding.state else {
                continue;
            };
            let is_distrusted = is_secret && self.ledger.distrusted.holds(&resource.name);
            if !is_distrusted && claim == Some(resource.version) {
                true_claims.push(resource.clone());
                if is_secret {
                    break;
                }
            } else if is_secret {
                holding.state = State::Needed;
            }
        }
        (!true_claims.is_empty()).then(|| self.ledger.confirm(true_claims))
    }

    fn due(&self, snapshot: &Snapshot, may_go: &dyn Fn(&str) -> bool) -> Option<Draft> {
        let ledger = &self.ledger;
        if ledger.kind == ResourceType::Secret {
            let resource = ledger.wanted(snapshot).find(|it| ledger.lacks(it))?;
            return Some(Draft {
                resources: vec![resource.clone()],
                ..Draft::default()
            });
        }
        let (resources, more) = ledger.lacking(snapshot);
        let mut draft = Draft {
            resources,
            ..Draft::default()
        };
        if !more {
            for (name, holding) in ledger.missing(snapshot) {
                let goes = match holding.state {
                    State::Needed => true,
                    State::Claimed(_) | State::Sent { .. } => may_go(name),
                    State::Taken { .. } | State::Absent => false,
                };
                if goes {
                    draft.removed.push(name.clone());
                }
            }
        }
        let is_empty = draft.resources.is_empty() && draft.removed.is_empty();
        (!is_empty || ledger.owed).then_some(draft)
    }

    fn version(&self, draft: &Draft) -> String {
        match (self.ledger.kind, draft.resources.as_slice()) {
            (ResourceType::Secret, [secret]) => secret.version.to_string(),
            _ => self.ledger.version_with(draft).to_string(),
        }
    }

    fn waits(&self) -> bool {
        self.ledger.kind != ResourceType::Secret && self.ledger.awaits()
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}
