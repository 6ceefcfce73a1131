//! Keys, sealed and not.

use super::form::assert_violations;
use super::*;

#[test]
fn a_plaintext_key_is_refused_and_not_repeated() {
    let pem = "-----BEGIN EC PRIVATE KEY-----\n  MIIsecret\n  -----END EC PRIVATE KEY-----";
    for kind in [
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "RSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
    ] {
        let pem = pem.replace("EC PRIVATE KEY", kind);
        let yaml = format!("type: ProvidedCa\nmesh: demo\nname: ca\ncert: x\nkey: |\n  {pem}\n");
        let manifest = manifest(&[("a.yaml", &yaml)]);
        let diagnostics = manifest.diagnostics();
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        assert_eq!(diagnostics[0].field, "key");
        assert_eq!(
            diagnostics[0].message,
            "a plaintext private key in Git is refused: it must be age armor"
        );
        assert!(!format!("{manifest:?}").contains("secret"));
        assert!(!manifest.holds_back_commit());
    }
    let in_cert = format!("type: ProvidedCa\nmesh: demo\nname: ca\nkey: x\ncert: |\n  {pem}\n");
    let manifest = manifest(&[("a.yaml", &in_cert)]);
    assert_eq!(manifest.diagnostics()[0].field, "key");
    assert_eq!(manifest.diagnostics()[1].field, "cert");
    assert!(!format!("{manifest:?}").contains("secret"));
}

#[test]
fn a_key_is_age_armor() {
    let armor =
        "|\n  -----BEGIN AGE ENCRYPTED FILE-----\n  YWdl\n  -----END AGE ENCRYPTED FILE-----";
    assert_violations("ProvidedCa", &format!("cert: x\nkey: {armor}"), &[]);
    for key in [
        "x",
        "''",
        "AGE-SECRET-KEY",
        "|\n  -----BEGIN AGE ENCRYPTED FILE-----",
    ] {
        assert_violations(
            "ProvidedCa",
            &format!("cert: x\nkey: {key}"),
            &["key: the key must be age armor"],
        );
    }
    assert_violations(
        "ProvidedCa",
        "cert: x",
        &[".: not a valid TLS key pair: the key is missing"],
    );
}
