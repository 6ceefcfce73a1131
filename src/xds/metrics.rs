//! What the xDS server counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::resource::{IDENTITY_CERT, MESH_CA};

/// A variant of the protocol that has streams: `sotw` or `delta`.
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
    /// Registers the metrics, each with the prefix `xds_`. Counters start at 0:
    /// one that appears with its first count has no rate then.
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
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for protocol in ["sotw", "delta"] {
            drop(self.streams.get_or_create(&ProtocolLabel { protocol }));
        }
        for secret in [MESH_CA, IDENTITY_CERT] {
            for family in [&self.responses, &self.acks, &self.nacks] {
                drop(family.get_or_create(&SecretLabel { secret }));
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
