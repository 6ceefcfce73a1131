use proptest::prelude::*;

use super::*;

#[test]
fn a_certificate_is_read() {
    let info = CertificateInfo::from_pem(data!("name-printable.crt")).unwrap();
    assert_eq!(info.subject, r"CN=root,O=Acme\, Inc.,C=DE");
    assert_eq!(info.common_name.as_deref(), Some("root"));
    assert_eq!(info.serial_number.len(), 40, "{}", info.serial_number);
    assert!(info.not_before < info.not_after);
}

#[test]
fn the_same_key_in_two_certificates_has_one_spki_id_and_two_ids() {
    let a = CertificateInfo::from_pem(data!("p256.crt")).unwrap();
    let b = CertificateInfo::from_pem(data!("name-t61.crt")).unwrap();
    assert_eq!(a.spki, b.spki);
    assert_ne!(a.id, b.id);
    let c = CertificateInfo::from_pem(data!("p384.crt")).unwrap();
    assert_ne!(a.spki, c.spki);
}

#[test]
fn names_of_every_kind_become_text() {
    let subject = |pem| CertificateInfo::from_pem(pem).unwrap().subject;
    assert_eq!(subject(data!("name-t61.crt")), "CN=root,O=Bücher");
    assert_eq!(subject(data!("name-bmp.crt")), "CN=root,O=日本");
    assert_eq!(
        subject(data!("name-multi-valued.crt")),
        "CN=root,O=Acme+OU=Mesh"
    );
    assert_eq!(subject(data!("name-empty.crt")), "");
}

#[test]
fn the_first_certificate_counts_and_what_is_around_it_does_not() {
    let text = format!(
        "hello\n{}{}{}",
        data!("p256.sec1"),
        data!("p256.crt"),
        data!("p384.crt")
    );
    let info = CertificateInfo::from_pem(&text).unwrap();
    assert_eq!(info.subject, "CN=p256");
}

#[test]
fn what_is_no_certificate_is_refused_with_the_reason() {
    let truncated = data!("p256.crt").replace("-----END CERTIFICATE-----", "");
    let mut longer = String::new();
    let mut der = certificate::first(data!("p256.crt")).unwrap();
    der.push(0);
    super::super::pem::write("CERTIFICATE", &der, &mut longer);
    let mut other = String::new();
    super::super::pem::write("CERTIFICATE", b"\x30\x03\x02\x01\x01", &mut other);
    for (text, problem) in [
        ("", "no PEM block of type CERTIFICATE"),
        (data!("p256.pkcs8"), "no PEM block of type CERTIFICATE"),
        (&truncated, "the PEM text is damaged"),
        (&"x".repeat(70_000), "more than the 65536 that are read"),
        (&longer, "bytes behind the certificate"),
        (&other, "not an X.509 certificate"),
    ] {
        let error = CertificateInfo::from_pem(text).unwrap_err();
        assert!(
            error.problem.contains(problem),
            "{problem:?} is not in {error}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(-----(BEGIN|END) (CERTIFICATE|PRIVATE KEY)-----\n?|[a-zA-Z0-9+/=]{0,64}\n|.)*") {
        let _ = CertificateInfo::from_pem(&text);
        let _ = match_key_pair(data!("p256.crt"), &private_key(&text));
    }

    #[test]
    fn no_damage_panics(position in 0..600usize, byte: u8) {
        let mut der = certificate::first(data!("name-multi-valued.crt")).unwrap();
        let position = position % der.len();
        der[position] = byte;
        let mut text = String::new();
        super::super::pem::write("CERTIFICATE", &der, &mut text);
        let _ = CertificateInfo::from_pem(&text);
    }
}
