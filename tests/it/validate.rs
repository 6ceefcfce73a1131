//! `windlass validate`, as a user calls it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PEM: &str = "-----BEGIN EC PRIVATE KEY-----\nMIISECRETSECRET\n-----END EC PRIVATE KEY-----\n";

/// A folder with files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn validate(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windlass"))
        .arg("validate")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn diagnostics(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["diagnostics"].as_array().unwrap().clone()
}

fn places(output: &Output) -> Vec<String> {
    let place = |d: &Value| {
        let file = d["file"].as_str().unwrap();
        format!(
            "{file}:{}:{} {}",
            d["line"],
            d["column"],
            d["code"].as_str().unwrap()
        )
    };
    diagnostics(output).iter().map(place).collect()
}

const GOOD: &[u8] = b"type: Mesh\nname: demo\nmtls: {enabled: true}\n";

#[test]
fn a_good_folder_ends_with_status_0() {
    let folder = folder(&[
        ("demo/mesh.yaml", GOOD),
        ("windlass.yaml", b"drift: heal\n"),
    ]);
    let output = validate(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        "no errors in 2 files with 1 resource\n"
    );
    let output = validate(folder.path(), &["-o", "json", "demo"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(diagnostics(&output), Vec::<Value>::new());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn every_error_is_printed_with_its_line() {
    let folder = folder(&[
        (
            "demo/mesh.yaml",
            b"type: Mesh\nname: demo\nmtls:\n  enabled: yes\n  ca: {builtin: {}, provided: {}}\n  transitoin: {strategy: rolling}\n",
        ),
        (
            "demo/permissions.yml",
            "# Grüße\napiVersion: kuma.io/v1alpha1\nkind: TrafficPermission\nmesh: demo\nmetadata: {name: ä}\nspec:\n  sources:\n    - match: {env: \"p\u{1f600}\"}\n  destinations: []\n".as_bytes(),
        ),
        (
            "demo/ca.yaml",
            format!("type: ProvidedCa\nmesh: demo\nname: root\ncert: none\nkey: |\n  {}", PEM.replace('\n', "\n  ")).as_bytes(),
        ),
        ("other.yaml", b"type: Dataplane\nmesh: other\nname: dp\nnetworking:\n  address: localhost\n\tinbound: []\n"),
        ("windlass.yaml", b"drift: heel\n"),
    ]);
    let output = validate(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    insta::assert_snapshot!(text(&output.stderr));
}

#[test]
fn json_has_the_shape_of_a_plan() {
    let folder = folder(&[(
        "demo/mesh.yaml",
        b"type: Mesh\nname: demo\nmtls:\n  ca: {}\n",
    )]);
    let output = validate(folder.path(), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = serde_json::json!([{
        "code": "WL0104",
        "severity": "error",
        "message": "exactly one of \"builtin\" and \"provided\" must be set",
        "field": "mtls.ca",
        "file": "demo/mesh.yaml",
        "line": 4,
        "column": 7,
        "hint": "write `builtin: {}` or `provided: {}`",
    }]);
    assert_eq!(Value::from(diagnostics(&output)), expected);
}

#[test]
fn hidden_folders_and_ignored_files_are_left_out() {
    let bad = b"type: Mash\n";
    let folder = folder(&[
        ("mesh.yaml", GOOD),
        (".github/workflow.yaml", bad),
        ("charts/x/values.yaml", bad),
        ("charts/x/.gitignore", b"*\n"),
        ("docs/note.txt", bad),
        ("drafts/a.yml", bad),
        ("drafts/keep.yml", bad),
        (".hidden.yaml", bad),
        (".gitignore", b"drafts\n"),
        (".windlassignore", b"/charts\ndrafts/*\n!keep.yml\n"),
    ]);
    let output = validate(folder.path(), &["-o", "json"]);
    assert_eq!(
        places(&output),
        [".hidden.yaml:1:7 WL0101", "drafts/keep.yml:1:7 WL0101"]
    );
}

#[test]
fn one_file_can_be_validated() {
    let folder = folder(&[
        ("demo/mesh.yaml", GOOD),
        ("demo/bad.yaml", b"type: Mash\n"),
        (
            "demo/allow.yaml",
            b"type: TrafficPermission\nmesh: demo\nname: all\n\
              sources: [{match: {service: '*'}}]\ndestinations: [{match: {service: '*'}}]\n",
        ),
    ]);
    assert_eq!(
        validate(folder.path(), &["demo/mesh.yaml"]).status.code(),
        Some(0)
    );
    let output = validate(folder.path(), &["demo/bad.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(" --> demo/bad.yaml:1:7\n"),
        "{output:?}"
    );
    // Its Mesh is in another file.
    let output = validate(folder.path(), &["demo/allow.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = validate(folder.path(), &["nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("Error: cannot read `nowhere`"),
        "{output:?}"
    );
}

#[test]
fn private_keys_are_never_shown() {
    let one_line = PEM.replace('\n', "\\n");
    let indented = PEM.replace('\n', "\n  ");
    let cases = [
        format!("type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey: |\n  {indented}"),
        format!("type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey: \"{one_line}\"\n"),
        format!("{{type: ProvidedCa, mesh: a, name: b, cert: x, \"key\": \"{one_line}\"}}\n"),
        format!("type: ProvidedCa\nmesh: a\nname: b\nkye: \"{one_line}\"\n"),
        format!("type: ProvidedCa\nmesh: a\nname: b\ncert: |\n  {indented}\nkey: x\n"),
        // Not indented, so that it is no YAML.
        format!("type: ProvidedCa\nmesh: a\nname: b\nkey: |\n{PEM}"),
        format!("type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey:\n  {indented}: [\n"),
        "type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey: MIISECRETSECRET\n".to_owned(),
        "type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey:\n  MIISECRETSECRET\n".to_owned(),
        "type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey: [MIISECRETSECRET]\n".to_owned(),
        "type: ProvidedCa\nmesh: a\nname: b\ncert: x\nkey: AGE-SECRET-KEY-1SECRETSECRET\n"
            .to_owned(),
    ];
    for yaml in cases {
        let folder = folder(&[("a.yaml", yaml.as_bytes())]);
        for args in [&[][..], &["-o", "json"]] {
            let output = validate(folder.path(), args);
            assert_eq!(output.status.code(), Some(1), "{yaml}");
            let printed = text(&output.stdout) + &text(&output.stderr);
            assert!(!printed.contains("SECRETSECRET"), "{yaml}\n{printed}");
        }
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let folder = folder(&[
        (
            "a.yaml",
            "type: Mesh\nname: demo\nfoo\u{202E}\u{9b}31m: \u{200B}1\n".as_bytes(),
        ),
        ("b.yaml", b"type: \x1b[31mMesh\n"),
        ("c.yaml", b"type: \"\\e[31mMesh\"\n\"\\e]0;x\\a\": 1\n"),
        ("\u{1b}[31md.yaml", b"type: Mash\n"),
    ]);
    let output = validate(folder.path(), &[]);
    let printed = text(&output.stderr);
    let raw = |c: char| c.is_control() && c != '\n' || ('\u{200B}'..='\u{202E}').contains(&c);
    assert!(!printed.contains(raw), "{printed:?}");
    assert_eq!(printed.matches("error[").count(), 4, "{printed}");
}

#[test]
fn odd_files_are_told_and_not_read() {
    let folder = folder(&[
        ("large.yaml", &vec![b'#'; (1 << 20) + 1]),
        ("latin1.yaml", b"type: Mesh\nname: \xe4\n"),
        (
            "long.yaml",
            &[b"type: ".to_vec(), vec![b'x'; 900_000]].concat(),
        ),
    ]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
    let output = validate(folder.path(), &["-o", "json"]);
    assert_eq!(
        places(&output),
        [
            "large.yaml:1:1 WL0001",
            "latin1.yaml:2:7 WL0002",
            "link.yaml:1:1 WL0612",
            "long.yaml:1:7 WL0101"
        ]
    );
    let output = validate(folder.path(), &[]);
    assert!(output.stderr.len() < 4000, "{}", output.stderr.len());
    assert!(!text(&output.stderr).contains("root:"));
}

/// A root and its key as PEM.
fn root() -> (String, String) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

/// The ProvidedCa of a root and a key, sealed to `recipient`. They need not match.
fn sealed(cert: &str, key: &str, recipient: &age::x25519::Recipient) -> String {
    let armor = age::encrypt_and_armor(recipient, key.as_bytes()).unwrap();
    let (mesh, name) = ("demo".parse().unwrap(), "root".parse().unwrap());
    windlass::manifest::provided_ca_yaml(&mesh, &name, cert, &armor)
}

#[test]
fn an_identity_opens_sealed_keys() {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    let other = age::x25519::Identity::generate().to_public();
    let (cert, key) = root();
    let (_, wrong_key) = root();
    let mesh = "type: Mesh\nname: demo\nmtls: {ca: {provided: {}}}\n";
    let cases = [
        (sealed(&cert, &key, &identity.to_public()), None),
        (
            sealed(&cert, &wrong_key, &identity.to_public()),
            Some((1, "WL0401")),
        ),
        (sealed(&cert, &key, &other), Some((0, "WL0603"))),
        (sealed("", &key, &identity.to_public()), Some((1, "WL0401"))),
    ];
    for (yaml, expected) in cases {
        let folder = folder(&[
            ("mesh.yaml", mesh.as_bytes()),
            ("root.yaml", yaml.as_bytes()),
            (
                "identity.txt",
                identity.to_string().expose_secret().as_bytes(),
            ),
        ]);
        let output = validate(folder.path(), &["-o", "json", "--identity", "identity.txt"]);
        let found: Vec<_> = diagnostics(&output)
            .iter()
            .map(|d| {
                (
                    d["line"].as_u64().unwrap(),
                    d["code"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        // A sealed key that does not open is told where it stands: behind the certificate.
        let key_line = yaml
            .lines()
            .position(|line| line.starts_with("key:"))
            .unwrap() as u64
            + 1;
        let expected =
            expected.map(|(line, code)| (if line == 0 { key_line } else { line }, code.to_owned()));
        assert_eq!(found, Vec::from_iter(expected), "{output:?}");
    }
    let folder = folder(&[("root.yaml", GOOD), ("identity.txt", b"nothing")]);
    let output = validate(folder.path(), &["--identity", "identity.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("Error: "), "{output:?}");
}
