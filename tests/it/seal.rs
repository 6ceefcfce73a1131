//! `windlass seal` against the real `age`, in both directions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use windlass::manifest;
use windlass::model::{MeshName, PrivateKey, ProvidedCa, Resource};
use windlass::source::decryption::{Identities, OpenError};
use windlass::source::seal::{Recipients, to_recipients};
use zeroize::Zeroizing;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/ssh")
        .join(name)
}

/// A CA, an age identity and what else a call of `seal` takes.
struct Desk {
    home: TempDir,
    recipient: String,
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let identity = home.path().join("identity.txt");
        let made = Command::new("age-keygen")
            .arg("-o")
            .arg(&identity)
            .output()
            .expect("age-keygen (the Debian package `age`)");
        assert!(made.status.success(), "{made:?}");
        let text = fs::read_to_string(&identity).unwrap();
        let recipient = text
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        let recipient = recipient.unwrap().to_owned();
        let desk = Self { home, recipient };
        let (cert, key) = authority(|_| {});
        desk.write("cert.pem", &cert);
        desk.write("key.pem", &key);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn seal(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["seal", "--mesh", "demo", "--name", "root-2026"])
            .args(["--cert-file", "cert.pem", "--key-file", "key.pem"])
            .args(more)
            .current_dir(self.home.path())
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    /// The document that `seal` prints.
    fn sealed(&self, more: &[&str]) -> ProvidedCa {
        let output = self.seal(more);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.is_empty(), "{stderr}");
        let file = (Arc::from("ca.yaml"), output.stdout);
        let parsed = manifest::parse(&[file], "default".parse().unwrap());
        let mesh: MeshName = "demo".parse().unwrap();
        let resources = &parsed.desired().meshes[&mesh].resources;
        match resources.values().next().map(|resource| &resource.resource) {
            Some(Resource::ProvidedCa(ca)) => ca.clone(),
            other => panic!("{other:?}"),
        }
    }
}

