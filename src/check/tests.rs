//! Certificates of every kind against every rule.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use zeroize::Zeroizing;

use super::*;
use crate::model::{PrivateKey, Severity};

const DAY: u64 = 86_400;

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn rules() -> Rules {
    Rules {
        now: now(),
        leaf_lifetime: Duration::from_secs(DAY),
    }
}

/// A root that breaks no rule.
fn root() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now() - Duration::from_secs(DAY)).to_date_time();
    params.not_after = (now() + Duration::from_secs(365 * DAY)).to_date_time();
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn pem(params: &CertificateParams) -> String {
    params
        .self_signed(&key(&PKCS_ECDSA_P256_SHA256))
        .unwrap()
        .pem()
}

fn violations(cert: &str) -> Vec<String> {
    certificate(cert, &rules())
        .into_iter()
        .map(|violation| format!("{}: {}", violation.field, violation.message))
        .collect()
}

const NOT_SELF_SIGNED: &str =
    "cert: certificate must be self-signed (intermediate CAs are not allowed)";
const NOT_A_CA: &str =
    "cert: basic constraint 'CA' must be set to 'true' (see X509-SVID: 4.1. Basic Constraints)";
const NO_CERT_SIGN: &str =
    "cert: key usage extension 'keyCertSign' must be set (see X509-SVID: 4.3. Key Usage)";

#[test]
fn a_root_of_any_supported_key_is_good() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let cert = root().self_signed(&key(algorithm)).unwrap().pem();
        assert_eq!(violations(&cert), Vec::<String>::new(), "{algorithm:?}");
        let with_text = format!("Issuer: me\n{}\nnotes\n", cert.replace('\n', "\r\n"));
        assert_eq!(violations(&with_text), Vec::<String>::new());
    }
    for cert in [
        include_str!("fixtures/rsa-4096.pem"),
        include_str!("fixtures/rsa-pss.pem"),
    ] {
        assert_eq!(violations(cert), Vec::<String>::new());
    }
}

#[test]
fn what_is_no_certificate_is_no_key_pair() {
    let good = pem(&root());
    let broken = good.replacen('M', "*", 1);
    let truncated = &good[..good.len() / 2];
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let other = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    for cert in ["", "hello", &broken, truncated, not_der, other] {
        let found = violations(cert);
        assert_eq!(found.len(), 1, "{cert}");
        assert!(
            found[0].starts_with(".: not a valid TLS key pair: "),
            "{found:?}"
        );
    }
}

#[test]
fn a_chain_is_refused() {
    let chain = format!("{}{}", pem(&root()), pem(&root()));
    assert_eq!(
        violations(&chain),
        ["cert: certificate must be a root CA (certificate chains are not allowed)"]
    );
}

#[test]
fn self_signed_is_name_and_signature() {
    let issuer_key = key(&PKCS_ECDSA_P256_SHA256);
    let mut other = root();
    other.distinguished_name.push(DnType::CommonName, "other");
    let by_other = root()
        .signed_by(
            &key(&PKCS_ECDSA_P256_SHA256),
            &Issuer::from_params(&other, &issuer_key),
        )
        .unwrap();
    assert_eq!(violations(&by_other.pem()), [NOT_SELF_SIGNED]);
    // The same name, but another key has signed.
    let impostor = root()
        .signed_by(
            &key(&PKCS_ECDSA_P256_SHA256),
            &Issuer::from_params(&root(), &issuer_key),
        )
        .unwrap();
    assert_eq!(violations(&impostor.pem()), [NOT_SELF_SIGNED]);
}

#[test]
fn every_rule_that_is_broken_is_listed() {
    let mut leaf = root();
    leaf.is_ca = IsCa::NoCa;
    leaf.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyAgreement,
        KeyUsagePurpose::KeyEncipherment,
    ];
    leaf.not_after = (now() - Duration::from_mins(1)).to_date_time();
    let root = CertifiedIssuer::self_signed(root(), key(&PKCS_ECDSA_P256_SHA256)).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "leaf");
    let leaf = leaf
        .signed_by(&key(&PKCS_ECDSA_P256_SHA256), &root)
        .unwrap();
    let forbidden = |usage: &str| {
        format!(
            "cert: key usage extension '{usage}' must NOT be set (see X509-SVID: Appendix A. X.509 Field Reference)"
        )
    };
    assert_eq!(
        violations(&format!("{}{}", leaf.pem(), root.pem())),
        [
            "cert: certificate must be a root CA (certificate chains are not allowed)",
            NOT_SELF_SIGNED,
            NOT_A_CA,
            NO_CERT_SIGN,
            &forbidden("digitalSignature"),
            &forbidden("keyAgreement"),
            &forbidden("keyEncipherment"),
            "cert: certificate has expired on 2029-12-31T23:59:00Z",
        ]
    );
}

