//! TLS contexts. What they refer to comes over SDS on the same stream; whom
//! they accept is said here, since a secret names no one.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use envoy_types::util::pack_any;

use super::ads;
use crate::model::{MeshName, ServiceMatch, ServiceName, SpiffeId};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA};

/// What the outbounds of a mesh offer as application protocol (ALPN, RFC 7301):
/// an inbound that accepts both tells by it mTLS from what workloads encrypt
/// themselves. It is not negotiated.
pub(super) const ALPN: &str = "windlass";

/// The side that accepts connections: the client shows a certificate of one of
/// these services of the mesh. Where there is none, the handshake fails for
/// everyone: the RBAC filter comes too late for what a service says first
/// (docs/decisions/0007).
pub(in crate::xds) fn downstream(mesh: &MeshName, sources: &BTreeSet<&ServiceMatch>) -> Any {
    let mut clients = principals(mesh, sources);
    if clients.is_empty() {
        clients.push(nobody(mesh));
    }
    pack_any(DownstreamTlsContext {
        common_tls_context: Some(common(clients)),
        require_client_certificate: Some(BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    })
}

/// The side that opens connections: the server shows a certificate of exactly
/// this service.
pub(in crate::xds) fn upstream(mesh: &MeshName, service: &ServiceName) -> Any {
    let common = common(vec![exactly(mesh, service)]);
    pack_any(UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec![ALPN.to_owned()],
            ..common
        }),
        ..UpstreamTlsContext::default()
    })
}

/// A transport socket of one of these contexts.
pub(super) fn socket(context: Any) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(context)),
    }
}

/// Matches the SPIFFE ids of the sources of permissions, and no other.
pub(super) fn principals(mesh: &MeshName, sources: &BTreeSet<&ServiceMatch>) -> Vec<StringMatcher> {
    // `*` says it all.
    if sources.contains(&ServiceMatch::Any) {
        return vec![any_service(mesh)];
    }
    let named = sources.iter().filter_map(|source| match source {
        ServiceMatch::Any => None,
        ServiceMatch::Exactly(service) => Some(exactly(mesh, service)),
    });
    named.collect()
}

/// Matches the SPIFFE id of one service.
fn exactly(mesh: &MeshName, service: &ServiceName) -> StringMatcher {
    let id = SpiffeId {
        mesh: mesh.clone(),
        service: service.clone(),
    };
    matcher(MatchPattern::Exact(id.to_string()))
}

/// Matches the SPIFFE id of every service of a mesh, and the id of no other
/// mesh, for the slash ends the trust domain.
fn any_service(mesh: &MeshName) -> StringMatcher {
    let domain = SpiffeId::trust_domain(mesh);
    matcher(MatchPattern::Prefix(format!("{domain}/")))
}

/// Matches what no leaf has: the mesh with an empty service.
fn nobody(mesh: &MeshName) -> StringMatcher {
    let domain = SpiffeId::trust_domain(mesh);
    matcher(MatchPattern::Exact(format!("{domain}/")))
}

fn matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}

fn common(peers: Vec<StringMatcher>) -> CommonTlsContext {
    let peers = peers.into_iter().map(|peer| SubjectAltNameMatcher {
        san_type: SanType::Uri.into(),
        matcher: Some(peer),
        ..SubjectAltNameMatcher::default()
    });
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: peers.collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret(MESH_CA)),
        ..CombinedCertificateValidationContext::default()
    };
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
            tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![secret(IDENTITY_CERT)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..CommonTlsContext::default()
    }
}

fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ads()),
    }
}
