use super::*;

/// Certificate and key, in every form that is accepted.
const ACCEPTED: [(&str, &str, &str); 17] = [
    (
        "rsa2048 PKCS#1",
        data!("rsa2048.crt"),
        data!("rsa2048.pkcs1"),
    ),
    (
        "rsa2048 PKCS#8",
        data!("rsa2048.crt"),
        data!("rsa2048.pkcs8"),
    ),
    (
        "rsa4096 PKCS#1",
        data!("rsa4096.crt"),
        data!("rsa4096.pkcs1"),
    ),
    (
        "rsa4096 PKCS#8",
        data!("rsa4096.crt"),
        data!("rsa4096.pkcs8"),
    ),
    ("p256 SEC1", data!("p256.crt"), data!("p256.sec1")),
    (
        "p256 SEC1 parameters",
        data!("p256.crt"),
        data!("p256.sec1-parameters"),
    ),
    (
        "p256 SEC1 no public",
        data!("p256.crt"),
        data!("p256.sec1-no-public"),
    ),
    ("p256 PKCS#8", data!("p256.crt"), data!("p256.pkcs8")),
    (
        "p256 PKCS#8 no public",
        data!("p256.crt"),
        data!("p256.pkcs8-no-public"),
    ),
    ("p384 SEC1", data!("p384.crt"), data!("p384.sec1")),
    (
        "p384 SEC1 parameters",
        data!("p384.crt"),
        data!("p384.sec1-parameters"),
    ),
    (
        "p384 SEC1 no public",
        data!("p384.crt"),
        data!("p384.sec1-no-public"),
    ),
    ("p384 PKCS#8", data!("p384.crt"), data!("p384.pkcs8")),
    (
        "p384 PKCS#8 no public",
        data!("p384.crt"),
        data!("p384.pkcs8-no-public"),
    ),
    (
        "ed25519 PKCS#8",
        data!("ed25519.crt"),
        data!("ed25519.pkcs8"),
    ),
    (
        "ed25519 PKCS#8 v2",
        data!("ed25519.crt"),
        data!("ed25519.pkcs8-v2"),
    ),
    (
        "ed25519 PKCS#8 v2 as ring writes it",
        data!("ed25519.crt"),
        data!("ed25519.pkcs8-v2-explicit"),
    ),
];

#[test]
fn every_form_of_every_key_joins_its_certificate() {
    for (form, certificate, key) in ACCEPTED {
        let windows = key.replace('\n', "\r\n");
        let with_certificate = format!("{certificate}\n# the key\n{key}");
        for key in [key, &windows, &with_certificate] {
            let key = private_key(key);
            Signer::new(&root(certificate), &key).unwrap_or_else(|e| panic!("{form}: {e}"));
            match_key_pair(certificate, &key).unwrap();
        }
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    for (form, certificate, _) in ACCEPTED {
        for (other_form, other, key) in ACCEPTED {
            if other == certificate {
                continue;
            }
            let error = match_key_pair(certificate, &private_key(key)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "not a valid TLS key pair: private key does not match certificate",
                "{form} with {other_form}"
            );
        }
    }
}

#[test]
fn what_is_not_accepted_is_refused_by_name_and_without_its_bytes() {
    let damaged = data!("p256.pkcs8").replace("MIGH", "MI!H");
    let cut = &data!("rsa2048.pkcs1")[..400];
    let swapped = data!("rsa2048.pkcs1").replace("RSA PRIVATE", "EC PRIVATE");
    let twice = format!("{}{}", data!("p256.sec1"), data!("p256.sec1"));
    let long = "x".repeat(70_000);
    let ed25519_in_other_form = data!("ed25519.pkcs8").replace("PRIVATE KEY", "RSA PRIVATE KEY");
    for (certificate, key, problem) in [
        (
            data!("p256.crt"),
            data!("encrypted.pkcs8"),
            "encrypted private keys are not supported",
        ),
        (
            data!("p256.crt"),
            data!("encrypted.sec1"),
            "encrypted private keys are not supported",
        ),
        (
            data!("rsa2048.crt"),
            data!("encrypted.pkcs1"),
            "encrypted private keys are not supported",
        ),
        (
            data!("rsa1024.crt"),
            data!("rsa1024.pkcs1"),
            "fewer than 2048 bits",
        ),
        (
            data!("rsa1024.crt"),
            data!("rsa1024.pkcs8"),
            "fewer than 2048 bits",
        ),
        (
            data!("p521.crt"),
            data!("p521.sec1"),
            "P-521 keys are not supported",
        ),
        (
            data!("p521.crt"),
            data!("p521.sec1-parameters"),
            "P-521 keys are not supported",
        ),
        (
            data!("p521.crt"),
            data!("p521.pkcs8"),
            "P-521 keys are not supported",
        ),
        (
            data!("rsa-pss.crt"),
            data!("rsa-pss.pkcs8"),
            "cannot be read",
        ),
        (data!("p256.crt"), &damaged, "the PEM text is damaged"),
        (data!("rsa2048.crt"), cut, "the PEM text is damaged"),
        (data!("rsa2048.crt"), &swapped, "cannot be read"),
        (
            data!("ed25519.crt"),
            &ed25519_in_other_form,
            "cannot be read",
        ),
        (
            data!("p256.crt"),
            &twice,
            "2 private keys where one is expected",
        ),
        (
            data!("p256.crt"),
            data!("p256.crt"),
            "no PEM block of type PRIVATE KEY",
        ),
        (data!("p256.crt"), "", "no PEM block of type PRIVATE KEY"),
        (
            data!("p256.crt"),
            &long,
            "more than the 65536 that are read",
        ),
    ] {
        let error = match_key_pair(certificate, &private_key(key)).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.starts_with("not a valid TLS key pair: "), "{text}");
        assert!(text.contains(problem), "{problem:?} is not in {text:?}");
        for line in key
            .lines()
            .filter(|line| line.len() > 30 && !line.contains("-----"))
        {
            assert!(!text.contains(line), "{text}");
            assert!(!text.contains(&line[..16]), "{text}");
        }
    }
}

#[test]
fn a_certificate_that_restricts_its_key_to_another_algorithm_is_refused() {
    // The key itself as plain RSA, out of the RSASSA-PSS form.
    let der = super::super::pem::sections(data!("rsa-pss.pkcs8"))
        .unwrap()
        .remove(0)
        .1;
    let octets = |w: &[u8]| matches!(w, [0x04, 0x82, _, _, 0x30, 0x82]);
    let start = der.windows(6).position(octets).unwrap() + 4;
    let mut pkcs1 = String::new();
    super::super::pem::write("RSA PRIVATE KEY", &der[start..], &mut pkcs1);
    let error = match_key_pair(data!("rsa-pss.crt"), &private_key(&pkcs1)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("restricts its key to an algorithm that is not supported"),
        "{error}"
    );
}

#[test]
fn a_signer_does_not_print_its_key() {
    let key = data!("p256.pkcs8");
    let signer = Signer::new(&root(data!("p256.crt")), &private_key(key)).unwrap();
    let printed = format!("{signer:?} {signer:#?}");
    assert!(printed.contains("[REDACTED]"), "{printed}");
    let der = super::super::pem::sections(key).unwrap().remove(0).1;
    // In PKCS#8 of P-256 the private key's 32 bytes start at 36.
    let secret = &der[36..68];
    for form in [format!("{secret:?}"), certificate::hexadecimal(secret)] {
        assert!(!printed.contains(&form[1..form.len() - 1]), "{printed}");
    }
}
