//! `windlass dp run`: a real daemon and a real Envoy, or a script in its place.

pub(crate) mod drain;
pub(crate) mod refusals;
pub(crate) mod register;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use windlass::dataplane::bootstrap::{AdminAddress, BootstrapParams, Protocol, bootstrap_over};

use crate::support::daemon::mesh;
use crate::support::{Daemon, DpRun, Site, envoy, http, wait};

/// A token of `default/dp-echo-1`.
fn token_for(daemon: &Daemon, valid_for: &str) -> String {
    let body = json!({"name": "dp-echo-1", "mesh": "default", "validFor": valid_for});
    http::post(&daemon.listeners().admin, "/tokens", &body)
        .and_then(http::Answer::ok)
        .expect("a token")
        .body
}

/// Waits until the control plane has a stream of a proxy of `default`.
fn wait_until_online(daemon: &Daemon) {
    daemon.wait_until("the dataplane to be online", |status| {
        mesh(status, "default")["dataplanes"]["online"] == 1
    });
}

/// What the daemon, or each of several replicas, has logged, by its time.
fn in_order(log: &str) -> String {
    let time = |line: &&str| line.split(' ').next().map(str::to_owned);
    let mut lines: Vec<&str> = log.lines().filter(|line| line.starts_with("20")).collect();
    lines.sort_by_key(time);
    lines.join("\n")
}

/// All files below a folder, without sockets.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

#[test]
fn envoy_takes_the_bootstrap_over_both_protocols_without_a_warning() {
    let ca_pem = include_str!("../../src/check/fixtures/p521.pem");
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        for admin in [
            None,
            Some(AdminAddress::Port(1)),
            Some(AdminAddress::Pipe("/a")),
        ] {
            let params = BootstrapParams {
                mesh: "default",
                name: "dp-echo-1",
                admin,
                token_path: "/token",
                xds: "127.0.0.1:5678",
                ca_pem,
                drain_seconds: Some(10),
            };
            let output = Command::new(envoy::program())
                .args(["--mode", "validate", "--log-level", "warning"])
                .args([
                    "--config-yaml",
                    &bootstrap_over(protocol, &params).to_string(),
                ])
                .output()
                .expect("Envoy starts");
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{words}");
            assert_eq!(words, "", "{protocol:?} {admin:?}");
        }
    }
}

#[test]
pub(crate) fn envoy_connects_and_no_secret_is_anywhere_but_in_the_token_file() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut run = DpRun::new(&daemon, "default", "dp-echo-1").start();
    let token = fs::read_to_string(run.token_file()).expect("the token");
    let mut seen = vec![("the log".to_owned(), run.log())];
    for pid in [run.pid(), run.envoy_pid()] {
        for of_process in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{of_process}")).expect("the process");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            seen.push((format!("{of_process} of {pid}"), text));
        }
    }
    for file in files(run.dir()) {
        if file != run.token_file() {
            let text = String::from_utf8_lossy(&fs::read(&file).expect("a file")).into_owned();
            seen.push((file.display().to_string(), text));
        }
    }
    let (_, signature) = token.rsplit_once('.').expect("a JWT");
    for (place, text) in seen {
        assert!(!text.contains(&token), "the token is in {place}");
        assert!(!text.contains(signature), "the signature is in {place}");
        assert!(!text.contains("PRIVATE KEY"), "a key is in {place}");
    }
    assert!(!run.log().contains("[warning]"), "{}", run.log());

    let envoy = run.envoy_pid();
    run.signal("TERM");
    let status = run.wait();
    assert!(status.success(), "{status}\n{}", run.log());
    assert!(!is_alive(envoy));
    let left: Vec<_> = files(run.dir());
    assert_eq!(left.len(), 2, "the token and the log are left: {left:?}");
}

#[test]
pub(crate) fn the_token_is_renewed_before_it_ends_and_the_same_envoy_goes_on() {
    let site = Site::from_examples();
    let daemon = site.start();
    let run = DpRun::new(&daemon, "default", "dp-echo-1");
    let first = token_for(&daemon, "6s");
    // As `echo` writes it.
    run.write_token(format!("{first}\n").as_bytes());
    let mut run = run.start();
    assert_eq!(
        fs::read_to_string(run.token_file()).expect("a token"),
        first
    );
    let envoy = run.envoy_pid();
    wait::until("the end of the first stream, and the next one", || {
        run.assert_running();
        let log = in_order(&daemon.log());
        let (_, after) = log
            .split_once("code=Some(Unauthenticated)")
            .ok_or_else(|| log.clone())?;
        let is_back = after.contains("stream opened dataplane=default/dp-echo-1");
        is_back.then_some(()).ok_or(log)
    });
    let mode = fs::metadata(run.token_file())
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let held = fs::read_to_string(run.token_file()).expect("a token");
    assert_ne!(held, first);
    assert_eq!(held, held.trim());
    assert_eq!(run.envoy_pid(), envoy);
    assert!(is_alive(envoy), "{}", run.log());
    assert!(!run.log().contains(&held), "the token is in the log");
}

