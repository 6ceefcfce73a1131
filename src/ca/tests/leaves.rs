use std::collections::HashSet;

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::*;

/// Every kind of authority: name, certificate, key, the OID that it signs with.
const AUTHORITIES: [(&str, &str, &str, &str); 5] = [
    (
        "rsa2048",
        data!("rsa2048.crt"),
        data!("rsa2048.pkcs8"),
        "1.2.840.113549.1.1.11",
    ),
    (
        "rsa4096",
        data!("rsa4096.crt"),
        data!("rsa4096.pkcs1"),
        "1.2.840.113549.1.1.11",
    ),
    (
        "p256",
        data!("p256.crt"),
        data!("p256.sec1"),
        "1.2.840.10045.4.3.2",
    ),
    (
        "p384",
        data!("p384.crt"),
        data!("p384.sec1"),
        "1.2.840.10045.4.3.3",
    ),
    (
        "ed25519",
        data!("ed25519.crt"),
        data!("ed25519.pkcs8"),
        "1.3.101.112",
    ),
];

/// Roots whose names a program that re-encodes them gets wrong, all with one key.
const NAMES: [(&str, &str); 7] = [
    ("printable", data!("name-printable.crt")),
    ("T61", data!("name-t61.crt")),
    ("BMP", data!("name-bmp.crt")),
    ("multi-valued", data!("name-multi-valued.crt")),
    ("long", data!("name-long.crt")),
    ("empty", data!("name-empty.crt")),
    ("no key identifier", data!("no-identifier.crt")),
];

/// Validates the chain as a client and as a server would.
fn assert_chain(leaf: &Leaf, authority: &Authority, now: Timestamp, what: &str) {
    let root = CertificateDer::from(certificate::first(&authority.certificate).unwrap());
    let anchor = anchor_from_trusted_cert(&root).unwrap();
    let leaf = CertificateDer::from(certificate::first(&leaf.certificate).unwrap());
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let seconds = u64::try_from(now.unix_seconds()).unwrap();
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &[],
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            usage,
            None,
            None,
        )
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[test]
fn every_authority_signs_both_kinds_of_leaves_field_by_field() {
    for (name, root_pem, key, algorithm) in AUTHORITIES {
        let authority = root(root_pem);
        let signer = Signer::new(&authority, &private_key(key)).unwrap();
        let now = within(&authority);
        for kind in [LeafKey::EcP256, LeafKey::Rsa2048] {
            let what = format!("{kind:?} leaf of {name}");
            let leaf = issue(&request(kind), &signer, now).unwrap();
            assert_chain(&leaf, &authority, now, &what);
            assert_eq!(leaf.issuer, authority.id);
            assert_eq!(leaf.not_before, now - Duration::from_secs(10), "{what}");
            assert_eq!(leaf.not_after, now + Duration::from_hours(24), "{what}");
            match_key_pair(&leaf.certificate, &leaf.key).unwrap();
            assert!(
                leaf.key
                    .expose()
                    .starts_with("-----BEGIN PRIVATE KEY-----\n")
            );
            assert!(!format!("{leaf:?}").contains("PRIVATE KEY-----"));
            let der = certificate::first(&leaf.certificate).unwrap();
            let root_der = certificate::first(root_pem).unwrap();
            let parsed = certificate::parse(&der).unwrap();
            assert_fields(
                &parsed,
                &certificate::parse(&root_der).unwrap(),
                kind,
                algorithm,
            );
            let seconds = |time: Timestamp| time.unix_seconds();
            assert_eq!(
                parsed.validity().not_before.timestamp(),
                seconds(leaf.not_before)
            );
            assert_eq!(
                parsed.validity().not_after.timestamp(),
                seconds(leaf.not_after)
            );
        }
    }
}

fn assert_fields(
    leaf: &x509_parser::certificate::X509Certificate<'_>,
    root: &x509_parser::certificate::X509Certificate<'_>,
    kind: LeafKey,
    algorithm: &str,
) {
    leaf.verify_signature(Some(root.public_key())).unwrap();
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), algorithm);
    assert_eq!(leaf.signature_algorithm, leaf.tbs_certificate.signature);
    assert_eq!(leaf.version.0, 2);
    assert_eq!(leaf.issuer().as_raw(), root.subject().as_raw());
    assert_eq!(leaf.subject().as_raw(), [0x30, 0], "the subject is empty");

    let expected_size = match kind {
        LeafKey::EcP256 => 256,
        LeafKey::Rsa2048 => 2048,
    };
    assert_eq!(
        leaf.public_key().parsed().unwrap().key_size(),
        expected_size
    );

    let mut seen = HashSet::new();
    for extension in leaf.extensions() {
        assert!(
            seen.insert(extension.oid.to_id_string()),
            "twice: {}",
            extension.oid
        );
        let critical = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                assert!(!constraints.ca && constraints.path_len_constraint.is_none());
                true
            }
            ParsedExtension::KeyUsage(usage) => {
                let expected = match kind {
                    LeafKey::EcP256 => 0b001,
                    LeafKey::Rsa2048 => 0b101,
                };
                assert_eq!(
                    usage.flags, expected,
                    "digitalSignature, keyEncipherment for RSA"
                );
                true
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(usage.server_auth && usage.client_auth);
                assert!(!usage.any && !usage.code_signing && usage.other.is_empty());
                false
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                assert_eq!(names.general_names, [GeneralName::URI("spiffe://demo/web")]);
                true
            }
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                let of_root = certificate::subject_key_identifier(root);
                assert_eq!(identifier.key_identifier.as_ref().map(|id| id.0), of_root);
                assert!(identifier.authority_cert_issuer.is_none());
                assert!(identifier.authority_cert_serial.is_none());
                false
            }
            ParsedExtension::SubjectKeyIdentifier(_) => false,
            other => panic!("{other:?}"),
        };
        assert_eq!(extension.critical, critical, "{}", extension.oid);
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn chains_hold_whatever_the_name_of_the_root() {
    for (name, certificate) in NAMES {
        let authority = root(certificate);
        let signer = Signer::new(&authority, &private_key(data!("p256.sec1"))).unwrap();
        let now = within(&authority);
        let leaf = issue(&request(LeafKey::EcP256), &signer, now).unwrap();
        assert_chain(&leaf, &authority, now, name);
        let der = super::certificate::first(&leaf.certificate).unwrap();
        let root_der = super::certificate::first(certificate).unwrap();
        assert_eq!(
            super::certificate::parse(&der).unwrap().issuer().as_raw(),
            super::certificate::parse(&root_der)
                .unwrap()
                .subject()
                .as_raw(),
            "{name}"
        );
    }
}

