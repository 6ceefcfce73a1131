//! Certificate authorities and the leaves that they sign.
//!
//! [`issue`] is pure but for the randomness of keys and serial numbers, which
//! comes from aws-lc-rs.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Authority, AuthorityId, MeshName, PrivateKey, ProvidedCa, SpiffeId, SpkiId, Timestamp,
};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The SHA-256 of the certificate in DER.
    pub id: AuthorityId,
    /// The SHA-256 of its public key.
    pub spki: SpkiId,
    /// The subject (RFC 4514); empty where it has none.
    pub subject: String,
    /// The common name of the subject.
    pub common_name: Option<String>,
    /// The serial number in hexadecimal.
    pub serial_number: String,
    /// When it becomes valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A text that holds no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidCertificate {
    /// What is wrong, such as `no PEM block of type CERTIFICATE`.
    pub problem: String,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(_pem: &str) -> Result<Self, InvalidCertificate> {
        unimplemented!()
    }
}

/// An authority that could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The certificate cannot be read.
    #[error("the certificate cannot be read")]
    Certificate(#[from] InvalidCertificate),
    /// The key cannot be read, or it is not the certificate's.
    #[error("not a valid TLS key pair: {problem}")]
    KeyPair {
        /// What is wrong; never key bytes.
        problem: String,
    },
    /// A certificate could not be signed.
    #[error("failed to sign a certificate")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes the builtin authority `ordinal` of `mesh`, staged: a P-256 root,
/// valid for 10 years from `now`, URI SAN `spiffe://<mesh>`, keyCertSign and cRLSign.
pub fn create_builtin(
    _mesh: &MeshName,
    _ordinal: u32,
    _now: Timestamp,
) -> Result<(Authority, PrivateKey), CaError> {
    unimplemented!()
}

/// The authority that a ProvidedCa describes, staged. The key is not looked at.
pub fn provided(_ca: &ProvidedCa) -> Result<Authority, CaError> {
    unimplemented!()
}

/// An authority with its key, ready to sign.
pub struct Signer {}

impl Signer {
    /// Joins an authority with its key.
    pub fn new(_authority: &Authority, _key: &PrivateKey) -> Result<Self, CaError> {
        unimplemented!()
    }

    /// The authority's id.
    pub fn id(&self) -> AuthorityId {
        unimplemented!()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// The kind of a leaf's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeafKey {
    /// ECDSA P-256.
    #[default]
    EcP256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// What a leaf is asked to be.
#[derive(Debug, Clone)]
pub struct LeafRequest {
    /// The one URI SAN.
    pub identity: SpiffeId,
    /// How long it lives, unless the authority ends before.
    pub lifetime: Duration,
    /// The kind of its key.
    pub key: LeafKey,
}

/// A leaf with its key. The key does not print.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate as PEM (the leaf alone: an authority is a root).
    pub certificate: Arc<str>,
    /// The key as PKCS#8 PEM.
    pub key: PrivateKey,
    /// Who signed.
    pub issuer: AuthorityId,
    /// When it becomes valid: 10 s before it was issued.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Issues a leaf.
pub fn issue(_request: &LeafRequest, _signer: &Signer, _now: Timestamp) -> Result<Leaf, CaError> {
    unimplemented!()
}
