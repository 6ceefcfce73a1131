//! Certificate authorities and the leaves that they sign.
//!
//! [`issue`] is pure but for the randomness of keys and serial numbers, which
//! comes from aws-lc-rs.

mod builtin;
mod certificate;
mod der;
mod key;
mod leaf;
mod name;
mod pem;
mod signer;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, AuthorityState, MeshName, PrivateKey, ProvidedCa,
    SpiffeId, SpkiId, Timestamp,
};

pub use builtin::create_builtin;
pub(crate) use key::KeyPair;
pub use leaf::issue;
pub use signer::{Signer, match_key_pair};

/// How much earlier than now a certificate begins, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(10);

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

impl CertificateInfo {
    /// Whether it is valid at that time.
    #[must_use]
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.not_before <= at && at < self.not_after
    }
}

/// A text that holds no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidCertificate {
    /// What is wrong, such as `no PEM block of type CERTIFICATE`.
    pub problem: String,
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
    /// The authority is one of another mesh.
    #[error("the authority of mesh {authority} signs no leaf of mesh {leaf}")]
    Foreign {
        /// The authority's mesh.
        authority: MeshName,
        /// The mesh of the identity that was asked for.
        leaf: MeshName,
    },
    /// The authority has ended, or has not begun.
    #[error("the authority signs nothing at {now}: it is valid from {not_before} to {not_after}")]
    Validity {
        /// When it was asked.
        now: Timestamp,
        /// When the authority becomes valid.
        not_before: Timestamp,
        /// When the authority ends.
        not_after: Timestamp,
    },
    /// A certificate could not be signed.
    #[error("failed to sign a certificate")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The authority that a ProvidedCa describes, staged. The key is not looked at.
///
/// # Errors
///
/// Fails when the certificate cannot be read.
pub fn provided(ca: &ProvidedCa) -> Result<Authority, CaError> {
    let name = ca.name.clone();
    staged(&ca.mesh, AuthorityOrigin::Provided { name }, &ca.cert)
}

fn staged(
    mesh: &MeshName,
    origin: AuthorityOrigin,
    certificate: &str,
) -> Result<Authority, CaError> {
    let info = CertificateInfo::from_pem(certificate)?;
    Ok(Authority {
        id: info.id,
        spki: info.spki,
        mesh: mesh.clone(),
        origin,
        certificate: Arc::from(certificate),
        subject: info.subject,
        not_before: info.not_before,
        not_after: info.not_after,
        state: AuthorityState::Staged,
    })
}

/// How long a leaf lives where nobody says otherwise.
pub const DEFAULT_LEAF_LIFETIME: Duration = Duration::from_hours(24);

/// How leaves are issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuing {
    /// How long a leaf lives, unless its authority ends before.
    pub leaf_lifetime: Duration,
    /// How many leaves are reissued per second where another authority signs,
    /// by the whole process.
    pub reissue_rate: NonZeroU32,
}

/// How many leaves a second are issued anew where nobody says otherwise.
pub const DEFAULT_REISSUE_RATE: NonZeroU32 = NonZeroU32::new(200).unwrap();

impl Default for Issuing {
    fn default() -> Self {
        Self {
            leaf_lifetime: DEFAULT_LEAF_LIFETIME,
            reissue_rate: DEFAULT_REISSUE_RATE,
        }
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
