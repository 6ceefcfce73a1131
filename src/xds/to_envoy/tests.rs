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
