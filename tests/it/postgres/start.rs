//! The daemon and `plan --config` on Postgres, as a user starts them.

use std::fs;
use std::process::Output;

use super::certificates::Ca;
use crate::support::postgres::PASSWORD;
use crate::support::{Daemon, Postgres, Site, daemon::windlass};

/// A site on that server.
fn site(server: &Postgres) -> Site {
    let site = server
        .variables()
        .iter()
        .fold(Site::from_examples(), |site, (name, value)| {
            site.set(name, value)
        });
    let identity = site.state_dir().join("../store-identity.txt");
    fs::copy(site.state_dir().join("../identity.txt"), &identity).unwrap();
    site.set(
        "WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE",
        identity.to_str().unwrap(),
    )
}

/// Runs it to its end with these variables over the site's own.
fn ended(site: &Site, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    windlass()
        .args(arguments)
        .arg("--config")
        .arg(site.config())
        .envs(site.settings().iter().cloned())
        .env("WINDLASS_STATE_DIR", site.state_dir())
        .env("WINDLASS_LOG", "trace")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// That it ends with status 1 and one line that says why.
fn refused(site: &Site, arguments: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let output = ended(site, arguments, variables);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let mut lines = text.lines().filter(|line| line.starts_with("Error: "));
    let line = lines.next().unwrap_or_else(|| panic!("no error: {text}"));
    assert_eq!(lines.next(), None, "{text}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stdout));
    assert!(!all.contains(PASSWORD), "the password is in: {all}");
}

#[test]
fn the_daemon_runs_on_postgres_and_a_plan_reads_it() {
    let server = Postgres::start();
    let site = site(&server);
    let daemon: Daemon = site.start();
    assert!(!site.state_dir().join("windlass.db").exists());
    let repo = site.repo.path().to_str().unwrap().to_owned();
    let plan = ["plan", "--repo", &repo, "--detailed-exitcode"];
    let output = ended(&site, &plan, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn a_wrong_password_ends_the_start_with_a_line_that_does_not_hold_it() {
    let server = Postgres::start();
    let site = site(&server);
    let repo = site.repo.path().to_str().unwrap().to_owned();
    let wrong = format!("{PASSWORD}-of-yesterday");
    let variables = [("WINDLASS_STORE_POSTGRES_PASSWORD", wrong.as_str())];
    let address = format!("postgres://windlass@127.0.0.1:{}/windlass", server.port());
    let words = [
        address.as_str(),
        "TLS mode `disable`",
        "refuses the password",
    ];
    refused(&site, &["run"], &variables, &words);
    refused(&site, &["plan", "--repo", &repo], &variables, &words);
}

#[test]
fn a_server_that_does_not_fit_the_mode_ends_the_start() {
    let ca = Ca::new("the authority");
    let path = ca.path();
    let server = Postgres::start();
    let site = site(&server);
    let repo = site.repo.path().to_str().unwrap().to_owned();
    // In the reference's names.
    let variables = [
        ("KUMA_STORE_POSTGRES_TLS_MODE", "verifyCa"),
        ("KUMA_STORE_POSTGRES_TLS_CA_PATH", path.to_str().unwrap()),
    ];
    let words = ["127.0.0.1", "TLS mode `verifyCa`", "does not speak TLS"];
    refused(&site, &["run"], &variables, &words);
    refused(&site, &["plan", "--repo", &repo], &variables, &words);
}

#[test]
fn keys_are_not_kept_in_clear_unless_it_is_said() {
    let server = Postgres::start();
    let site = server
        .variables()
        .iter()
        .fold(Site::from_examples(), |site, (name, value)| {
            site.set(name, value)
        });
    let words = [
        "store.encryption.identityFile: must be set where the store is shared",
        "store.encryption.none",
    ];
    refused(&site, &["run"], &[], &words);

    let site = site.set("WINDLASS_STORE_ENCRYPTION_NONE", "true");
    drop(site.start());
    assert!(!site.state_dir().join("store-identity.txt").exists());
    let variables = [("WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE", "/identity.txt")];
    refused(&site, &["run"], &variables, &["leave one of them out"]);
}
