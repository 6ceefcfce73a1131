//! The two variants of the protocol as types, for the one stream loop.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};

use crate::xds::resource::ResourceType;
use crate::xds::session::{DeltaSession, Response, Session, SotwSession};
use crate::xds::to_envoy::pack;

/// A variant of the protocol.
pub(super) trait Protocol: 'static {
    /// The label in metrics and logs.
    const NAME: &'static str;
    type Request: Send + 'static;
    type Response: Send + 'static;
    type Session: Session<Request = Self::Request> + Send;

    fn session(distrusted: BTreeSet<String>) -> Self::Session;
    fn node(request: &Self::Request) -> Option<&Node>;
    fn type_url(request: &Self::Request) -> &str;
    /// The names that the request asks for.
    fn names(request: &Self::Request) -> &[String];
    fn encode(response: Response) -> Self::Response;
}

/// State of the world.
pub(super) enum Sotw {}

impl Protocol for Sotw {
    const NAME: &'static str = "sotw";
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    type Session = SotwSession;

    fn session(distrusted: BTreeSet<String>) -> SotwSession {
        SotwSession::new(distrusted)
    }

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DiscoveryRequest) -> &[String] {
        &request.resource_names
    }

    fn encode(response: Response) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: response.version,
            resources: vec![pack(&response.resource)],
            type_url: ResourceType::Secret.type_url().to_owned(),
            nonce: response.nonce,
            ..DiscoveryResponse::default()
        }
    }
}

/// Incremental.
pub(super) enum Delta {}

impl Protocol for Delta {
    const NAME: &'static str = "delta";
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    type Session = DeltaSession;

    fn session(distrusted: BTreeSet<String>) -> DeltaSession {
        DeltaSession::new(distrusted)
    }

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DeltaDiscoveryRequest) -> &[String] {
        &request.resource_names_subscribe
    }

    fn encode(response: Response) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: response.version.clone(),
            resources: vec![Resource {
                name: (*response.resource.name).to_owned(),
                version: response.version,
                resource: Some(pack(&response.resource)),
                ..Resource::default()
            }],
            type_url: ResourceType::Secret.type_url().to_owned(),
            nonce: response.nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}