#[test]
fn a_certificate_without_extensions_is_not_a_ca() {
    assert_eq!(
        violations(include_str!("fixtures/version-1.pem")),
        [NOT_A_CA, NO_CERT_SIGN]
    );
    let mut without_usage = root();
    without_usage.key_usages.clear();
    assert_eq!(violations(&pem(&without_usage)), [NO_CERT_SIGN]);
}

#[test]
fn weak_keys_and_signatures_are_refused_for_what_they_are() {
    let cases = [
        (
            include_str!("fixtures/rsa-1024.pem"),
            "cert: RSA key must have at least 2048 bits, this one has 1024",
        ),
        (
            include_str!("fixtures/sha1.pem"),
            "cert: certificate must not be signed with SHA-1, use SHA-256 or better",
        ),
        (
            include_str!("fixtures/md5.pem"),
            "cert: certificate must not be signed with MD5, use SHA-256 or better",
        ),
        (
            include_str!("fixtures/p521.pem"),
            "cert: key must be RSA, ECDSA P-256, ECDSA P-384 or Ed25519",
        ),
    ];
    for (cert, expected) in cases {
        assert_eq!(violations(cert), [expected]);
    }
}

#[test]
fn a_certificate_must_be_valid_for_the_life_of_a_leaf() {
    let valid = |from: i64, until: i64| {
        let mut params = root();
        let at = |seconds| Timestamp::from_unix_seconds(now().unix_seconds() + seconds);
        params.not_before = at(from).to_date_time();
        params.not_after = at(until).to_date_time();
        violations(&pem(&params))
    };
    let day = 86_400;
    assert_eq!(valid(0, day), Vec::<String>::new());
    assert_eq!(
        valid(0, day - 1),
        ["cert: certificate ends on 2030-01-01T23:59:59Z, before a leaf of 1d issued now would"]
    );
    assert_eq!(
        valid(1, 100 * day),
        ["cert: certificate is not valid before 2030-01-01T00:00:01Z"]
    );
    assert_eq!(
        valid(-day, -1),
        ["cert: certificate has expired on 2029-12-31T23:59:59Z"]
    );
}

fn private(pem: &str) -> PrivateKey {
    PrivateKey::new(Zeroizing::new(pem.to_owned()))
}

#[test]
fn a_key_matches_its_certificate_only() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let own = key(algorithm);
        let cert = root().self_signed(&own).unwrap().pem();
        assert_eq!(
            key_pair(&cert, &private(&own.serialize_pem())),
            None,
            "{algorithm:?}"
        );
        let violation = key_pair(&cert, &private(&key(algorithm).serialize_pem())).unwrap();
        assert_eq!(violation.field, ".");
        assert_eq!(
            violation.message,
            "not a valid TLS key pair: the private key does not match the public key of the certificate"
        );
    }
}

/// A key as PEM of another kind: what its PKCS#8 form wraps, a sequence whose
/// contents begin with `start` after a `header`.
fn unwrapped(key: &KeyPair, header: usize, start: &[u8], label: &str) -> String {
    use base64::Engine as _;
    let der = key.serialize_der();
    let at = der.windows(start.len()).position(|window| window == start);
    let inner = base64::engine::general_purpose::STANDARD.encode(&der[at.unwrap() - header..]);
    format!("-----BEGIN {label}-----\n{inner}\n-----END {label}-----\n")
}

#[test]
fn keys_come_in_pkcs1_and_sec1_too() {
    let cases = [
        (
            &PKCS_RSA_SHA256,
            4,
            &[0x02, 0x01, 0x00, 0x02, 0x82, 0x01, 0x01, 0x00][..],
            "RSA PRIVATE KEY",
        ),
        (
            &PKCS_ECDSA_P256_SHA256,
            2,
            &[0x02, 0x01, 0x01, 0x04, 0x20],
            "EC PRIVATE KEY",
        ),
    ];
    for (algorithm, header, start, label) in cases {
        let own = key(algorithm);
        let cert = root().self_signed(&own).unwrap().pem();
        let pem = unwrapped(&own, header, start, label);
        assert_eq!(key_pair(&cert, &private(&pem)), None, "{label}");
    }
}

#[test]
fn what_is_no_key_is_no_key_pair() {
    let own = key(&PKCS_ECDSA_P256_SHA256);
    let cert = root().self_signed(&own).unwrap().pem();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for key in ["", "secret", encrypted, empty, &cert] {
        let violation = key_pair(&cert, &private(key)).unwrap();
        assert!(violation.message.starts_with("not a valid TLS key pair: "));
        assert!(!violation.message.contains("secret"));
    }
    let good = private(&own.serialize_pem());
    assert!(
        key_pair("", &good)
            .unwrap()
            .message
            .starts_with("not a valid TLS key pair: ")
    );
}

