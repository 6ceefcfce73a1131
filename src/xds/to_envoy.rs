//! From resources to Envoy's messages. Pure and deterministic: no message has
//! a map with more than one entry, whose order would differ from run to run.
//!
//! Clusters, endpoints and listeners are made once and kept as bytes. A secret
//! is made when it is sent and not kept: the private key in it is plain bytes
//! from here on.

pub(super) mod cluster;
pub(super) mod listener;
pub(super) mod rbac;
pub(super) mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, SocketAddress,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use envoy_types::pb::google::protobuf::{Any, Duration};
use envoy_types::util::pack_any;

use super::resource::{Body, Resource};

/// The resource as Envoy reads it.
#[must_use]
pub fn pack(resource: &Resource) -> Any {
    let kind = match &resource.body {
        Body::TrustBundle(bundle) => Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(&bundle.pem, resource.edition)),
            ..CertificateValidationContext::default()
        }),
        Body::Identity(leaf) => Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(&leaf.certificate, resource.edition)),
            private_key: Some(inline(leaf.key.expose(), 0)),
            ..TlsCertificate::default()
        }),
        Body::Encoded(message) => {
            return Any {
                type_url: resource.kind.type_url().to_owned(),
                value: message.to_vec(),
            };
        }
    };
    pack_any(Secret {
        name: (*resource.name).to_owned(),
        r#type: Some(kind),
    })
}

/// Inline bytes: of them, unlike of an inline string, Envoy's admin server
/// shows nothing but `[redacted]`.
fn inline(text: &str, line_ends: u32) -> DataSource {
    let line_ends = (0..line_ends).map(|_| b'\n');
    let bytes = text.bytes().chain(line_ends).collect();
    DataSource {
        specifier: Some(Specifier::InlineBytes(bytes)),
        ..DataSource::default()
    }
}

/// How long a listener or cluster waits for what it refers to before it goes
/// on without: a listener without its secrets then resets connections, a
/// cluster without endpoints refuses them. It is also how long the listener
/// that this one replaces may go on, so not longer than Envoy's own 15 s.
const INITIAL_FETCH: Duration = seconds(10);

const fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// The stream that the proxy has already: ADS.
fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(INITIAL_FETCH),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

fn address(of: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: of.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(of.port().into())),
            ..SocketAddress::default()
        })),
    }
}