fn authority(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    change(&mut params);
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

/// Runs `age` with `input`.
fn age(args: &[&str], input: &str) -> Output {
    let mut child = Command::new("age")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("age (the Debian package `age`)");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn age_opens_what_seal_prints_byte_for_byte() {
    let desk = Desk::new();
    let ssh = ["ed25519", "rsa"].map(|n| fs::read_to_string(fixture(&format!("{n}.pub"))).unwrap());
    let ca = desk.sealed(&[
        "--recipient",
        &desk.recipient,
        "--recipient",
        &ssh[0],
        "--recipient",
        &ssh[1],
    ]);
    assert_eq!((ca.mesh.as_str(), ca.name.as_str()), ("demo", "root-2026"));
    assert_eq!(ca.cert, desk.read("cert.pem"));
    let key = desk.read("key.pem");
    for identity in [
        desk.path("identity.txt"),
        fixture("ed25519"),
        fixture("rsa"),
    ] {
        let opened = age(&["-d", "-i", text(&identity)], &ca.key);
        assert!(opened.status.success(), "{opened:?}");
        assert_eq!(
            String::from_utf8(opened.stdout).unwrap(),
            key,
            "{identity:?}"
        );
        let opened = Identities::load(&identity).unwrap().open(&ca.key).unwrap();
        assert_eq!(opened.expose(), key, "{identity:?}");
    }
}

#[test]
fn a_key_with_odd_line_ends_comes_back_as_it_was() {
    let desk = Desk::new();
    let key = format!(
        "# a comment\r\n{}\n\n",
        desk.read("key.pem").replace('\n', "\r\n")
    );
    desk.write("key.pem", &key);
    let ca = desk.sealed(&["--recipient", &desk.recipient]);
    let opened = age(&["-d", "-i", text(&desk.path("identity.txt"))], &ca.key);
    assert_eq!(String::from_utf8(opened.stdout).unwrap(), key);
}

#[test]
fn what_age_seals_is_opened() {
    let desk = Desk::new();
    let key = desk.read("key.pem");
    let ed25519 = fs::read_to_string(fixture("ed25519.pub")).unwrap();
    let rsa = fs::read_to_string(fixture("rsa.pub")).unwrap();
    for (recipient, identity) in [
        (desk.recipient.trim(), desk.path("identity.txt")),
        (ed25519.trim(), fixture("ed25519")),
        (rsa.trim(), fixture("rsa")),
    ] {
        let sealed = age(&["-a", "-r", recipient], &key);
        let armor = String::from_utf8(sealed.stdout).unwrap();
        let opened = Identities::load(&identity).unwrap().open(&armor).unwrap();
        assert_eq!(opened.expose(), key, "{identity:?}");
        let other = Desk::new();
        let others = Identities::load(&other.path("identity.txt")).unwrap();
        assert_eq!(others.open(&armor).unwrap_err(), OpenError::NoMatch);
    }
}

#[test]
fn a_flipped_byte_is_refused_for_every_kind_of_recipient() {
    let key = PrivateKey::new(Zeroizing::new(authority(|_| {}).1));
    for name in ["ed25519", "rsa"] {
        let public = fs::read_to_string(fixture(&format!("{name}.pub"))).unwrap();
        let recipients = Recipients::parse([public.as_str()]).unwrap();
        let armor = to_recipients(&key, &recipients).unwrap();
        let identities = Identities::load(&fixture(name)).unwrap();
        assert_eq!(identities.open(&armor).unwrap(), key);
        let (start, end) = (
            armor.find('\n').unwrap() + 1,
            armor.rfind("-----END").unwrap(),
        );
        // Every seventh character meets every region of the header and the payload.
        for index in (start..end).step_by(7) {
            let mut altered = armor.clone().into_bytes();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let opened = identities.open(&String::from_utf8(altered).unwrap());
            assert!(
                matches!(
                    opened,
                    Err(OpenError::Tampered { .. }
                        | OpenError::NotArmor { .. }
                        | OpenError::NoMatch)
                ),
                "{name}, character {index}: {opened:?}"
            );
        }
    }
}

#[test]
fn a_certificate_that_a_commit_would_be_refused_for_is_not_sealed() {
    let desk = Desk::new();
    let issuer = KeyPair::generate().unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    let root = rcgen::Issuer::new(params.clone(), issuer);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "intermediate");
    let leaf = params.signed_by(&leaf_key, &root).unwrap();
    desk.write("cert.pem", &leaf.pem());
    desk.write("key.pem", &leaf_key.serialize_pem());
    let output = desk.seal(&["--recipient", &desk.recipient]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with(
            "Error: Could not seal the CA (Resource is not valid)\n\
             * cert: certificate must be self-signed (intermediate CAs are not allowed)\n"
        ),
        "{stderr}"
    );
}

#[test]
fn a_key_of_another_certificate_is_not_sealed() {
    let desk = Desk::new();
    let (_, other) = authority(|_| {});
    for key in [other.as_str(), "not a key", ""] {
        desk.write("key.pem", key);
        let output = desk.seal(&["--recipient", &desk.recipient]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(
            stderr.starts_with(
                "Error: Could not seal the CA (Resource is not valid)\n\
                 * .: not a valid TLS key pair: "
            ),
            "{stderr}"
        );
        let secret = key.lines().nth(1).unwrap_or("not a key");
        assert!(!stderr.contains(secret), "{stderr}");
    }
}

#[test]
fn recipients_come_from_files_too_and_secrets_among_them_are_not_quoted() {
    let desk = Desk::new();
    desk.write(
        "recipients.txt",
        &format!("# the team\n\n{}\n", desk.recipient),
    );
    let ca = desk.sealed(&["--recipients-file", "recipients.txt"]);
    let identities = Identities::load(&desk.path("identity.txt")).unwrap();
    assert!(identities.open(&ca.key).is_ok());

    let identity = desk.read("identity.txt");
    let identity = identity.lines().last().unwrap().to_owned();
    desk.write("identities.txt", &format!("\n{identity}\n"));
    desk.write("empty.txt", "# nobody\n");
    desk.write("large.txt", &"#\n".repeat(40_000));
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHFliOyIZs1gxGF3fmDxFykQhE88wy6AKDGFBfn0R6ZuvRmENABZQa9+pj9hMki+LX0qDJbmHTiWDbYv/cmFt/Q=";
    for (args, expected) in [
        (vec![], "required"),
        (
            vec!["--recipient", &*identity],
            "recipient 1 is not valid: it is an identity",
        ),
        (
            vec!["--recipients-file", "identities.txt"],
            "recipient 2 is not valid",
        ),
        (vec!["--recipient", "age1nope"], "recipient 1 is not valid"),
        (
            vec!["--recipient", ecdsa],
            "only SSH keys of the types ssh-ed25519 and ssh-rsa",
        ),
        (
            vec!["--recipients-file", "empty.txt"],
            "no recipient is given",
        ),
        (vec!["--recipients-file", "large.txt"], "larger than"),
        (
            vec!["--recipients-file", "missing.txt"],
            "failed to read `missing.txt`",
        ),
        (
            vec!["--recipient", &*desk.recipient, "--mesh", "Not A Mesh"],
            "mesh",
        ),
    ] {
        let output = desk.seal(&args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert!(!stderr.contains(&identity), "{stderr}");
    }
}
