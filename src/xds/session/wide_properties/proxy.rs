//! The proxy, and how it speaks the variants of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::{CDS, EDS, LDS};
use crate::xds::resource::{Body, Resource, ResourceType};
use crate::xds::session::{Delta, Response, Sotw, Variant};

pub(super) fn content(resource: &Resource) -> &str {
    match &resource.body {
        Body::Encoded(bytes) => std::str::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub(super) type Held = BTreeMap<String, Resource>;

#[derive(Debug, Default)]
pub(super) struct Proxy {
    pub(super) held: BTreeMap<ResourceType, Held>,
    /// State of the world: what was accepted last, and the newest nonces.
    pub(super) versions: BTreeMap<ResourceType, String>,
    pub(super) nonces: BTreeMap<ResourceType, String>,
    /// Endpoints were dropped since: their version says more than is held.
    pub(super) is_stale: bool,
    /// Clusters that wait for their endpoints.
    pub(super) warming: BTreeSet<String>,
}

impl Proxy {
    pub(super) fn held(&self, kind: ResourceType) -> impl Iterator<Item = (&str, &Resource)> {
        let held = self.held.get(&kind).into_iter().flatten();
        held.map(|(name, resource)| (name.as_str(), resource))
    }

    pub(super) fn names(&self, kind: ResourceType) -> Vec<String> {
        match kind {
            EDS => self.held(CDS).map(|(name, _)| name.to_owned()).collect(),
            ResourceType::Secret => vec!["s".to_owned()],
            _ => Vec::new(),
        }
    }

    /// The clusters that its listeners use.
    pub(super) fn used(&self) -> BTreeSet<String> {
        let listeners = self.held(LDS);
        let uses = listeners.flat_map(|(_, it)| content(it).chars().skip(2));
        uses.map(String::from).collect()
    }
}

/// How a proxy speaks a variant of the protocol.
pub(super) trait Dialect: Variant {
    /// It may take a cluster away that an older listener uses, after a reconnect.
    const FORGETS: bool;
    fn first(proxy: &Proxy, kind: ResourceType) -> Self::Request;
    fn answer(proxy: &Proxy, response: &Response, accepted: bool) -> Self::Request;
    /// `None` where nothing changes for the server.
    fn endpoints(proxy: &Proxy, before: &[String]) -> Option<Self::Request>;
    fn is_whole(kind: ResourceType) -> bool;
}

fn rejection(accepted: bool) -> Option<Status> {
    (!accepted).then(Status::default)
}

impl Dialect for Sotw {
    const FORGETS: bool = true;

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

    fn endpoints(proxy: &Proxy, before: &[String]) -> Option<DiscoveryRequest> {
        (proxy.names(EDS) != before).then(|| Self::first(proxy, EDS))
    }

    fn is_whole(kind: ResourceType) -> bool {
        matches!(kind, CDS | LDS)
    }
}

impl Dialect for Delta {
    const FORGETS: bool = false;

    fn first(proxy: &Proxy, kind: ResourceType) -> DeltaDiscoveryRequest {
        let held = proxy.held(kind);
        DeltaDiscoveryRequest {
            resource_names_subscribe: proxy.names(kind),
            initial_resource_versions: held
                .map(|(name, it)| (name.to_owned(), it.version.to_string()))
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

    fn endpoints(proxy: &Proxy, before: &[String]) -> Option<DeltaDiscoveryRequest> {
        let after = proxy.names(EDS);
        let without = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|it| !b.contains(it)).cloned().collect()
        };
        (after != before).then(|| DeltaDiscoveryRequest {
            resource_names_subscribe: without(&after, before),
            resource_names_unsubscribe: without(before, &after),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn is_whole(_: ResourceType) -> bool {
        false
    }
}
