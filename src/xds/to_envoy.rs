//! From resources to Envoy's messages. Pure and deterministic.
//!
//! A message is made when it is sent and not kept: the private key in it is
//! plain bytes from here on.

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use envoy_types::pb::google::protobuf::Any;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::fixtures::{bundle, leaf};
    use crate::xds::resource::ResourceType;

    /// Field 1 of a message, or what is inside: tag, length, bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    #[test]
    fn the_bundle_is_a_validation_context_with_inline_bytes() {
        let packed = pack(&Resource::mesh_ca(bundle("roots")));
        assert_eq!(packed.type_url, ResourceType::Secret.type_url());
        let source = field(2, b"roots");
        let context = field(1, &source);
        let secret = [field(1, b"mesh_ca"), field(4, &context)].concat();
        assert_eq!(packed.value, secret);
    }

    #[test]
    fn an_edition_has_line_ends_more_and_a_version_of_its_own() {
        let first = Resource::mesh_ca(bundle("roots"));
        let third = first.edition(2);
        assert_eq!(
            third.version,
            Resource::mesh_ca(bundle("roots\n\n")).version
        );
        assert_eq!(
            pack(&third).value,
            pack(&Resource::mesh_ca(bundle("roots\n\n"))).value
        );
        assert_eq!(third.proof(), first.proof());
        assert_eq!(third.edition(0).version, first.version);

        let leaf = Resource::identity_cert(leaf("leaf")).edition(1);
        let chain = field(1, &field(2, b"leaf\n"));
        let key = field(2, &field(2, b"the key of leaf"));
        let pair = [chain, key].concat();
        let secret = [field(1, b"identity_cert"), field(2, &pair)].concat();
        assert_eq!(pack(&leaf).value, secret);
    }

    #[test]
    fn the_leaf_is_a_certificate_with_its_key_in_inline_bytes() {
        let packed = pack(&Resource::identity_cert(leaf("leaf")));
        assert_eq!(packed.type_url, ResourceType::Secret.type_url());
        let chain = field(1, &field(2, b"leaf"));
        let key = field(2, &field(2, b"the key of leaf"));
        let pair = [chain, key].concat();
        let secret = [field(1, b"identity_cert"), field(2, &pair)].concat();
        assert_eq!(packed.value, secret);
    }
}
