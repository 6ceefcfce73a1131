//! Keeps the rules of the source tree true that no compiler checks: which
//! modules are pure, how long a file is, and what a test must not do.

mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use scan::NamedPath;

/// The modules that compute and do nothing else: files, and folders with all in them.
const PURE: [&str; 14] = [
    "model",
    "manifest",
    "check",
    "plan",
    "transition",
    "outlook",
    "ca",
    "dataplane/answer",
    "dataplane/bootstrap",
    "dataplane/token",
    "xds/evidence/record",
    "xds/resource",
    "xds/snapshot",
    "xds/to_envoy",
];

/// The session machine; its gRPC server stands beside it.
const PURE_SESSION: &str = "xds/session";

/// What a pure module does not name: the beginnings of paths.
const BANNED: [&str; 64] = [
    // The runtime, the network and the databases.
    "tokio",
    "tokio_stream",
    "tokio_util",
    "tonic",
    "axum",
    "ureq",
    "sqlx",
    "kube",
    "git2",
    "notify",
    "hostname",
    "hyper",
    "hyper_util",
    "ignore",
    "tempfile",
    // The system.
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::path",
    "std::process",
    "std::thread",
    // The clock.
    "crate::clock",
    "std::time::Instant",
    "std::time::SystemTime",
    "time::OffsetDateTime::now_local",
    "time::OffsetDateTime::now_utc",
    "OffsetDateTime::now_local",
    "OffsetDateTime::now_utc",
    // Randomness that nobody passed in.
    "aws_lc_rs::rand",
    "getrandom",
    "rand::random",
    "rand::rng",
    "rand::rngs::OsRng",
    "rand::rngs::ThreadRng",
    "rand::thread_rng",
    "rcgen",
    "std::hash::RandomState",
    // The parts of Windlass that do any of this.
    "crate::api",
    "crate::app",
    "crate::apply",
    "crate::cli",
    "crate::config",
    "crate::dataplane",
    "crate::reconcile",
    "crate::source",
    "crate::state",
    "crate::store",
    "crate::telemetry",
    "crate::token",
    "crate::xds::accept",
    "crate::xds::dataplane_service",
    "crate::xds::evidence",
    "crate::xds::index",
    "crate::xds::leaf",
    "crate::xds::metrics",
    "crate::xds::server",
    "crate::xds::tls",
];

/// A CA's keys and serial numbers come out of aws-lc-rs.
const RANDOM: [&str; 2] = ["aws_lc_rs::rand", "rcgen"];

/// The banned beginning of a path, if it has one.
fn banned(path: &NamedPath) -> Option<&'static str> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    if segments.len() == 1 && !path.imported {
        return None;
    }
    if segments == ["std"] {
        return Some("std as a whole");
    }
    BANNED.into_iter().find(|banned| {
        let banned: Vec<&str> = banned.split("::").collect();
        segments.starts_with(&banned)
    })
}

