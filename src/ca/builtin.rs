//! The roots that Windlass makes.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyUsagePurpose,
    SanType, SignatureAlgorithm,
};
use time::OffsetDateTime;

use super::key::KeyPair;
use super::{BACKDATE, CaError, LeafKey, leaf};
use crate::model::{Authority, AuthorityOrigin, MeshName, PrivateKey, SpiffeId, Timestamp};

const YEARS: i32 = 10;

/// Makes the builtin authority `ordinal` of `mesh`, staged: a P-256 root, valid
/// for 10 years from 10 s before `now`, URI SAN `spiffe://<mesh>` (X509-SVID
/// 3.2), keyCertSign and cRLSign, without room for an intermediate.
pub fn create_builtin(
    mesh: &MeshName,
    ordinal: u32,
    now: Timestamp,
) -> Result<(Authority, PrivateKey), CaError> {
    let key = KeyPair::generate(LeafKey::EcP256)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Windlass");
    subject.push(DnType::CommonName, mesh.as_str());
    // Tells the roots of a mesh apart, for people and for verifiers that look
    // an issuer up by its name.
    subject.push(
        DnType::CustomDnType(vec![2, 5, 4, 5]),
        DnValue::PrintableString(ordinal.to_string().try_into().map_err(sign)?),
    );

    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(leaf::serial_number()?.to_vec().into());
    params.not_before = whole_seconds(now - BACKDATE);
    params.not_after = years_later(whole_seconds(now));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(
        SpiffeId::trust_domain(mesh).try_into().map_err(sign)?,
    )];
    let certificate = params.self_signed(&Root(&key)).map_err(sign)?.pem();

    let authority = super::staged(mesh, AuthorityOrigin::Builtin { ordinal }, &certificate)?;
    Ok((authority, key.to_pem()?))
}

fn sign(error: rcgen::Error) -> CaError {
    CaError::Sign(Box::new(error))
}

fn whole_seconds(time: Timestamp) -> OffsetDateTime {
    Timestamp::from_unix_seconds(time.unix_seconds()).to_date_time()
}

/// The same day [`YEARS`] later; the 28th for a 29th of February that is not.
fn years_later(from: OffsetDateTime) -> OffsetDateTime {
    let year = (from.year() + YEARS).min(9999);
    from.replace_year(year)
        .or_else(|_| from.replace_day(28)?.replace_year(year))
        .unwrap_or(from)
}

/// Lets rcgen sign with a key that is parsed already.
struct Root<'a>(&'a KeyPair);

impl rcgen::PublicKeyData for Root<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Root<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0
            .sign(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
