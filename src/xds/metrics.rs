//! What the xDS server counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::resource::ResourceType;

/// A kind of stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamLabel {
    /// The service: `sds` or `ads`.
    pub service: &'static str,
    /// The variant of the protocol: `sotw` or `delta`.
    pub protocol: &'static str,
}

/// A type of resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    /// Its name, such as `cluster`.
    pub r#type: &'static str,
}

impl TypeLabel {
    /// The label of a type.
    #[must_use]
    pub fn of(kind: ResourceType) -> Self {
        Self {
            r#type: kind.name(),
        }
    }
}

/// How a stream ended or a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The gRPC code, such as `permission_denied`.
    pub code: String,
}

impl CodeLabel {
    /// The label of a code.
    #[must_use]
    pub fn of(code: Code) -> Self {
        let mut text = String::new();
        for character in format!("{code:?}").chars() {
            if character.is_ascii_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.push(character.to_ascii_lowercase());
        }
        Self { code: text }
    }
}

/// The metrics of the xDS server.
#[derive(Debug, Clone, Default)]
pub struct XdsMetrics {
    /// Open streams.
    pub streams: Family<StreamLabel, Gauge>,
    /// Responses sent.
    pub responses: Family<TypeLabel, Counter>,
    /// Responses accepted.
    pub acks: Family<TypeLabel, Counter>,
    /// Responses rejected.
    pub nacks: Family<TypeLabel, Counter>,
    /// Streams that the server ended, and calls that it refused.
    pub ended: Family<CodeLabel, Counter>,
    /// Proxies that wait for a leaf of the authority that signs now.
    pub reissues_waiting: Gauge,
}

impl XdsMetrics {
    /// Registers the metrics, with the prefix `xds_` where they are about streams. Counters start at 0:
    /// one that appears with its first count has no rate then.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "leaf_reissues_waiting",
            "Proxies that wait their turn for a leaf of the authority that signs now",
            metrics.reissues_waiting.clone(),
        );
        let registry = registry.sub_registry_with_prefix("xds");
        registry.register(
            "streams",
            "Open streams of proxies",
            metrics.streams.clone(),
        );
        registry.register(
            "responses",
            "Responses sent to proxies",
            metrics.responses.clone(),
        );
        registry.register(
            "acks",
            "Responses that proxies accepted, or proved to hold after a reconnect",
            metrics.acks.clone(),
        );
        registry.register(
            "nacks",
            "Responses that proxies rejected",
            metrics.nacks.clone(),
        );
        registry.register(
            "ended",
            "Streams that the server ended and calls that it refused",
            metrics.ended.clone(),
        );
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for service in ["sds", "ads"] {
            for protocol in ["sotw", "delta"] {
                drop(
                    self.streams
                        .get_or_create(&StreamLabel { service, protocol }),
                );
            }
        }
        // Windlass makes no routes.
        let made = |kind: &ResourceType| *kind != ResourceType::Route;
        for kind in ResourceType::ALL.into_iter().filter(made) {
            for family in [&self.responses, &self.acks, &self.nacks] {
                drop(family.get_or_create(&TypeLabel::of(kind)));
            }
        }
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::NotFound,
            Code::Unavailable,
        ] {
            drop(self.ended.get_or_create(&CodeLabel::of(code)));
        }
    }
}
