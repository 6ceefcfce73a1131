use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::*;

fn made(now: &str) -> (Authority, PrivateKey) {
    create_builtin(&"demo".parse().unwrap(), 3, now.parse().unwrap()).unwrap()
}

#[test]
fn a_builtin_authority_is_as_x509_svid_wants_a_root() {
    let (authority, key) = made("2026-01-31T12:00:00.750Z");
    assert_eq!(authority.state, AuthorityState::Staged);
    assert_eq!(authority.origin, AuthorityOrigin::Builtin { ordinal: 3 });
    assert_eq!(authority.subject, "serialNumber=3,CN=demo,O=Windlass");
    assert_eq!(authority.not_before.to_string(), "2026-01-31T11:59:50Z");
    assert_eq!(authority.not_after.to_string(), "2036-01-31T12:00:00Z");
    assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));

    let der = certificate::first(&authority.certificate).unwrap();
    let root = certificate::parse(&der).unwrap();
    root.verify_signature(None).unwrap();
    assert_eq!(root.subject().as_raw(), root.issuer().as_raw());
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(
        usage.value.flags,
        1 << 5 | 1 << 6,
        "keyCertSign and cRLSign alone"
    );
    let names = root.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://demo")]
    );
    assert!(certificate::subject_key_identifier(&root).is_some());
    let known = |extension: &ParsedExtension<'_>| !extension.unsupported();
    assert!(
        root.extensions()
            .iter()
            .all(|e| known(e.parsed_extension()))
    );
}

#[test]
fn every_builtin_authority_has_its_own_key_and_serial_number() {
    let (first, _) = made("2026-01-31T12:00:00Z");
    let (second, _) = made("2026-01-31T12:00:00Z");
    assert_ne!(first.id, second.id);
    assert_ne!(first.spki, second.spki);
    let serial = |a: &Authority| {
        CertificateInfo::from_pem(&a.certificate)
            .unwrap()
            .serial_number
    };
    assert_ne!(serial(&first), serial(&second));
}

#[test]
fn ten_years_after_a_leap_day_is_the_28th() {
    let (authority, _) = made("2028-02-29T23:59:59Z");
    assert_eq!(authority.not_after.to_string(), "2038-02-28T23:59:59Z");
}

#[test]
fn the_longest_mesh_name_fits() {
    let mesh = "m".repeat(63).parse().unwrap();
    let now = "2049-06-01T00:00:00Z".parse().unwrap();
    let (authority, key) = create_builtin(&mesh, u32::MAX, now).unwrap();
    Signer::new(&authority, &key).unwrap();
    assert_eq!(authority.not_after.to_string(), "2059-06-01T00:00:00Z");
}
