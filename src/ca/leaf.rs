//! Leaves: the X509-SVIDs of dataplanes.

use std::sync::Arc;

use aws_lc_rs::{digest, rand};

use super::der::{BIT_STRING, OCTET_STRING, OID, SEQUENCE, Writer, explicit, implicit};
use super::key::KeyPair;
use super::signer::Signer;
use super::{BACKDATE, CaError, Leaf, LeafKey, LeafRequest, pem};
use crate::model::{SpiffeId, Timestamp};

// Object identifiers of RFC 5280 4.2.1, as DER content.
const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
const SUBJECT_ALT_NAME: &[u8] = b"\x55\x1d\x11";
const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
const SERVER_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";
const CLIENT_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x02";

/// The choice uniformResourceIdentifier of a GeneralName.
const URI: u8 = implicit(6);

/// Issues a leaf: valid from 10 s before `now` for the lifetime that is asked
/// for, but never outside the authority's own validity.
///
/// # Errors
///
/// Fails when the authority is one of another mesh, or not valid at `now`.
pub fn issue(request: &LeafRequest, signer: &Signer, now: Timestamp) -> Result<Leaf, CaError> {
    if request.identity.mesh != signer.mesh {
        return Err(CaError::Foreign {
            authority: signer.mesh.clone(),
            leaf: request.identity.mesh.clone(),
        });
    }
    if now < signer.not_before || signer.not_after <= now {
        return Err(CaError::Validity {
            now,
            not_before: signer.not_before,
            not_after: signer.not_after,
        });
    }
    let whole = |time: Timestamp| Timestamp::from_unix_seconds(time.unix_seconds());
    let not_before = whole(now - BACKDATE).max(signer.not_before);
    let not_after = whole(now + request.lifetime).min(signer.not_after);

    let key = KeyPair::generate(request.key)?;
    let serial = serial_number()?;
    let tbs = to_be_signed(request, signer, &key, &serial, not_before, not_after);
    let signature = signer.key.sign(&tbs)?;

    let mut certificate = Writer::with_capacity(tbs.len() + signature.len() + 64);
    certificate.nested(SEQUENCE, |certificate| {
        certificate
            .raw(&tbs)
            .raw(signer.key.signature_algorithm())
            .bits(&signature);
    });
    let mut text = String::new();
    pem::write("CERTIFICATE", &certificate.into_bytes(), &mut text);

    Ok(Leaf {
        certificate: Arc::from(text),
        key: key.to_pem()?,
        issuer: signer.id(),
        not_before,
        not_after,
    })
}

/// 128 random bits, big-endian, never zero (RFC 5280 4.1.2.2).
pub(super) fn serial_number() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    while serial == [0; 16] {
        rand::fill(&mut serial).map_err(|source| CaError::Sign(Box::new(source)))?;
    }
    Ok(serial)
}

/// The leftmost 160 bits of the public key's SHA-256 (RFC 7093 section 2, method 1).
pub(super) fn key_identifier(public: &[u8]) -> [u8; 20] {
    let mut identifier = [0; 20];
    let hash = digest::digest(&digest::SHA256, public);
    identifier.copy_from_slice(&hash.as_ref()[..20]);
    identifier
}

/// The TBSCertificate (RFC 5280 4.1.2).
fn to_be_signed(
    request: &LeafRequest,
    signer: &Signer,
    key: &KeyPair,
    serial: &[u8],
    not_before: Timestamp,
    not_after: Timestamp,
) -> Vec<u8> {
    let mut writer = Writer::with_capacity(1024);
    writer.nested(SEQUENCE, |tbs| {
        // version v3
        tbs.nested(explicit(0), |version| {
            version.unsigned(&[2]);
        });
        tbs.unsigned(serial);
        tbs.raw(signer.key.signature_algorithm());
        tbs.raw(&signer.name);
        tbs.nested(SEQUENCE, |validity| {
            validity.time(not_before).time(not_after);
        });
        // The subject is empty; the identity is in the SAN alone.
        tbs.value(SEQUENCE, &[]);
        key.write_public(tbs);
        tbs.nested(explicit(3), |tbs| {
            tbs.nested(SEQUENCE, |list| extensions(list, request, signer, key));
        });
    });
    writer.into_bytes()
}

/// X509-SVID section 4 and appendix A.
fn extensions(list: &mut Writer, request: &LeafRequest, signer: &Signer, key: &KeyPair) {
    list.extension(BASIC_CONSTRAINTS, true, |value| {
        // cA is FALSE by default, which DER leaves out.
        value.value(SEQUENCE, &[]);
    });
    list.extension(KEY_USAGE, true, |value| {
        // The count of unused bits, then digitalSignature (0) and keyEncipherment (2).
        let bits = match request.key {
            LeafKey::EcP256 => [7, 0b1000_0000],
            LeafKey::Rsa2048 => [5, 0b1010_0000],
        };
        value.value(BIT_STRING, &bits);
    });
    list.extension(EXTENDED_KEY_USAGE, false, |value| {
        value.nested(SEQUENCE, |purposes| {
            purposes.value(OID, SERVER_AUTH).value(OID, CLIENT_AUTH);
        });
    });
    list.extension(SUBJECT_KEY_IDENTIFIER, false, |value| {
        value.value(OCTET_STRING, &key_identifier(key.public()));
    });
    list.extension(AUTHORITY_KEY_IDENTIFIER, false, |value| {
        value.nested(SEQUENCE, |value| {
            value.value(implicit(0), &signer.key_identifier);
        });
    });
    list.extension(SUBJECT_ALT_NAME, true, |value| {
        value.nested(SEQUENCE, |names| {
            names.nested(URI, |uri| write_uri(uri, &request.identity));
        });
    });
}

fn write_uri(uri: &mut Writer, identity: &SpiffeId) {
    uri.raw(identity.to_string().as_bytes());
}
