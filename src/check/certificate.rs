//! What the certificate of a provided authority must be (X509-SVID 4 and
//! appendix A, RFC 5280).

use std::time::Duration;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::KeyUsage;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

use super::signature::{self, Verdict};
use super::{Rules, Violation};
use crate::manifest::codes;
use crate::model::{HumanDuration, Timestamp, count};

const FIELD: &str = "cert";
/// How long before the end of a root one is warned.
const SOON: Duration = Duration::from_hours(30 * 24);
const SHORTEST_RSA: usize = 2048;
const LONGEST_RSA: usize = 8192;

/// Judges the certificate of a provided authority, all rules at once.
#[must_use]
pub fn certificate(cert_pem: &str, rules: &Rules) -> Vec<Violation> {
    let blocks = match blocks(cert_pem) {
        Ok(blocks) => blocks,
        Err(violation) => return vec![violation],
    };
    let mut violations = Vec::new();
    if blocks.len() > 1 {
        violations.push(
            Violation::new(
                codes::CERTIFICATE_CHAIN,
                FIELD,
                "certificate must be a root CA (certificate chains are not allowed)",
            )
            .hint("leave the root's certificate alone in `cert`"),
        );
    }
    for block in &blocks {
        if let Err(violation) = parse(block) {
            return vec![violation];
        }
    }
    if let Some(Ok(certificate)) = blocks.first().map(|block| parse(block)) {
        algorithms(&certificate, &mut violations);
        constraints(&certificate, &mut violations);
        validity(&certificate, rules, &mut violations);
    }
    violations
}

/// Warns of a certificate that is good, but not for long.
pub(super) fn ends_soon(cert_pem: &str, rules: &Rules) -> Option<Violation> {
    let blocks = blocks(cert_pem).ok()?;
    let (_, not_after) = period(&parse(blocks.first()?).ok()?);
    let left = not_after.since(rules.now);
    (left >= rules.leaf_lifetime && left > Duration::ZERO && left < SOON).then(|| {
        let days = usize::try_from(left.as_secs() / 86_400).unwrap_or(usize::MAX);
        let message = format!("certificate ends in {}, on {not_after}", count(days, "day"));
        Violation::new(codes::ENDS_SOON, FIELD, message).hint("provide the next root in time")
    })
}

pub(super) fn not_a_pair(problem: &str) -> Violation {
    let message = format!("not a valid TLS key pair: {problem}");
    Violation::new(codes::INVALID_KEY_PAIR, ".", message)
}

/// The certificates of a PEM text as DER; there is at least one.
pub(super) fn blocks(cert_pem: &str) -> Result<Vec<Vec<u8>>, Violation> {
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(cert_pem.as_bytes()) {
        match block {
            Ok(block) if block.label == "CERTIFICATE" => certificates.push(block.contents),
            Ok(_) => {}
            Err(_) => return Err(not_a_pair("the certificate is not valid PEM")),
        }
    }
    if certificates.is_empty() {
        return Err(not_a_pair(
            "there is no PEM block of type CERTIFICATE in the certificate",
        ));
    }
    Ok(certificates)
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Violation> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(not_a_pair("the certificate is not valid X.509")),
    }
}

fn algorithms(certificate: &X509Certificate<'_>, violations: &mut Vec<Violation>) {
    let mut add = |code, message: String| violations.push(Violation::new(code, FIELD, message));
    let spki = certificate.public_key();
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let bits = bits(rsa.modulus);
            if bits < SHORTEST_RSA {
                let message =
                    format!("RSA key must have at least {SHORTEST_RSA} bits, this one has {bits}");
                add(codes::SHORT_RSA_KEY, message);
            } else if bits > LONGEST_RSA {
                let message =
                    format!("RSA key must have at most {LONGEST_RSA} bits, this one has {bits}");
                add(codes::UNSUPPORTED_ALGORITHM, message);
            }
        }
        _ if signature::is_supported_key(spki) => {}
        _ => add(
            codes::UNSUPPORTED_ALGORITHM,
            "key must be RSA, ECDSA P-256, ECDSA P-384 or Ed25519".to_owned(),
        ),
    }
    if let Some(hash) = signature::weak_hash(certificate) {
        let message = format!("certificate must not be signed with {hash}, use SHA-256 or better");
        add(codes::WEAK_SIGNATURE, message);
    }
}

/// The length of an unsigned big-endian number.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let significant = &number[zeros..];
    significant.first().map_or(0, |first| {
        significant.len() * 8 - first.leading_zeros() as usize
    })
}

fn constraints(certificate: &X509Certificate<'_>, violations: &mut Vec<Violation>) {
    let mut add = |code, message: &str| violations.push(Violation::new(code, FIELD, message));
    let same_name = certificate.issuer().as_raw() == certificate.subject().as_raw();
    let verdict = signature::verify_own(certificate);
    if !same_name || verdict == Verdict::Wrong {
        add(
            codes::NOT_SELF_SIGNED,
            "certificate must be self-signed (intermediate CAs are not allowed)",
        );
    } else if verdict == Verdict::Unknown && signature::weak_hash(certificate).is_none() {
        add(
            codes::UNSUPPORTED_ALGORITHM,
            "certificate is signed with an algorithm that is not supported",
        );
    }
    let is_ca = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        _ => false,
    };
    if !is_ca {
        add(
            codes::NOT_A_CA,
            "basic constraint 'CA' must be set to 'true' (see X509-SVID: 4.1. Basic Constraints)",
        );
    }
    let usage = match certificate.key_usage() {
        Ok(Some(usage)) => Some(usage.value),
        _ => None,
    };
    if !usage.is_some_and(KeyUsage::key_cert_sign) {
        add(
            codes::NO_KEY_CERT_SIGN,
            "key usage extension 'keyCertSign' must be set (see X509-SVID: 4.3. Key Usage)",
        );
    }
    let Some(usage) = usage else { return };
    for (set, name) in [
        (usage.digital_signature(), "digitalSignature"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_encipherment(), "keyEncipherment"),
    ] {
        if set {
            add(
                codes::FORBIDDEN_KEY_USAGE,
                &format!(
                    "key usage extension '{name}' must NOT be set (see X509-SVID: Appendix A. X.509 Field Reference)"
                ),
            );
        }
    }
}

/// From when until when a certificate is valid.
fn period(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    (
        Timestamp::from_unix_seconds(validity.not_before.timestamp()),
        Timestamp::from_unix_seconds(validity.not_after.timestamp()),
    )
}

fn validity(certificate: &X509Certificate<'_>, rules: &Rules, violations: &mut Vec<Violation>) {
    let (not_before, not_after) = period(certificate);
    let mut add = |code, message| violations.push(Violation::new(code, FIELD, message));
    if rules.now < not_before {
        let message = format!("certificate is not valid before {not_before}");
        add(codes::NOT_YET_VALID, message);
    }
    if rules.now > not_after {
        add(
            codes::EXPIRED,
            format!("certificate has expired on {not_after}"),
        );
    } else if not_after.since(rules.now) < rules.leaf_lifetime {
        let lifetime = HumanDuration(rules.leaf_lifetime);
        let message = format!(
            "certificate ends on {not_after}, before a leaf of {lifetime} issued now would"
        );
        add(codes::SHORT_REMAINING_LIFE, message);
    }
}
