//! Incremental: every resource has a version of its own, so responses do not
//! wait for one another.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{Holding, Next, Session, Subscriptions, Verdict};
use crate::xds::snapshot::Snapshot;

/// The incremental protocol of one stream and one type URL.
#[derive(Debug)]
pub struct DeltaSession {
    subscriptions: Subscriptions,
    /// Still to come is the first request, the one with `initial_resource_versions`.
    first: bool,
    /// Those, of the names that the request subscribes to.
    claims: BTreeMap<String, String>,
}

impl DeltaSession {
    /// A stream that has just begun. `distrusted` are the names of which the
    /// proxy rejected something last.
    #[must_use]
    pub fn new(distrusted: BTreeSet<String>) -> Self {
        Self {
            subscriptions: Subscriptions::new(distrusted),
            first: true,
            claims: BTreeMap::new(),
        }
    }

    fn subscribe(&mut self, request: &DeltaDiscoveryRequest) {
        for name in &request.resource_names_unsubscribe {
            self.subscriptions.holdings.remove(name);
        }
        for name in &request.resource_names_subscribe {
            match request.initial_resource_versions.get(name) {
                Some(version) if self.first => {
                    self.claims.insert(name.clone(), version.clone());
                    self.subscriptions.claim(name);
                }
                // Also where the proxy had subscribed before: it asks because
                // it has lost the resource.
                _ => {
                    let holdings = &mut self.subscriptions.holdings;
                    holdings.insert(name.clone(), Holding::Nothing);
                }
            }
        }
        self.first = false;
    }
}

impl Session for DeltaSession {
    type Request = DeltaDiscoveryRequest;

    fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Option<Verdict> {
        let rejection = request.error_detail.as_ref();
        let verdict = self.subscriptions.judge(
            &request.response_nonce,
            None,
            rejection.map(|status| status.message.as_str()),
        );
        self.subscribe(request);
        verdict
    }

    fn next(&mut self, snapshot: &Snapshot) -> Next {
        let claims = &self.claims;
        let confirmed = self.subscriptions.confirm(snapshot, |resource| {
            claims
                .get(&*resource.name)
                .is_some_and(|version| *version == resource.version.to_string())
        });
        if let Some(resource) = confirmed {
            return Next::Holds(resource);
        }
        match self.subscriptions.due(snapshot) {
            Some(resource) => {
                let version = resource.version.to_string();
                Next::Send(self.subscriptions.send(resource, version))
            }
            None => Next::Nothing,
        }
    }

    fn subscribed(&self) -> usize {
        self.subscriptions.holdings.len()
    }
}
