//! The proxy, and how it speaks the variants of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::SDS;
use crate::model::Digest;
use crate::xds::resource::{Body, Resource, ResourceType};
use crate::xds::session::{Delta, Response, Sotw, Variant};

/// What a resource means, whatever its edition.
pub(super) fn content(resource: &Resource) -> String {
    match &resource.body {
        Body::TrustBundle(bundle) => bundle.pem.to_string(),
        Body::Identity(leaf) => leaf.certificate.to_string(),
        Body::Encoded(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// The secrets that it subscribes to.
    pub(super) wants: BTreeSet<&'static str>,
    pub(super) has_restarted: bool,
    used: BTreeMap<(ResourceType, String), String>,
    /// The newest bytes of each secret, used or not.
    newest: BTreeMap<String, Digest>,
    /// What it says that it holds.
    held: BTreeMap<(ResourceType, String), String>,
    /// State of the world: what was accepted last, and the newest nonces.
    versions: BTreeMap<ResourceType, String>,
    nonces: BTreeMap<ResourceType, String>,
    /// A secret was dropped since: the version says more than is held.
    is_stale: bool,
}

impl Proxy {
    pub(super) fn used(&self, kind: ResourceType, name: &str) -> Option<String> {
        self.used.get(&(kind, name.to_owned())).cloned()
    }

    /// A stream begins.
    pub(super) fn begins(&mut self) {
        self.nonces.clear();
        if std::mem::take(&mut self.is_stale) {
            self.versions.remove(&SDS);
        }
    }

    pub(super) fn restarts(&mut self) {
        *self = Self {
            wants: std::mem::take(&mut self.wants),
            has_restarted: true,
            ..Self::default()
        };
    }

    /// Returns whether it wanted the secret.
    pub(super) fn drops(&mut self, name: &str) -> bool {
        let key = (SDS, name.to_owned());
        self.used.remove(&key);
        self.held.remove(&key);
        self.newest.remove(name);
        self.is_stale = true;
        self.wants.remove(name)
    }

    /// Takes a response. Returns whether it accepts all of it.
    pub(super) fn takes<V: Dialect>(&mut self, response: &Response) -> bool {
        let kind = response.kind;
        self.nonces.insert(kind, response.nonce.clone());
        let accepted = if kind == SDS {
            self.takes_secret(&response.resources[0])
        } else {
            self.takes_all::<V>(response)
        };
        if accepted {
            self.versions.insert(kind, response.version.clone());
        }
        accepted
    }

    fn takes_secret(&mut self, secret: &Resource) -> bool {
        let name = secret.name.to_string();
        if !self.wants.contains(&*name) {
            self.is_stale = true;
            return true;
        }
        let key = (SDS, name.clone());
        let version = secret.version;
        // It looks at bytes only where they differ from the newest.
        if self.newest.insert(name, version) != Some(version) {
            if content(secret).starts_with('3') {
                return false;
            }
            self.used.insert(key.clone(), content(secret));
        }
        self.held.insert(key, version.to_string());
        true
    }

    /// Uses what is good of a response, also where it rejects another part of
    /// it; then it does not say that it holds any.
    fn takes_all<V: Dialect>(&mut self, response: &Response) -> bool {
        let kind = response.kind;
        let there: BTreeSet<&str> = response.resources.iter().map(|it| &*it.name).collect();
        let is_gone = |name: &str| {
            (V::IS_WHOLE && !there.contains(name))
                || response.removed.iter().any(|it| **it == *name)
        };
        self.used
            .retain(|(of, name), _| *of != kind || !is_gone(name));
        let mut accepted = true;
        let mut used = Vec::new();
        for resource in &response.resources {
            if content(resource) == "3" {
                accepted = false;
            } else {
                let key = (kind, resource.name.to_string());
                used.push((key, content(resource)));
            }
        }
        // One thing that it hides is not in this model: something new that it
        // took from a response that it rejected, and that vanishes while the
        // stream is broken.
        used.retain(|(key, _)| accepted || self.held.contains_key(key));
        self.used.extend(used);
        if accepted {
            self.held
                .retain(|(of, name), _| *of != kind || !is_gone(name));
            for resource in &response.resources {
                let key = (kind, resource.name.to_string());
                self.held.insert(key, resource.version.to_string());
            }
        }
        accepted
    }

    fn names(&self, kind: ResourceType) -> Vec<String> {
        let wants = self.wants.iter().filter(|_| kind == SDS);
        wants.map(|&name| name.to_owned()).collect()
    }
}

/// How a proxy speaks a variant of the protocol.
pub(super) trait Dialect: Variant {
    /// What is not in a response is gone.
    const IS_WHOLE: bool;
    fn first(proxy: &Proxy, kind: ResourceType) -> Self::Request;
    fn answer(proxy: &Proxy, response: &Response, accepted: bool) -> Self::Request;
    fn subscription(proxy: &Proxy, added: &[&str], removed: &[&str]) -> Self::Request;
}

fn rejection(accepted: bool) -> Option<Status> {
    (!accepted).then(Status::default)
}

impl Dialect for Sotw {
    const IS_WHOLE: bool = true;

    fn first(proxy: &Proxy, kind: ResourceType) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: proxy.versions.get(&kind).cloned().unwrap_or_default(),
            response_nonce: proxy.nonces.get(&kind).cloned().unwrap_or_default(),
            resource_names: proxy.names(kind),
            ..DiscoveryRequest::default()
        }
    }

    fn answer(proxy: &Proxy, response: &Response, accepted: bool) -> DiscoveryRequest {
        DiscoveryRequest {
            error_detail: rejection(accepted),
            ..Self::first(proxy, response.kind)
        }
    }

    fn subscription(proxy: &Proxy, _: &[&str], _: &[&str]) -> DiscoveryRequest {
        Self::first(proxy, SDS)
    }
}

impl Dialect for Delta {
    const IS_WHOLE: bool = false;

    fn first(proxy: &Proxy, kind: ResourceType) -> DeltaDiscoveryRequest {
        let held = proxy.held.iter().filter(|((of, _), _)| *of == kind);
        DeltaDiscoveryRequest {
            resource_names_subscribe: proxy.names(kind),
            initial_resource_versions: held
                .map(|((_, name), version)| (name.clone(), version.clone()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn answer(_: &Proxy, response: &Response, accepted: bool) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: rejection(accepted),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn subscription(_: &Proxy, added: &[&str], removed: &[&str]) -> DeltaDiscoveryRequest {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        DeltaDiscoveryRequest {
            resource_names_subscribe: owned(added),
            resource_names_unsubscribe: owned(removed),
            ..DeltaDiscoveryRequest::default()
        }
    }
}
