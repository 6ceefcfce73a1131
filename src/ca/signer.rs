//! An authority joined with its key.

use std::fmt;

use super::der::Writer;
use super::key::KeyPair;
use super::{CaError, certificate, leaf};
use crate::model::{Authority, AuthorityId, MeshName, PrivateKey, Timestamp};

/// An authority with its key, ready to sign.
pub struct Signer {
    id: AuthorityId,
    pub(super) mesh: MeshName,
    pub(super) key: KeyPair,
    /// The subject in DER, byte for byte: the issuer of every leaf.
    pub(super) name: Vec<u8>,
    /// The certificate's own, or what it would be where it has none.
    pub(super) key_identifier: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Signer {
    /// Joins an authority with its key, in PKCS#1, SEC1 or PKCS#8 PEM.
    ///
    /// # Errors
    ///
    /// Fails when one of the two cannot be read, and when they do not belong together.
    pub fn new(authority: &Authority, key: &PrivateKey) -> Result<Self, CaError> {
        let der = certificate::first(&authority.certificate)?;
        let certificate = certificate::parse(&der)?;
        let key = key_of(&certificate, key)?;
        let key_identifier = certificate::subject_key_identifier(&certificate).map_or_else(
            || leaf::key_identifier(key.public()).to_vec(),
            <[u8]>::to_vec,
        );
        let validity = certificate.validity();
        Ok(Self {
            id: authority.id,
            mesh: authority.mesh.clone(),
            name: certificate.subject().as_raw().to_vec(),
            key_identifier,
            not_before: Timestamp::from_unix_seconds(validity.not_before.timestamp()),
            not_after: Timestamp::from_unix_seconds(validity.not_after.timestamp()),
            key,
        })
    }

    /// The authority's id.
    #[must_use]
    pub fn id(&self) -> AuthorityId {
        self.id
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("id", &self.id)
            .field("mesh", &self.mesh)
            .field("key", &"[REDACTED]")
            .finish_non_exhaustive()
    }
}

/// Checks that `key` is the private key of the first certificate in `cert_pem`.
///
/// # Errors
///
/// Fails as [`Signer::new`] does.
pub fn match_key_pair(cert_pem: &str, key: &PrivateKey) -> Result<(), CaError> {
    let der = certificate::first(cert_pem)?;
    key_of(&certificate::parse(&der)?, key).map(drop)
}

fn key_of(
    certificate: &x509_parser::certificate::X509Certificate<'_>,
    key: &PrivateKey,
) -> Result<KeyPair, CaError> {
    let key = KeyPair::from_pem(key).map_err(|problem| CaError::KeyPair { problem })?;
    let public = certificate.public_key();
    let mut expected = Writer::default();
    key.write_public(&mut expected);
    if expected.into_bytes() == public.raw {
        return Ok(key);
    }
    let problem = if *public.subject_public_key.data == *key.public() {
        // The same key under another algorithm, such as RSASSA-PSS.
        "the certificate restricts its key to an algorithm that is not supported"
    } else {
        "private key does not match certificate"
    };
    Err(CaError::KeyPair {
        problem: problem.to_owned(),
    })
}