#[test]
pub(crate) fn envoy_finds_a_control_plane_that_was_away_within_seconds() {
    let site = Site::from_examples();
    let daemon = site.start();
    let (_, port) = daemon.listeners().xds.rsplit_once(':').expect("a port");
    let site = site.set("WINDLASS_XDS_PORT", port);
    let mut run = DpRun::new(&daemon, "default", "dp-echo-1").start();
    daemon.kill9();
    let daemon = site.start();
    wait_until_online(&daemon);
    run.assert_running();
}

#[test]
pub(crate) fn envoy_ends_with_a_dp_run_that_is_killed() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut run = DpRun::new(&daemon, "default", "dp-echo-1").start();
    let envoy = run.envoy_pid();
    run.signal("KILL");
    run.wait();
    wait::until("the end of Envoy", || {
        if is_alive(envoy) {
            Err("it is alive")
        } else {
            Ok(())
        }
    });
}

#[test]
fn exit_status_and_output_of_envoy_are_passed_on() {
    let site = Site::from_examples();
    let daemon = site.start();
    let script = "echo to-stdout; echo to-stderr >&2; exit 7";
    let run = DpRun::new(&daemon, "default", "dp-echo-1").with_script(script);
    let mut run = run.spawn();
    assert_eq!(run.wait().code(), Some(7), "{}", run.log());
    for words in ["to-stdout\n", "to-stderr\n", "Envoy ended by itself"] {
        assert!(
            run.log().contains(words),
            "{words:?} is not in\n{}",
            run.log()
        );
    }
    let killed = DpRun::new(&daemon, "default", "dp-echo-1").with_script("kill -9 $$");
    assert_eq!(killed.spawn().wait().code(), Some(128 + 9));
}

#[test]
pub(crate) fn envoy_is_started_with_what_the_control_plane_answers() {
    let site = Site::from_examples();
    let daemon = site.start();
    let run = DpRun::new(&daemon, "default", "dp-echo-1")
        .with(&["--admin-port", "9901"])
        .with_script("printf '%s' \"$2\" > \"$TMPDIR/bootstrap\"");
    let token_path = run.token_file();
    let mut run = run.spawn();
    assert!(run.wait().success(), "{}", run.log());
    let started = fs::read_to_string(run.dir().join("bootstrap")).expect("a bootstrap");
    let started: serde_json::Value = serde_json::from_str(&started).expect("JSON");
    let form = json!({"name": "dp-echo-1", "mesh": "default", "adminPort": 9901,
        "dataplaneTokenPath": token_path});
    let answer = http::post(&daemon.listeners().api, "/bootstrap", &form);
    let mut answer = answer
        .and_then(http::Answer::ok)
        .expect("a bootstrap")
        .json();
    // What only who starts Envoy knows: the default of `--drain-time`.
    answer["node"]["metadata"] = json!({"windlass.drainTimeSeconds": 10});
    assert_eq!(started, answer);
}

#[test]
fn a_program_that_ignores_signals_is_killed() {
    let site = Site::from_examples();
    let daemon = site.start();
    let script = "trap '' TERM; echo ready; while :; do read -r _ < /dev/null; done";
    let mut run = DpRun::new(&daemon, "default", "dp-echo-1")
        .with_script(script)
        .spawn();
    wait::until("the program", || {
        let log = run.log();
        if log.contains("ready") {
            Ok(())
        } else {
            Err(log)
        }
    });
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(128 + 9), "{}", run.log());
    assert!(run.log().contains("Envoy does not end; killing it"));
}

#[test]
fn a_program_that_cannot_be_drained_is_ended_nevertheless() {
    let site = Site::from_examples();
    let daemon = site.start();
    let run = DpRun::new(&daemon, "default", "dp-echo-1").with_script("exec tail -f /dev/null");
    let mut run = run.spawn();
    run.envoy_pid();
    run.signal("INT");
    assert_eq!(run.wait().code(), Some(128 + 15), "{}", run.log());
    assert!(run.log().contains("failed to drain"), "{}", run.log());
}
