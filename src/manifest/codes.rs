//! The stable codes of diagnostics. `docs/diagnostics.md` explains each.

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: &str = $code;)*

        /// Every code with its one-line meaning, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, concat!($($doc),+))),*];
    };
}

codes! {
    /// A file is too large.
    FILE_TOO_LARGE = "WL0001";
    /// A file is not UTF-8.
    NOT_UTF8 = "WL0002";
    /// A file is not YAML.
    SYNTAX = "WL0003";
    /// A file holds too much: nodes, documents or nesting.
    TOO_MUCH = "WL0004";
    /// A key stands twice in the same map.
    DUPLICATE_KEY = "WL0005";
    /// A feature of YAML that resources do not use: aliases, tags, keys that are no text.
    YAML_FEATURE = "WL0006";
    /// A file has more errors than are listed.
    TOO_MANY_ERRORS = "WL0007";
    /// A file cannot be read.
    UNREADABLE = "WL0008";
    /// The files of a source hold too much together.
    TOO_MUCH_TOGETHER = "WL0009";

    /// A document does not say what kind of resource it is, or says it twice.
    KIND = "WL0101";
    /// A field is unknown.
    UNKNOWN_FIELD = "WL0102";
    /// A value has the wrong type.
    WRONG_TYPE = "WL0103";
    /// The CA of a mesh is not exactly one of builtin and provided.
    CA_KIND = "WL0104";
    /// A field that every resource has is missing.
    MISSING_FIELD = "WL0105";
    /// A name does not fit its form.
    INVALID_NAME = "WL0106";
    /// A resource is defined twice.
    DUPLICATE_RESOURCE = "WL0107";
    /// A value is not one of those that are allowed.
    INVALID_VALUE = "WL0108";
    /// A resource belongs to a mesh that the revision does not define.
    UNKNOWN_MESH = "WL0109";
    /// A mesh wants a provided CA that is not there.
    NO_SIGNING_CERTIFICATE = "WL0110";
    /// A mesh has several provided CAs and does not say which one it wants.
    AMBIGUOUS_PROVIDED_CA = "WL0111";

    /// A permission has no source or no destination.
    NO_SELECTOR = "WL0201";
    /// A selector is not exactly one `service` tag.
    NOT_ONE_SERVICE_TAG = "WL0202";
    /// A selector has no `service` tag.
    SELECTOR_WITHOUT_SERVICE = "WL0203";
    /// A selector has a tag other than `service`.
    TAG_NOT_ALLOWED = "WL0204";
    /// A selector's tag has no value.
    EMPTY_SELECTOR_VALUE = "WL0205";
    /// A selector names a service that cannot exist.
    INVALID_SELECTOR_VALUE = "WL0206";

    /// A dataplane has neither inbound nor gateway.
    NO_INBOUND = "WL0301";
    /// A dataplane has both inbound and gateway.
    INBOUND_AND_GATEWAY = "WL0302";
    /// An address is not an IP address.
    INVALID_ADDRESS = "WL0303";
    /// A port is out of range.
    INVALID_PORT = "WL0304";
    /// An inbound or a gateway has no `service` tag.
    WITHOUT_SERVICE_TAG = "WL0305";
    /// A tag of a dataplane has no name, no value or one that does not fit.
    INVALID_TAG = "WL0306";
    /// An outbound names no service.
    INVALID_OUTBOUND = "WL0307";

    /// Certificate and key are not a valid pair.
    INVALID_KEY_PAIR = "WL0401";
    /// A private key stands in Git in clear.
    PLAINTEXT_KEY = "WL0402";
    /// A key is not age armor.
    NOT_AGE_ARMOR = "WL0403";
    /// A certificate comes as a chain.
    CERTIFICATE_CHAIN = "WL0404";
    /// A certificate is not self-signed.
    NOT_SELF_SIGNED = "WL0405";
    /// A certificate is not that of a CA.
    NOT_A_CA = "WL0406";
    /// A certificate may not sign certificates.
    NO_KEY_CERT_SIGN = "WL0407";
    /// A certificate has a key usage that a CA must not have.
    FORBIDDEN_KEY_USAGE = "WL0408";
    /// A certificate has expired.
    EXPIRED = "WL0409";
    /// A certificate is not valid yet.
    NOT_YET_VALID = "WL0410";
    /// An RSA key is too short.
    SHORT_RSA_KEY = "WL0411";
    /// A certificate is signed with a hash that is broken.
    WEAK_SIGNATURE = "WL0412";
    /// A certificate ends before a leaf of it would.
    SHORT_REMAINING_LIFE = "WL0413";
    /// A certificate has a kind of key or signature that is not supported.
    UNSUPPORTED_ALGORITHM = "WL0414";
    /// A certificate ends soon.
    ENDS_SOON = "WL0415";

    /// The repository's policy is not valid.
    INVALID_POLICY = "WL0501";
    /// The policy asks for signed commits, which this version does not check.
    SIGNATURES_NOT_CHECKED = "WL0502";
}
