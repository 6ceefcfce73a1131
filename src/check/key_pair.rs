//! Whether a private key is the one of a certificate.

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroize as _;

use super::Violation;
use super::certificate::{blocks, not_a_pair, parse};
use crate::model::PrivateKey;

/// Judges whether `key` (PKCS#8, PKCS#1 or SEC1 PEM) is the key of the first
/// certificate of `cert_pem`.
#[must_use]
pub fn key_pair(cert_pem: &str, key: &PrivateKey) -> Option<Violation> {
    let blocks = match blocks(cert_pem) {
        Ok(blocks) => blocks,
        Err(violation) => return Some(violation),
    };
    let certificate = match parse(blocks.first()?) {
        Ok(certificate) => certificate,
        Err(violation) => return Some(violation),
    };
    if key
        .expose()
        .contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    {
        return Some(not_a_pair("the private key is encrypted with a passphrase"));
    }
    let Ok(mut der) = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()) else {
        return Some(not_a_pair("there is no private key in PEM"));
    };
    let public = public_key(&der);
    der.zeroize();
    let Some(public) = public else {
        return Some(not_a_pair(
            "the private key must be RSA (2048 to 8192 bits), ECDSA P-256, ECDSA P-384 or Ed25519",
        ));
    };
    let certified = &certificate.public_key().subject_public_key.data;
    (public != **certified)
        .then(|| not_a_pair("the private key does not match the public key of the certificate"))
}

/// The public key as a SubjectPublicKeyInfo holds it (RFC 3279, 5480, 8410).
fn public_key(der: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    let bytes = der.secret_der();
    let rsa = match der {
        PrivateKeyDer::Pkcs8(_) => RsaKeyPair::from_pkcs8(bytes).ok(),
        PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes).ok(),
        _ => None,
    };
    if let Some(key) = rsa {
        return Some(key.public_key().as_ref().to_vec());
    }
    for curve in [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
    ] {
        let key = match der {
            PrivateKeyDer::Pkcs8(_) => EcdsaKeyPair::from_pkcs8(curve, bytes),
            PrivateKeyDer::Sec1(_) => EcdsaKeyPair::from_private_key_der(curve, bytes),
            _ => continue,
        };
        if let Ok(key) = key {
            return Some(key.public_key().as_ref().to_vec());
        }
    }
    match der {
        PrivateKeyDer::Pkcs8(_) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes)
            .ok()
            .map(|key| key.public_key().as_ref().to_vec()),
        _ => None,
    }
}
