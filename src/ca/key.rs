//! Key pairs: read in every form that people keep them in, made, and signing.

use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::pem::SectionKind;
use zeroize::Zeroizing;

use super::der::{SEQUENCE, Writer};
use super::{CaError, LeafKey, pem};
use crate::model::PrivateKey;

/// What is accepted, for messages.
const ACCEPTED: &str = "RSA keys of 2048 to 4096 bits, ECDSA P-256 and P-384, and Ed25519 are";
const MAX_RSA_BYTES: usize = 4096 / 8;

/// A private key, parsed once, with its public key.
pub(crate) enum KeyPair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    pub(crate) fn generate(kind: LeafKey) -> Result<Self, CaError> {
        match kind {
            LeafKey::EcP256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self::P256)
            }
            LeafKey::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Self::Rsa),
        }
        .map_err(|source| CaError::Sign(Box::new(source)))
    }

    /// Reads the one private key of a PEM text: PKCS#1, SEC1 or PKCS#8.
    pub(crate) fn from_pem(key: &PrivateKey) -> Result<Self, String> {
        let text = key.expose();
        // PKCS#8 (RFC 5958) says it in the label, the older forms in a header (RFC 1421).
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(
                "encrypted private keys are not supported: decrypt it first, for example with \
                 `openssl pkey -in key.pem -out plain.pem`"
                    .to_owned(),
            );
        }
        let mut keys = Vec::new();
        for (kind, der) in pem::sections(text)? {
            let der = Zeroizing::new(der);
            if matches!(
                kind,
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
            ) {
                keys.push((kind, der));
            }
        }
        match keys.as_slice() {
            [(kind, der)] => Self::from_der(*kind, der),
            [] => Err(
                "no PEM block of type PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY".to_owned(),
            ),
            several => Err(format!(
                "{} private keys where one is expected",
                several.len()
            )),
        }
    }

    fn from_der(kind: SectionKind, der: &[u8]) -> Result<Self, String> {
        if kind == SectionKind::PrivateKey
            && let Some(key) = Ed25519KeyPair::from_pkcs8(der)
                .ok()
                .or_else(|| ed25519_of_ring(der))
        {
            return Ok(Self::Ed25519(key));
        }
        if kind != SectionKind::RsaPrivateKey {
            let read = |algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der);
            if let Ok(key) = read(&ECDSA_P256_SHA256_ASN1_SIGNING) {
                return Ok(Self::P256(key));
            }
            if let Ok(key) = read(&ECDSA_P384_SHA384_ASN1_SIGNING) {
                return Ok(Self::P384(key));
            }
            if read(&ECDSA_P521_SHA512_ASN1_SIGNING).is_ok() {
                return Err(format!("ECDSA P-521 keys are not supported; {ACCEPTED}"));
            }
        }
        let rsa = match kind {
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(der),
            SectionKind::PrivateKey => RsaKeyPair::from_pkcs8(der),
            _ => {
                return Err(format!(
                    "the EC private key cannot be read; {ACCEPTED} supported"
                ));
            }
        };
        match rsa {
            Ok(key) if key.public_modulus_len() > MAX_RSA_BYTES => Err(format!(
                "the RSA key has more than 4096 bits; {ACCEPTED} supported"
            )),
            Ok(key) => Ok(Self::Rsa(key)),
            Err(rejected) if rejected.to_string() == "TooSmall" => Err(format!(
                "the RSA key has fewer than 2048 bits; {ACCEPTED} supported"
            )),
            Err(_) => Err(format!(
                "the private key cannot be read; {ACCEPTED} supported"
            )),
        }
    }

    /// The key as PKCS#8 PEM.
    pub(crate) fn to_pem(&self) -> Result<PrivateKey, CaError> {
        let mut text = Zeroizing::new(String::new());
        let mut write = |der: &[u8]| pem::write("PRIVATE KEY", der, &mut text);
        match self {
            Self::P256(key) => p256_pkcs8(key).map(|der| write(&der)),
            Self::P384(key) => key.to_pkcs8v1().map(|der| write(der.as_ref())),
            Self::Ed25519(key) => key.to_pkcs8v1().map(|der| write(der.as_ref())),
            Self::Rsa(key) => key.as_der().map(|der| write(der.as_ref())),
        }
        .map_err(|source| CaError::Sign(Box::new(source)))?;
        Ok(PrivateKey::new(text))
    }

    /// The public key as in the BIT STRING of a SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
            Self::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// Appends the SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 8410, RFC 5480, RFC 3279).
    pub(super) fn write_public(&self, writer: &mut Writer) {
        let algorithm: &[u8] = match self {
            Self::P256(_) => {
                b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                               \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
            }
            Self::P384(_) => {
                b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                               \x06\x05\x2b\x81\x04\x00\x22"
            }
            Self::Ed25519(_) => b"\x30\x05\x06\x03\x2b\x65\x70",
            Self::Rsa(_) => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
        };
        writer.nested(SEQUENCE, |writer| {
            writer.raw(algorithm).bits(self.public());
        });
    }

    /// The AlgorithmIdentifier of what [`KeyPair::sign`] makes.
    pub(super) fn signature_algorithm(&self) -> &'static [u8] {
        match self {
            // ecdsa-with-SHA256 and -SHA384 (RFC 5758 3.2)
            Self::P256(_) => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::P384(_) => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            // id-Ed25519 (RFC 8410 3)
            Self::Ed25519(_) => b"\x30\x05\x06\x03\x2b\x65\x70",
            // sha256WithRSAEncryption (RFC 4055 5)
            Self::Rsa(_) => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CaError> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) | Self::P384(key) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(key) => key
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        }
        .map_err(|source| CaError::Sign(Box::new(source)))
    }
}

/// Reads Ed25519 in PKCS#8 version 2 as ring wrote it for years, with the public
/// key tagged explicitly where RFC 5958 wants it implicitly.
fn ed25519_of_ring(der: &[u8]) -> Option<Ed25519KeyPair> {
    const BEFORE_SEED: &[u8] = b"\x30\x53\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    const BEFORE_PUBLIC: &[u8] = b"\xa1\x23\x03\x21\x00";
    let (seed, rest) = der.strip_prefix(BEFORE_SEED)?.split_at_checked(32)?;
    let public = rest.strip_prefix(BEFORE_PUBLIC)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
}

/// The bytes of `to_pkcs8v1`, which takes 3 µs for them, a good part of what a
/// leaf may cost over its key and signature.
fn p256_pkcs8(key: &EcdsaKeyPair) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    // PrivateKeyInfo (RFC 5208) and ECPrivateKey (RFC 5915), up to the private key
    const BEFORE_PRIVATE: &[u8] = b"\x30\x81\x87\x02\x01\x00\
        \x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
        \x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
    const BEFORE_PUBLIC: &[u8] = b"\xa1\x44\x03\x42\x00";
    let private = key.private_key().as_be_bytes()?;
    let parts = [
        BEFORE_PRIVATE,
        private.as_ref(),
        BEFORE_PUBLIC,
        key.public_key().as_ref(),
    ];
    Ok(Zeroizing::new(parts.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p256_keys_are_written_as_the_library_does() {
        for _ in 0..100 {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
            let expected = key.to_pkcs8v1().unwrap();
            assert_eq!(*p256_pkcs8(&key).unwrap(), expected.as_ref());
        }
    }
}