#[test]
fn a_leaf_of_another_root_is_not_trusted() {
    let authority = root(data!("p256.crt"));
    let signer = Signer::new(&authority, &private_key(data!("p256.sec1"))).unwrap();
    let now = within(&authority);
    let leaf = issue(&request(LeafKey::EcP256), &signer, now).unwrap();
    let other = root(data!("p384.crt"));
    std::panic::catch_unwind(|| assert_chain(&leaf, &other, now, "")).unwrap_err();
}

fn builtin() -> (Authority, Signer) {
    builtin_of("demo")
}

fn builtin_of(mesh: &str) -> (Authority, Signer) {
    let now = "2026-01-31T12:00:00Z".parse().unwrap();
    let (authority, key) = create_builtin(&mesh.parse().unwrap(), 1, now).unwrap();
    let signer = Signer::new(&authority, &key).unwrap();
    (authority, signer)
}

#[test]
fn a_leaf_stays_within_the_validity_of_its_authority() {
    let (authority, signer) = builtin();
    let late = authority.not_after - Duration::from_mins(1);
    let leaf = issue(&request(LeafKey::EcP256), &signer, late).unwrap();
    assert_eq!(leaf.not_after, authority.not_after);
    assert_chain(&leaf, &authority, late, "late");

    let early = authority.not_before + Duration::from_secs(3);
    let leaf = issue(&request(LeafKey::EcP256), &signer, early).unwrap();
    assert_eq!(leaf.not_before, authority.not_before);
    assert_chain(&leaf, &authority, early, "early");
}

#[test]
fn an_authority_that_is_not_valid_signs_nothing() {
    let (authority, signer) = builtin();
    let before = authority.not_before - Duration::from_secs(1);
    for now in [
        before,
        authority.not_after,
        authority.not_after + Duration::from_hours(1),
    ] {
        let error = issue(&request(LeafKey::EcP256), &signer, now).unwrap_err();
        assert!(matches!(error, CaError::Validity { .. }), "{error:?}");
        assert!(
            error.to_string().contains("2036-01-31T12:00:00Z"),
            "{error}"
        );
    }
}

#[test]
fn an_authority_signs_nothing_of_another_mesh() {
    let (authority, signer) = builtin_of("other");
    let error = issue(&request(LeafKey::EcP256), &signer, within(&authority)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the authority of mesh other signs no leaf of mesh demo"
    );
}

#[test]
fn serial_numbers_and_keys_do_not_repeat() {
    let (_, signer) = builtin();
    let now = "2026-02-01T00:00:00Z".parse().unwrap();
    let mut serials = HashSet::new();
    let mut keys = HashSet::new();
    for _ in 0..500 {
        let leaf = issue(&request(LeafKey::EcP256), &signer, now).unwrap();
        let der = certificate::first(&leaf.certificate).unwrap();
        let parsed = certificate::parse(&der).unwrap();
        let serial = parsed.raw_serial();
        // A negative one would start with a bit that is set.
        assert!(serial[0] < 0x80 && serial.len() <= 17, "{serial:?}");
        assert!(serial.iter().any(|byte| *byte != 0));
        assert!(serials.insert(serial.to_vec()));
        assert!(keys.insert(parsed.public_key().raw.to_vec()));
    }
    // Of 500 random 128-bit numbers, all have more than 12 bytes.
    assert!(serials.iter().all(|serial| serial.len() > 12));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_identity_and_lifetime_gives_a_valid_leaf(
        mesh in "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?",
        service in "[a-zA-Z0-9._-]{3,253}",
        after_milliseconds in 0..300_000_000_000i64,
        lifetime_seconds in 1..400_000_000u64,
    ) {
        let (authority, signer) = builtin_of(&mesh);
        let start = authority.not_before.unix_milliseconds();
        let now = Timestamp::from_unix_milliseconds(start + after_milliseconds);
        let identity = SpiffeId { mesh: mesh.parse().unwrap(), service: service.parse().unwrap() };
        let lifetime = Duration::from_secs(lifetime_seconds);
        let request = LeafRequest { identity, lifetime, key: LeafKey::EcP256 };
        let leaf = issue(&request, &signer, now).unwrap();
        prop_assert!(authority.not_before <= leaf.not_before && leaf.not_before <= now);
        prop_assert!(leaf.not_after <= authority.not_after && leaf.not_after <= now + lifetime);
        assert_chain(&leaf, &authority, now, &request.identity.to_string());
        let der = certificate::first(&leaf.certificate).unwrap();
        let parsed = certificate::parse(&der).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let expected = request.identity.to_string();
        prop_assert_eq!(&names.value.general_names, &[GeneralName::URI(&expected)]);
    }
}
