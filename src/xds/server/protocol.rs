//! The two variants of the protocol as types, and the services, for the one stream loop.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use tonic::Status;

use super::MAX_NAME;
use crate::xds::resource::ResourceType;
use crate::xds::session::{self, Response, Variant};
use crate::xds::to_envoy::pack;

/// What a stream may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Secrets: SDS.
    Secrets,
    /// All types: ADS.
    Aggregated,
}

impl Service {
    /// The label in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Secrets => "sds",
            Self::Aggregated => "ads",
        }
    }

    /// The most names that one stream may subscribe to.
    fn max_names(self) -> usize {
        match self {
            Self::Secrets => 128,
            Self::Aggregated => 4096,
        }
    }

    /// The type that a request is for, unless it asks for a type that the
    /// service does not serve or for too much.
    pub(super) fn check<P: Protocol>(self, request: &P::Request) -> Result<ResourceType, Status> {
        let type_url = P::type_url(request);
        let kind = match (self, ResourceType::from_type_url(type_url)) {
            (Self::Secrets, _) if type_url.is_empty() => ResourceType::Secret,
            (Self::Secrets, Some(ResourceType::Secret)) => ResourceType::Secret,
            (Self::Aggregated, Some(kind)) => kind,
            _ => return Err(self.wrong_type(type_url)),
        };
        let is_short = |name: &String| name.len() <= MAX_NAME;
        if !P::names(request).all(is_short) {
            return Err(self.too_many_names());
        }
        self.check_number(P::names(request).count())?;
        Ok(kind)
    }

    /// Refuses too many names.
    pub(super) fn check_number(self, names: usize) -> Result<(), Status> {
        if names > self.max_names() {
            return Err(self.too_many_names());
        }
        Ok(())
    }

    fn too_many_names(self) -> Status {
        Status::resource_exhausted(format!(
            "a stream may name {} resources of {MAX_NAME} bytes each",
            self.max_names()
        ))
    }

    fn wrong_type(self, asked: &str) -> Status {
        let served = ResourceType::ALL.map(ResourceType::type_url);
        let served = match self {
            Self::Secrets => &served[..1],
            Self::Aggregated => &served,
        };
        let asked = &asked[..asked.floor_char_boundary(MAX_NAME)];
        Status::invalid_argument(format!(
            "`{}` is not served here; ask for {}",
            asked.escape_debug(),
            served.join(", ")
        ))
    }
}

/// A variant of the protocol.
pub(super) trait Protocol: Send + 'static {
    /// The label in metrics and logs.
    const NAME: &'static str;
    type Request: prost::Message + Default + 'static;
    type Response: prost::Message + 'static;
    type Variant: Variant<Request = Self::Request> + Send;

    fn node(request: &Self::Request) -> Option<&Node>;
    fn type_url(request: &Self::Request) -> &str;
    /// The names in the request.
    fn names(request: &Self::Request) -> impl Iterator<Item = &String>;
    fn encode(response: Response) -> Self::Response;
}

/// State of the world.
pub(super) enum Sotw {}

impl Protocol for Sotw {
    const NAME: &'static str = "sotw";
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    type Variant = session::Sotw;

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DiscoveryRequest) -> impl Iterator<Item = &String> {
        request.resource_names.iter()
    }

    fn encode(response: Response) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: response.version,
            resources: response.resources.iter().map(|it| pack(it)).collect(),
            type_url: response.kind.type_url().to_owned(),
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
    type Variant = session::Delta;

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DeltaDiscoveryRequest) -> impl Iterator<Item = &String> {
        let held = request.initial_resource_versions.keys();
        request.resource_names_subscribe.iter().chain(held)
    }

    fn encode(response: Response) -> DeltaDiscoveryResponse {
        let resources = response.resources.iter().map(|it| Resource {
            name: (*it.name).to_owned(),
            version: it.version.to_string(),
            resource: Some(pack(it)),
            ..Resource::default()
        });
        let removed = response.removed.iter();
        DeltaDiscoveryResponse {
            system_version_info: response.version,
            resources: resources.collect(),
            type_url: response.kind.type_url().to_owned(),
            nonce: response.nonce,
            removed_resources: removed.map(|name| (**name).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }
}