fn manifest_of(yaml: &str) -> Manifest {
    let files = [("a.yaml".into(), yaml.as_bytes().to_vec())];
    crate::manifest::parse(&files, "default".parse().unwrap())
}

fn placed_in(yaml: &str) -> Vec<Diagnostic> {
    let manifest = manifest_of(yaml);
    placed(&manifest, &"demo".parse().unwrap(), &rules())
}

fn indented(pem: &str) -> String {
    let lines = pem.lines().map(|line| format!("  {}\n", line.trim()));
    lines.collect::<Vec<_>>().concat()
}

fn provided(name: &str, cert: &str) -> String {
    let armor = "-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n";
    crate::manifest::provided_ca_yaml(
        &"demo".parse().unwrap(),
        &name.parse().unwrap(),
        cert,
        armor,
    )
}

#[test]
fn a_mesh_finds_its_provided_ca() {
    let cert = pem(&root());
    let mesh = |ca: &str| format!("type: Mesh\nname: demo\nmtls:\n  ca:\n    provided: {ca}\n");
    let message = |yaml: &str| {
        let found = placed_in(yaml);
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|diagnostic| {
            assert_eq!(diagnostic.field, "mtls.ca.provided");
            assert_eq!((diagnostic.line, &*diagnostic.file), (5, "a.yaml"));
            diagnostic.message.clone()
        })
    };
    let none = "There is no signing certificate in provided CA for a given mesh.";
    assert_eq!(message(&mesh("{}")).as_deref(), Some(none));
    let [a, b] = ["a", "b"].map(|name| provided(name, &cert));
    assert_eq!(message(&format!("{}---\n{a}", mesh("{}"))), None);
    assert_eq!(
        message(&format!("{}---\n{a}---\n{b}", mesh("{name: b}"))),
        None
    );
    assert_eq!(
        message(&format!("{}---\n{a}---\n{b}", mesh("{}"))).as_deref(),
        Some("the mesh has several provided CAs and must name one: a, b")
    );
    for yaml in [mesh("{name: c}"), format!("{}---\n{a}", mesh("{name: c}"))] {
        let found = message(&yaml).unwrap();
        assert_eq!(found, format!("{none} It has no ProvidedCa named c"));
    }
}

#[test]
fn what_belongs_to_no_mesh_is_named() {
    let yaml = format!(
        "{}---\ntype: Dataplane\nmesh: demo\nname: dp\nnetworking: {{address: 10.0.0.1, gateway: {{tags: {{service: a}}}}}}\n",
        provided("a", &pem(&root()))
    );
    let found = placed_in(&yaml);
    let places: Vec<_> = found
        .iter()
        .map(|d| (d.line, d.column, &*d.field, &*d.message))
        .collect();
    let message = "there is no Mesh demo in this revision";
    let dataplane = u32::try_from(yaml.lines().count()).unwrap() - 2;
    assert_eq!(
        places,
        [(2, 7, "mesh", message), (dataplane, 7, "mesh", message)]
    );
    assert!(
        found
            .iter()
            .all(|d| d.mesh.as_ref().unwrap().as_str() == "demo")
    );
    // The mesh may be in what cannot be read.
    assert_eq!(placed_in(&format!("{yaml}---\n}}\n")), []);
}

#[test]
fn the_certificate_of_a_refused_key_is_judged_too() {
    let mut leaf = root();
    leaf.is_ca = IsCa::NoCa;
    let yaml = format!(
        "type: Mesh\nname: demo\nmtls: {{ca: {{provided: {{}}}}}}\n---\ntype: ProvidedCa\nmesh: demo\nname: a\ncert: |\n{}key: |\n{}",
        indented(&pem(&leaf)),
        indented(&key(&PKCS_ED25519).serialize_pem()),
    );
    let manifest = manifest_of(&yaml);
    assert_eq!(manifest.diagnostics().len(), 1);
    let found = placed(&manifest, &"demo".parse().unwrap(), &rules());
    let found: Vec<_> = found.iter().map(|d| (d.line, &*d.field)).collect();
    assert_eq!(found, [(8, "cert")]);
}

#[test]
fn a_root_that_ends_soon_is_a_warning() {
    let mut params = root();
    params.not_after = (now() + Duration::from_secs(29 * DAY)).to_date_time();
    let mesh = "type: Mesh\nname: demo\nmtls: {ca: {provided: {}}}\n---\n";
    let [warning] = &placed_in(&format!("{mesh}{}", provided("a", &pem(&params))))[..] else {
        panic!();
    };
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!(
        warning.message,
        "certificate ends in 29 days, on 2030-01-30T00:00:00Z"
    );
    assert_eq!(
        placed_in(&format!("{mesh}{}", provided("a", &pem(&root())))),
        []
    );
}
