//! What the xDS server counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A variant of the protocol: `sotw`, `delta` or `fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProtocolLabel {
    /// Its name.
    pub protocol: &'static str,
}

/// A secret: `mesh_ca` or `identity_cert`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SecretLabel {
    /// Its name.
    pub secret: &'static str,
}

/// How a stream ended or a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The gRPC code, such as `unauthenticated`.
    pub code: String,
}

/// The metrics of the xDS server.
#[derive(Debug, Clone, Default)]
pub struct XdsMetrics {
    /// Open streams.
    pub streams: Family<ProtocolLabel, Gauge>,
    /// Secrets sent.
    pub responses: Family<SecretLabel, Counter>,
    /// Secrets accepted.
    pub acks: Family<SecretLabel, Counter>,
    /// Secrets rejected.
    pub nacks: Family<SecretLabel, Counter>,
    /// Streams that the server ended, and calls that it refused.
    pub ended: Family<CodeLabel, Counter>,
}

impl XdsMetrics {
    /// Registers the metrics, each with the prefix `xds_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("xds");
        registry.register("streams", "Open SDS streams", metrics.streams.clone());
        registry.register(
            "responses",
            "Secrets sent to proxies",
            metrics.responses.clone(),
        );
        registry.register(
            "acks",
            "Secrets that proxies accepted",
            metrics.acks.clone(),
        );
        registry.register(
            "nacks",
            "Secrets that proxies rejected",
            metrics.nacks.clone(),
        );
        registry.register(
            "ended",
            "Streams that the server ended and calls that it refused",
            metrics.ended.clone(),
        );
        metrics
    }
}
