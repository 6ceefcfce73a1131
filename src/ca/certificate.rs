//! Reading certificates.

use std::fmt::Write as _;

use rustls::pki_types::pem::SectionKind;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{CertificateInfo, InvalidCertificate, name, pem};
use crate::model::{AuthorityId, Digest, SpkiId, Timestamp};

fn invalid(problem: impl Into<String>) -> InvalidCertificate {
    InvalidCertificate {
        problem: problem.into(),
    }
}

/// The first certificate of a PEM text in DER.
pub(super) fn first(text: &str) -> Result<Vec<u8>, InvalidCertificate> {
    pem::sections(text)
        .map_err(invalid)?
        .into_iter()
        .find_map(|(kind, der)| (kind == SectionKind::Certificate).then_some(der))
        .ok_or_else(|| invalid("no PEM block of type CERTIFICATE"))
}

/// Reads one certificate with nothing behind it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(invalid("there are bytes behind the certificate")),
        Err(error) => Err(invalid(format!("not an X.509 certificate: {error}"))),
    }
}

/// The value of the subject key identifier extension (RFC 5280 4.2.1.2).
pub(super) fn subject_key_identifier<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text of at most 64 KiB.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidCertificate> {
        let der = first(pem)?;
        let certificate = parse(&der)?;
        let subject = certificate.subject();
        let validity = certificate.validity();
        Ok(Self {
            id: AuthorityId(Digest::of(&der)),
            spki: SpkiId(Digest::of(certificate.public_key().raw)),
            subject: name::to_text(subject),
            common_name: name::common_name(subject),
            serial_number: serial_number(certificate.raw_serial()),
            not_before: Timestamp::from_unix_seconds(validity.not_before.timestamp()),
            not_after: Timestamp::from_unix_seconds(validity.not_after.timestamp()),
        })
    }
}

/// The content of the INTEGER without the sign's byte.
fn serial_number(content: &[u8]) -> String {
    hexadecimal(match content {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    })
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