fn violations(file: &str, source: &str) -> Vec<String> {
    scan::paths(source)
        .iter()
        .filter_map(|path| {
            let name = path.segments.join("::");
            let is_random = |rule: &&str| RANDOM.contains(rule) && file.starts_with("src/ca");
            let rule = banned(path).filter(|rule| !is_random(rule));
            rule.map(|rule| format!("{file}:{}: {name} (`{rule}`)", path.line))
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the package, as a path from its root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the package") {
            let path = entry.expect("an entry of the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(
                    path.strip_prefix(root())
                        .expect("below the root")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).expect("a readable source file")
}

/// Whether a file of `src` belongs to a pure module and is more than its tests.
fn is_pure(file: &Path) -> bool {
    let module = file.with_extension("");
    let pure = PURE.iter().chain([&PURE_SESSION]);
    !is_test(file)
        && pure
            .map(|name| Path::new("src").join(name))
            .any(|name| module.starts_with(name))
}

/// `tests.rs` and what is in a folder `tests`.
fn is_test(file: &Path) -> bool {
    file.with_extension("")
        .components()
        .any(|part| part.as_os_str() == "tests")
}

#[test]
fn pure_modules_name_nothing_that_acts() {
    let files: Vec<PathBuf> = rust_files("src")
        .into_iter()
        .filter(|file| is_pure(file))
        .collect();
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| violations(&file.display().to_string(), &read(file)))
        .collect();
    assert!(
        found.is_empty(),
        "a pure module takes what it needs as an argument (docs/ARCHITECTURE.md):\n{}",
        found.join("\n")
    );
}

#[test]
fn every_pure_module_is_looked_at() {
    let files = rust_files("src");
    for module in ["model", "manifest", "check", "plan", "ca"] {
        let file = Path::new("src").join(module).with_extension("rs");
        assert!(
            files.contains(&file) && is_pure(&file),
            "{}",
            file.display()
        );
    }
    assert!(is_pure(Path::new("src/xds/session/table.rs")));
    assert!(!is_pure(Path::new("src/xds/session/tests.rs")));
    assert!(!is_pure(Path::new("src/xds/server.rs")));
    assert!(!is_pure(Path::new("src/planet.rs")));
}

#[test]
fn a_planted_violation_is_found_with_its_line() {
    let planted = [
        ("use std::fs;", "std::fs"),
        ("use std::{io, fs::File};", "std::fs::File"),
        (
            "use std::{collections::{BTreeMap}, time::{Duration, Instant}};",
            "std::time::Instant",
        ),
        ("use ::std::fs;", "std::fs"),
        (
            "fn f() { let _ = ::tokio::spawn(async {}); }",
            "tokio::spawn",
        ),
        (
            "fn f() { assert!(std::env::var_os(\"HOME\").is_some()); }",
            "std::env::var_os",
        ),
        ("fn f() { crate::clock::now(); }", "crate::clock::now"),
        ("use crate::{clock, model};", "crate::clock"),
        ("fn f() -> u8 { rand::random() }", "rand::random"),
        (
            "use time::OffsetDateTime; fn f() { OffsetDateTime::now_utc(); }",
            "OffsetDateTime::now_utc",
        ),
        ("#[cfg(test)] mod tests { } use git2::Oid;", "git2::Oid"),
        ("#[cfg(test)] mod tests; use sqlx::Row;", "sqlx::Row"),
        ("use std as core;", "std"),
        ("use tokio;", "tokio"),
        ("#[cfg(not(test))] use kube::Client;", "kube::Client"),
        ("use crate::store::Store;", "crate::store::Store"),
        ("use crate::xds::server::Sds;", "crate::xds::server::Sds"),
        ("use aws_lc_rs::{rand, digest};", "aws_lc_rs::rand"),
        (
            "fn f(p: &str) -> bool { std::path::Path::new(p).exists() }",
            "std::path::Path::new",
        ),
    ];
    for (source, path) in planted {
        let found = violations("planted.rs", &format!("\n{source}"));
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(
            found[0].starts_with(&format!("planted.rs:2: {path} ")),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn what_is_not_code_or_only_sounds_alike_is_no_violation() {
    let innocent = [
        "//! Talks of std::fs and tokio::spawn.\n/// Not `crate::clock::now()`.\nstruct S;",
        "/* use std::fs; */ const A: &str = \"use std::fs\"; const B: &str = r#\"tokio::spawn\"#;",
        "use std::time::Duration; use time::OffsetDateTime;",
        "use crate::model::clock; mod tokio_like { pub struct Instant; }",
        "#[cfg(test)] mod tests { use std::fs; fn f() { tokio::spawn(async {}); } }",
        "#[cfg(test)] #[path = \"x.rs\"] mod tests { use std::fs; }",
        "use rand::Rng; fn f(rng: &mut impl Rng) -> u8 { rng.random() }",
        "fn f(notify: u8, source: u8) -> u8 { self::hosts(notify + source) }",
    ];
    for source in innocent {
        assert_eq!(
            violations("innocent.rs", source),
            Vec::<String>::new(),
            "{source}"
        );
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines_and_modules_name_themselves() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(rust_files);
    let found: Vec<String> = files
        .filter_map(|file| {
            let lines = read(&file).lines().count();
            if file.ends_with("mod.rs") {
                Some(format!("{}: use `name.rs` + `name/`", file.display()))
            } else if lines > 500 {
                Some(format!("{}: {lines} lines; give it rooms", file.display()))
            } else {
                None
            }
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What a test must not do, as the ends of paths: wait blindly, or be skipped.
fn dishonest(source: &str) -> Vec<NamedPath> {
    // Where time stands still until someone waits for it, waiting is no sleep.
    let paused = source.contains("start_paused") || source.contains("time::pause(");
    scan::paths(source)
        .into_iter()
        .filter(|path| {
            let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            segments == ["ignore"]
                || segments.ends_with(&["thread", "sleep"])
                || (!paused && segments.ends_with(&["time", "sleep"]))
        })
        .collect()
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let tests = rust_files("tests").into_iter();
    let units = rust_files("src").into_iter().filter(|file| is_test(file));
    for file in tests.chain(units) {
        let found = dishonest(&read(&file));
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
    assert_eq!(dishonest("#[ignore] fn f() {}").len(), 1);
    assert_eq!(dishonest("fn f() { std::thread::sleep(D); }").len(), 1);
    assert_eq!(dishonest("use tokio::time::{self, sleep};").len(), 1);
    assert_eq!(dishonest("use ignore::WalkBuilder; // #[ignore]").len(), 0);
}
