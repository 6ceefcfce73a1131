//! Whether a certificate is signed with its own key, and how.

use aws_lc_rs::signature::{self as aws, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

/// What a signature turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// The algorithm is not one that can be verified here.
    Unknown,
}

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

const MD2_RSA: &str = "1.2.840.113549.1.1.2";
const MD5_RSA: &str = "1.2.840.113549.1.1.4";
const SHA1_RSA: &str = "1.2.840.113549.1.1.5";
const SHA1_RSA_OIW: &str = "1.3.14.3.2.29";
const SHA1_DSA: &str = "1.2.840.10040.4.3";
const SHA1_ECDSA: &str = "1.2.840.10045.4.1";
const SHA256_RSA: &str = "1.2.840.113549.1.1.11";
const SHA384_RSA: &str = "1.2.840.113549.1.1.12";
const SHA512_RSA: &str = "1.2.840.113549.1.1.13";
const SHA256_ECDSA: &str = "1.2.840.10045.4.3.2";
const SHA384_ECDSA: &str = "1.2.840.10045.4.3.3";
const SHA512_ECDSA: &str = "1.2.840.10045.4.3.4";

/// The kind of a public key: its algorithm, and its curve where it has one.
fn kind(spki: &SubjectPublicKeyInfo<'_>) -> (String, Option<String>) {
    let algorithm = spki.algorithm.algorithm.to_id_string();
    let parameters = spki.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
    (algorithm, curve.map(|curve| curve.to_id_string()))
}

/// Whether Windlass can sign with a key of this kind.
pub(super) fn is_supported_key(spki: &SubjectPublicKeyInfo<'_>) -> bool {
    let (algorithm, curve) = kind(spki);
    matches!(
        (&*algorithm, curve.as_deref()),
        (RSA | ED25519, _) | (EC, Some(P256 | P384))
    )
}

/// The hash of the certificate's signature, where it is one that is broken.
pub(super) fn weak_hash(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match &*certificate.signature_algorithm.algorithm.to_id_string() {
        MD2_RSA => Some("MD2"),
        MD5_RSA => Some("MD5"),
        SHA1_RSA | SHA1_RSA_OIW | SHA1_DSA | SHA1_ECDSA => Some("SHA-1"),
        _ => None,
    }
}

/// Verifies the certificate's signature with its own key. Short keys and
/// broken hashes are verified too, since they are an error of their own.
pub(super) fn verify_own(certificate: &X509Certificate<'_>) -> Verdict {
    let spki = certificate.public_key();
    let Some(algorithm) = algorithm(certificate) else {
        // RSA-PSS is verified with a salt as long as the hash only.
        return match certificate.verify_signature(None) {
            Ok(()) => Verdict::Right,
            Err(_) => Verdict::Unknown,
        };
    };
    let key = UnparsedPublicKey::new(algorithm, &spki.subject_public_key.data);
    let signature = &certificate.signature_value.data;
    match key.verify(certificate.tbs_certificate.as_ref(), signature) {
        Ok(()) => Verdict::Right,
        Err(_) => Verdict::Wrong,
    }
}

fn algorithm(certificate: &X509Certificate<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let (key, curve) = kind(certificate.public_key());
    let signature = certificate.signature_algorithm.algorithm.to_id_string();
    Some(match (&*signature, &*key, curve.as_deref()) {
        (SHA1_RSA | SHA1_RSA_OIW, RSA, _) => &aws::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (SHA256_RSA, RSA, _) => &aws::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (SHA384_RSA, RSA, _) => &aws::RSA_PKCS1_2048_8192_SHA384,
        (SHA512_RSA, RSA, _) => &aws::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (SHA1_ECDSA, EC, Some(P256)) => &aws::ECDSA_P256_SHA1_ASN1,
        (SHA256_ECDSA, EC, Some(P256)) => &aws::ECDSA_P256_SHA256_ASN1,
        (SHA384_ECDSA, EC, Some(P256)) => &aws::ECDSA_P256_SHA384_ASN1,
        (SHA512_ECDSA, EC, Some(P256)) => &aws::ECDSA_P256_SHA512_ASN1,
        (SHA256_ECDSA, EC, Some(P384)) => &aws::ECDSA_P384_SHA256_ASN1,
        (SHA384_ECDSA, EC, Some(P384)) => &aws::ECDSA_P384_SHA384_ASN1,
        (SHA512_ECDSA, EC, Some(P384)) => &aws::ECDSA_P384_SHA512_ASN1,
        (SHA256_ECDSA, EC, Some(P521)) => &aws::ECDSA_P521_SHA256_ASN1,
        (SHA384_ECDSA, EC, Some(P521)) => &aws::ECDSA_P521_SHA384_ASN1,
        (SHA512_ECDSA, EC, Some(P521)) => &aws::ECDSA_P521_SHA512_ASN1,
        (ED25519, ED25519, _) => &aws::ED25519,
        _ => return None,
    })
}
