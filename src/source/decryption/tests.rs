use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret, SecretString};
use age::{armor, ssh, x25519};
use base64::prelude::{BASE64_STANDARD, Engine};
use tempfile::TempDir;

use super::*;
use crate::model::{Kind, ResourceKey};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nTk9UIEEgS0VZ\n-----END PRIVATE KEY-----\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/ssh")
        .join(name)
}

fn seal(recipient: &dyn age::Recipient, plaintext: &[u8]) -> String {
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
    finish(encryptor, plaintext)
}

fn finish(encryptor: age::Encryptor, plaintext: &[u8]) -> String {
    let armored = armor::ArmoredWriter::wrap_output(Vec::new(), armor::Format::AsciiArmor).unwrap();
    let mut writer = encryptor.wrap_output(armored).unwrap();
    writer.write_all(plaintext).unwrap();
    let armored = writer.finish().unwrap().finish().unwrap();
    String::from_utf8(armored).unwrap()
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join("identity");
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, content: impl AsRef<[u8]>) -> Result<Identities, IdentityError> {
        Identities::load(&self.write(content))
    }
}

fn identities(identity: &x25519::Identity) -> Identities {
    Files::new()
        .load(identity.to_string().expose_secret())
        .unwrap()
}

#[test]
fn a_file_of_several_identities_opens_what_any_of_them_opens() {
    let [a, b] = [x25519::Identity::generate(), x25519::Identity::generate()];
    let ssh = fs::read_to_string(fixture("ed25519")).unwrap();
    let file = format!(
        "# created: today\n# public key: {}\n{}\n\n{ssh}\r\n# another\n{}\n",
        a.to_public(),
        a.to_string().expose_secret(),
        b.to_string().expose_secret()
    );
    let identities = Files::new().load(file).unwrap();
    assert_eq!(identities.recipients().len(), 3);
    for recipient in [a.to_public(), b.to_public()] {
        let opened = identities.open(&seal(&recipient, KEY.as_bytes())).unwrap();
        assert_eq!(opened.expose(), KEY);
    }
}

#[test]
fn ssh_keys_open_what_is_sealed_to_them() {
    for name in ["ed25519", "rsa", "rsa_pkcs1"] {
        let public = fs::read_to_string(fixture(&format!("{name}.pub"))).unwrap();
        let recipient: ssh::Recipient = public.parse().unwrap();
        let identities = Identities::load(&fixture(name)).unwrap();
        let opened = identities.open(&seal(&recipient, KEY.as_bytes())).unwrap();
        assert_eq!(opened.expose(), KEY, "{name}");
        assert!(public.starts_with(&identities.recipients()[0]), "{name}");
    }
}

#[test]
fn an_identity_file_that_cannot_be_used_says_why_and_quotes_nothing() {
    let files = Files::new();
    let secret = "AGE-SECRET-KEY-1QQQQSESAMEQQQQ";
    for (content, expected) in [
        (
            format!("# hello\n{secret}\n"),
            "line 2: the age identity is damaged",
        ),
        (
            "AGE-PLUGIN-YUBIKEY-1SESAME".to_owned(),
            "line 1: only X25519",
        ),
        (
            "age-encryption.org/v1\n-> SESAME".to_owned(),
            "is encrypted itself",
        ),
        ("age1SESAME".to_owned(), "public recipient"),
        ("hello SESAME".to_owned(), "neither an age identity"),
        (
            "-----BEGIN PRIVATE KEY-----\nSESAME".to_owned(),
            "not an SSH private key",
        ),
        (
            "\n-----BEGIN OPENSSH PRIVATE KEY-----\nSESAME".to_owned(),
            "line 2: the private key has no END line",
        ),
        ("# nothing\n\n".to_owned(), "holds no identity"),
        (String::new(), "holds no identity"),
        ("#\n".repeat(40_000), "larger than 65536 bytes"),
        (
            format!(
                "{}\n",
                x25519::Identity::generate().to_string().expose_secret()
            )
            .repeat(65),
            "more than 64 identities",
        ),
    ] {
        let error = files.load(content).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("SESAME"), "{text}");
    }
    for (name, expected) in [
        ("ed25519_passphrase", "has a passphrase"),
        ("ecdsa", "only SSH keys of the types"),
    ] {
        let error = Identities::load(&fixture(name)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(
        Identities::load(&files.0.path().join("missing")),
        Err(IdentityError::Read { .. })
    ));
    assert!(matches!(
        files.load([0xff, 0xfe]),
        Err(IdentityError::Read { .. })
    ));
}

