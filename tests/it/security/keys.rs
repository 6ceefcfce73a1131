//! Private keys and tokens are nowhere in clear, and the files are their owner's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{by_shell, contains, files_below};
use crate::support::daemon::windlass;
use crate::support::{Daemon, MeshCa, Site, http, sds, wait};

/// What of a secret may be nowhere.
struct Secret {
    what: &'static str,
    parts: Vec<Vec<u8>>,
}

impl Secret {
    /// A private key: its text, its bytes, and the number in it.
    fn key(what: &'static str, pem: &str) -> Self {
        let body: String = pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = STANDARD.decode(&body).unwrap();
        // P-256 in PKCS#8 (RFC 5915): the number follows `04 20`.
        let marker = [0x02, 0x01, 0x01, 0x04, 0x20];
        let at = der.windows(5).position(|window| window == marker).unwrap() + 5;
        let number = &der[at..at + 32];
        let hex: String = number
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat();
        let list = format!("{number:?}");
        let lines = pem.lines().filter(|line| line.len() == 64);
        let mut parts: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
        // The first line is nearly the same for every key.
        parts.remove(0);
        parts.extend([
            number.to_vec(),
            hex.to_uppercase().into_bytes(),
            hex.into_bytes(),
            list.trim_matches(['[', ']']).as_bytes().to_vec(),
            STANDARD
                .encode(number)
                .trim_end_matches('=')
                .as_bytes()
                .to_vec(),
        ]);
        Self { what, parts }
    }

    /// A token: its signature, without which it is none.
    fn token(token: &str) -> Self {
        let signature = token.rsplit('.').next().unwrap();
        Self {
            what: "a token",
            parts: vec![signature.as_bytes().to_vec()],
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.parts.iter().any(|part| contains(bytes, part))
    }
}

/// What marks a private key whatever its number: PEM, and PKCS#8 of EC and RSA keys.
const MARKS: [&[u8]; 3] = [
    b"PRIVATE KEY-----",
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
];

const MESH: &str = "type: Mesh\nname: secure\nmtls: {enabled: true, ca: {provided: {}}}\n";
const DATAPLANE: &str = "type: Dataplane\nmesh: secure\nname: dp\nnetworking:\n  \
     address: 127.0.0.1\n  inbound: [{port: 8080, tags: {service: web}}]\n";

/// All that the daemon says over HTTP and all that commands print of it.
fn told(site: &Site, daemon: &Daemon) -> Vec<(String, Vec<u8>)> {
    let mut told = Vec::new();
    for path in [
        "/status",
        "/state",
        "/history",
        "/meshes",
        "/meshes/secure",
        "/dataplanes",
        "/traffic-permissions",
        "/meshes/secure/dataplanes",
        "/catalog",
        "/xds-ca.pem",
    ] {
        let answer = http::get(&daemon.listeners().api, path).and_then(http::Answer::ok);
        told.push((path.to_owned(), answer.unwrap().body.into_bytes()));
    }
    let metrics = http::get(&daemon.listeners().diagnostics, "/metrics").unwrap();
    told.push(("/metrics".to_owned(), metrics.body.into_bytes()));
    let repo = site.repo.path().to_str().unwrap();
    for command in [
        "plan -o json",
        "plan -o text",
        "plan -o markdown",
        "status",
        "history",
        "get meshes -o yaml",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        if args[0] == "plan" {
            args.extend(["--repo", repo]);
        }
        let output = daemon.cli(&args).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        told.push((command.to_owned(), [output.stdout, output.stderr].concat()));
    }
    // What a start would do, with the keys at hand.
    let mut plan = windlass();
    plan.args(["plan", "--base", "HEAD~1", "-o", "json", "--repo", repo]);
    told.push(("plan --base".to_owned(), plan.output().unwrap().stdout));
    told
}

#[test]
fn no_key_and_no_token_is_in_clear_anywhere() {
    let site = Site::from_examples().set("WINDLASS_LOG", "trace");
    let mut daemon = Daemon::spawn(&site);
    daemon.wait_until_ready();
    let ca = MeshCa::for_mesh("secure");
    let document = ca.document("secure", "root");
    let commit = site.repo.commit(
        &[
            ("secure/mesh.yaml", Some(MESH)),
            ("secure/dp.yaml", Some(DATAPLANE)),
            ("secure/ca.yaml", Some(&document)),
        ],
        "a provided CA",
    );
    daemon.wait_until_applied(&commit);
    let token = daemon.token("dp", "secure");
    let leaf = sds::fetch(&daemon, "secure", "dp").unwrap();
    let secrets = [
        Secret::key("the provided CA's key", &ca.key_pem()),
        Secret::key("a leaf's key", &leaf.key),
        Secret::token(&token),
    ];
    // The search finds what it searches for.
    assert!(secrets[0].is_in(ca.key_pem().as_bytes()));
    assert!(secrets[1].is_in(leaf.key.as_bytes()));
    assert!(MARKS.iter().any(|mark| contains(leaf.key.as_bytes(), mark)));

    let mut places = told(&site, &daemon);
    // While it runs, and once the log is written into the database.
    places.extend(files_below(&site.state_dir()));
    let log = daemon.log();
    assert!(
        log.contains("TRACE") && log.contains("applied"),
        "this log proves nothing"
    );
    assert!(daemon.terminate().success());
    places.extend(files_below(&site.state_dir()));
    assert!(
        places
            .iter()
            .any(|(place, _)| place.ends_with("windlass.db"))
    );
    assert!(
        places
            .iter()
            .any(|(place, _)| place.ends_with("windlass.db-wal"))
    );
    for (place, bytes) in &places {
        for secret in &secrets {
            assert!(!secret.is_in(bytes), "{} is in {place}", secret.what);
        }
        for mark in MARKS {
            let mark_text = String::from_utf8_lossy(mark);
            assert!(!contains(bytes, mark), "{mark_text:?} is in {place}");
        }
        let is_identity = place.ends_with("identity.txt");
        let identity = contains(bytes, b"AGE-SECRET-KEY-1");
        assert!(is_identity || !identity, "an age identity is in {place}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_state_folder_is_its_owners_alone_whatever_the_umask() {
    let site = Site::from_examples();
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("below").join("state");
    let mut child = by_shell("umask 0; exec \"$0\" \"$@\"")
        .args(["run", "--config"])
        .arg(site.config())
        .arg("--state-dir")
        .arg(&state)
        .stderr(fs::File::create(home.path().join("log")).unwrap())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let log = || fs::read_to_string(home.path().join("log")).unwrap();
    wait::until("the daemon to listen", || {
        let there = state.join("listeners.json").exists();
        if there { Ok(()) } else { Err(log()) }
    });
    let modes: Vec<_> = files_below(&state)
        .into_iter()
        .map(|(path, bytes)| (mode(Path::new(&path)), path, bytes))
        .collect();
    let (state_mode, above) = (mode(&state), mode(&home.path().join("below")));
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!((state_mode, above), (0o700, 0o700));
    assert!(modes.len() >= 5, "{}", log());
    let mut identities = 0;
    for (mode, path, bytes) in modes {
        assert_eq!(mode & 0o022, 0, "others may write {path}: {mode:o}");
        let public = ["xds-ca.pem", "listeners.json"];
        let is_public = public.iter().any(|name| path.ends_with(name));
        assert!(
            is_public || mode.trailing_zeros() >= 6,
            "others may read {path}: {mode:o}"
        );
        if contains(&bytes, b"AGE-SECRET-KEY-1") {
            identities += 1;
            assert_eq!(mode, 0o600, "{path}");
        }
    }
    assert_eq!(identities, 1);
}
