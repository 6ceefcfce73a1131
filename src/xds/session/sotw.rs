//! State of the world.
//!
//! A proxy has one version for all resources of a type: that of the response
//! it accepted last. So that it says what the proxy holds after a reconnect,
//! the version of a response lists the content digests of everything that the
//! proxy will hold once it accepts it: the resource in the response, and what
//! it has accepted before. For the list to be complete, a response waits for
//! the answer to the one before. A proxy that stays silent is sent the rest
//! all the same, under versions that claim less: at worst it is sent something
//! again after a reconnect, never is it believed to hold what it lacks.
//!
//! One thing the protocol cannot express: a proxy that drops a name, takes it
//! back and loses its stream before that is answered comes back under the
//! version that it had. Envoy's SDS has a stream and a version per secret, so
//! there a secret that was dropped starts without a version.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{Age, Answer, Holding, Next, Session, Subscriptions, Verdict};
use crate::model::Digest;
use crate::xds::resource::Resource;
use crate::xds::snapshot::Snapshot;

/// The most digests in one version.
const MAX_DIGESTS: usize = 16;

/// The state-of-the-world protocol of one stream and one type URL.
#[derive(Debug)]
pub struct SotwSession {
    subscriptions: Subscriptions,
    /// Still to come is the first request, the one that may name a version of
    /// an earlier stream.
    first: bool,
    /// What that version lists.
    claims: BTreeSet<Digest>,
    /// Whether to wait for answers.
    patient: bool,
}

impl SotwSession {
    /// A stream that has just begun. `distrusted` are the names of which the
    /// proxy rejected something last.
    #[must_use]
    pub fn new(distrusted: BTreeSet<String>) -> Self {
        Self {
            subscriptions: Subscriptions::new(distrusted),
            first: true,
            claims: BTreeSet::new(),
            patient: true,
        }
    }

    fn begin(&mut self, request: &DiscoveryRequest) {
        self.first = false;
        self.claims = request
            .version_info
            .split(',')
            .take(MAX_DIGESTS)
            .filter_map(|digest| digest.parse().ok())
            .collect();
        for name in &request.resource_names {
            self.subscriptions.claim(name);
        }
    }

    /// Forgets the names that the proxy no longer subscribes to, so that one
    /// that comes back is sent.
    fn forget_except(&mut self, names: &[String]) {
        let kept: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let holdings = &mut self.subscriptions.holdings;
        holdings.retain(|name, _| kept.contains(name.as_str()));
    }

    fn add(&mut self, names: &[String]) {
        for name in names {
            if !self.subscriptions.holdings.contains_key(name) {
                let nothing = Holding::Nothing;
                self.subscriptions.holdings.insert(name.clone(), nothing);
            }
        }
    }

    /// The version of a response with `resource`.
    fn version_with(&self, resource: &Resource) -> String {
        let others = self
            .subscriptions
            .holdings
            .values()
            .filter_map(|holding| match holding {
                Holding::Sent(sent)
                    if sent.answer == Answer::Accepted && sent.resource.name != resource.name =>
                {
                    Some(sent.resource.version)
                }
                _ => None,
            });
        let digests: Vec<String> = std::iter::once(resource.version)
            .chain(others)
            .take(MAX_DIGESTS)
            .map(|digest| digest.to_string())
            .collect();
        digests.join(",")
    }
}

impl Session for SotwSession {
    type Request = DiscoveryRequest;

    fn on_request(&mut self, request: &DiscoveryRequest) -> Option<Verdict> {
        if self.first {
            self.begin(request);
            return None;
        }
        let nonce = request.response_nonce.as_str();
        let rejection = request.error_detail.as_ref();
        let verdict = self.subscriptions.judge(
            nonce,
            Some(&request.version_info),
            rejection.map(|status| status.message.as_str()),
        );
        self.patient |= verdict.is_some();
        match self.subscriptions.age(nonce) {
            Age::Newest => {
                self.forget_except(&request.resource_names);
                self.add(&request.resource_names);
            }
            // One with the newest nonce follows, and that gets the response.
            // But only this one shows that a name was dropped in between.
            Age::Stale => self.forget_except(&request.resource_names),
            Age::Unknown => {}
        }
        verdict
    }

    fn next(&mut self, snapshot: &Snapshot) -> Next {
        let claims = &self.claims;
        let confirmed = self
            .subscriptions
            .confirm(snapshot, |resource| claims.contains(&resource.version));
        if let Some(resource) = confirmed {
            return Next::Holds(resource);
        }
        let Some(resource) = self.subscriptions.due(snapshot) else {
            return Next::Nothing;
        };
        if self.patient && self.subscriptions.awaits_answer() {
            return Next::AwaitVerdict;
        }
        let version = self.version_with(resource);
        Next::Send(self.subscriptions.send(resource, version))
    }

    fn on_silence(&mut self) {
        self.patient = false;
    }

    fn subscribed(&self) -> usize {
        self.subscriptions.holdings.len()
    }
}