#[test]
fn each_reason_not_to_open_a_key_is_told_apart() {
    let identity = x25519::Identity::generate();
    let other = x25519::Identity::generate();
    let ours = identities(&identity);
    let armor = seal(&identity.to_public(), KEY.as_bytes());

    assert_eq!(
        identities(&other).open(&armor).unwrap_err(),
        OpenError::NoMatch
    );
    assert_eq!(
        Identities::none().open(&armor).unwrap_err(),
        OpenError::NoIdentity
    );
    for text in ["", "hello", KEY, "age-encryption.org/v1\n"] {
        assert!(
            matches!(ours.open(text), Err(OpenError::NotArmor { .. })),
            "{text}"
        );
    }
    for plaintext in [&b"hello"[..], &[0xff; 40], b""] {
        let armor = seal(&identity.to_public(), plaintext);
        assert_eq!(ours.open(&armor).unwrap_err(), OpenError::NotAKey);
    }
    let large = seal(&identity.to_public(), &vec![b'x'; 40 * 1024]);
    assert_eq!(ours.open(&large).unwrap_err(), OpenError::NotAKey);
    let too_large = seal(&identity.to_public(), &vec![b'x'; 60 * 1024]);
    assert!(matches!(
        ours.open(&too_large),
        Err(OpenError::TooLarge { .. })
    ));
    let crowd: Vec<_> = (0..65).map(|_| identity.to_public()).collect();
    let encryptor =
        age::Encryptor::with_recipients(crowd.iter().map(|r| r as &dyn age::Recipient)).unwrap();
    assert_eq!(
        ours.open(&finish(encryptor, KEY.as_bytes())).unwrap_err(),
        OpenError::TooManyRecipients
    );
}

#[test]
fn a_passphrase_is_refused_without_work() {
    let mut recipient = age::scrypt::Recipient::new(SecretString::from("words".to_owned()));
    recipient.set_work_factor(1);
    let armor = seal(&recipient, KEY.as_bytes());
    for identities in [
        Identities::none(),
        identities(&x25519::Identity::generate()),
    ] {
        assert_eq!(identities.open(&armor).unwrap_err(), OpenError::Passphrase);
    }
}

#[test]
fn a_flipped_bit_anywhere_never_opens() {
    let identity = x25519::Identity::generate();
    let ours = identities(&identity);
    let armor = seal(&identity.to_public(), KEY.as_bytes());
    let file = decode(&armor).unwrap();
    let stanzas = position(&file, b"\n-> ")..position(&file, b"\n--- ");
    for index in 0..file.len() {
        for bit in 0..8 {
            let mut altered = file.clone();
            altered[index] ^= 1 << bit;
            let error = ours.open(&wrap(&altered)).unwrap_err();
            match error {
                OpenError::Tampered { .. } => {}
                // What names the recipients cannot be told from somebody else's, nor need it be.
                OpenError::NoMatch | OpenError::Passphrase if stanzas.contains(&index) => {}
                error => panic!("byte {index}, bit {bit}: {error:?}"),
            }
        }
    }
    for length in 0..file.len() {
        let error = ours.open(&wrap(&file[..length])).unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Tampered { .. } | OpenError::NotArmor { .. }
            ),
            "{length} bytes: {error:?}"
        );
    }
}

#[test]
fn altered_armor_never_opens_to_something_else() {
    let identity = x25519::Identity::generate();
    let ours = identities(&identity);
    let armor = seal(&identity.to_public(), KEY.as_bytes());
    for index in 0..armor.len() {
        for replacement in [b'A', b'-', b'\n', b' '] {
            let mut altered = armor.clone().into_bytes();
            altered[index] = replacement;
            if let Ok(key) = ours.open(&String::from_utf8(altered).unwrap()) {
                assert_eq!(key.expose(), KEY, "byte {index}");
            }
        }
    }
    let indented = format!("\n{armor}\n\n").replace('\n', "\r\n");
    assert_eq!(ours.open(&indented).unwrap().expose(), KEY);
}

#[test]
fn nothing_secret_prints() {
    let identity = x25519::Identity::generate();
    let ours = identities(&identity);
    let text = format!(
        "{ours:?} {:?}",
        ours.open(&seal(&identity.to_public(), KEY.as_bytes()))
    );
    assert!(!text.contains("SECRET") && !text.contains("Tk9U"), "{text}");
}

#[test]
fn a_diagnostic_holds_back_the_mesh_and_says_how_to_mend_it() {
    let resource = ResourceKey {
        mesh: "demo".parse().unwrap(),
        kind: Kind::ProvidedCa,
        name: "root".parse().unwrap(),
    };
    let diagnostic = OpenError::NoMatch.diagnostic(&resource);
    assert_eq!(diagnostic.code, "WL0603");
    assert_eq!(diagnostic.field, "key");
    assert_eq!(diagnostic.mesh, Some("demo".parse().unwrap()));
    assert!(
        diagnostic
            .hint
            .as_deref()
            .unwrap()
            .contains("--mesh demo --name root"),
        "{diagnostic:?}"
    );
}

fn position(file: &[u8], needle: &[u8]) -> usize {
    file.windows(needle.len())
        .position(|w| w == needle)
        .unwrap()
}

fn wrap(file: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(file);
    let lines: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "{BEGIN}\n{}\n-----END AGE ENCRYPTED FILE-----\n",
        lines.join("\n")
    )
}
