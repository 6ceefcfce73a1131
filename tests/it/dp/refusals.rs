//! What `dp run` says before it starts anything.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::token_for;
use crate::support::{DpRun, Site};

/// The words of a run that is refused with status 1 before it starts the program.
fn refusal(run: DpRun) -> String {
    let marker = tempfile::tempdir().expect("a folder");
    let started = marker.path().join("started");
    let (status, words) = run
        .with_script(&format!("touch '{}'", started.display()))
        .refused();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(!started.exists(), "it was started: {words}");
    words
}

fn assert_says(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "{part:?} is not in\n{words}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let run = DpRun::at("http://127.0.0.1:1", "default", "dp-echo-1").with(&[
        "--binary-path",
        "/missing/envoy",
        "--ca-cert-file",
        "/missing/ca.pem",
    ]);
    let (status, words) = run.refused();
    assert_eq!(status.code(), Some(1), "{words}");
    assert_says(
        &words,
        &[
            "Error: dataplane default/dp-echo-1 cannot be started: 4 problems\n",
            "* --dataplane-token-file: `",
            "the file does not exist\n",
            "* --binary-path: there is nothing at `/missing/envoy`\n",
            "* --ca-cert-file: `/missing/ca.pem`: the file cannot be read: No such file",
            "* --cp-address: no control plane answers at http://127.0.0.1:1",
            "`windlass generate dataplane-token --mesh default --name dp-echo-1`",
            "`windlass run` starts one; `--cp-address URL` names another",
        ],
    );
}

#[test]
pub(crate) fn another_server_at_the_address_of_the_control_plane_is_told_apart() {
    let site = Site::from_examples();
    let daemon = site.start();
    let address = format!("http://{}", daemon.listeners().admin);
    let run = DpRun::at(&address, "default", "dp-echo-1");
    run.write_token(daemon.token("dp-echo-1", "default").as_bytes());
    assert_says(
        &refusal(run),
        &["* --cp-address: ", "Its port is 5681 unless configured"],
    );
}

#[test]
pub(crate) fn a_token_that_will_not_do_is_refused_with_why() {
    let site = Site::from_examples();
    let daemon = site.start();
    let with_token = |token: &str| {
        let run = DpRun::new(&daemon, "default", "dp-web-1");
        run.write_token(token.as_bytes());
        refusal(run)
    };
    assert_says(&with_token(""), &["token`: the file is empty\n"]);
    assert_says(
        &with_token("hello"),
        &["it holds no dataplane token (a JWT)\n"],
    );
    let long = "x".repeat(9000);
    assert_says(&with_token(&long), &["the file is larger than 8 KiB"]);
    let other = token_for(&daemon, "1h");
    let words = with_token(&other);
    assert_says(
        &words,
        &["it holds the token of dataplane default/dp-echo-1, not of default/dp-web-1\n"],
    );
    assert!(!words.contains(&other), "{words}");
    // Its form is right, but another key has signed it.
    let forged = daemon.token("dp-web-1", "default");
    let (rest, _) = forged.rsplit_once('.').expect("a JWT");
    let words = with_token(&format!("{rest}.{}", "A".repeat(342)));
    assert_says(
        &words,
        &["the control plane does not accept the token", "hint: "],
    );
}

#[test]
pub(crate) fn a_mesh_or_a_dataplane_that_is_not_known_is_refused_with_what_to_do() {
    let site = Site::from_examples();
    let daemon = site.start();
    let words = refusal(DpRun::new(&daemon, "nowhere", "dp-1"));
    assert_says(&words, &["* --mesh: there is no mesh nowhere at http://"]);
    let words = refusal(DpRun::new(&daemon, "default", "dp-unknown"));
    assert_says(
        &words,
        &[
            "* --name: there is no dataplane default/dp-unknown at http://",
            "hint: commit the Dataplane to the Git repository, or register it with",
        ],
    );
}

#[test]
pub(crate) fn a_control_plane_that_the_pinned_ca_does_not_prove_is_refused() {
    let site = Site::from_examples();
    let daemon = site.start();
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.pem");
    fs::write(&other, include_str!("../../../src/check/fixtures/p521.pem")).expect("a file");
    let pin = |file: &std::path::Path| {
        let file = file.to_str().expect("UTF-8").to_owned();
        DpRun::new(&daemon, "default", "dp-echo-1").with(&["--ca-cert-file", &file])
    };
    let words = refusal(pin(&other));
    assert_says(
        &words,
        &["is not trusted", "hint: is `--ca-cert-file` the xds-ca.pem"],
    );
    pin(&daemon.xds_ca()).start();
}

#[test]
pub(crate) fn a_token_file_that_others_can_read_is_warned_of() {
    let site = Site::from_examples();
    let daemon = site.start();
    let run = DpRun::new(&daemon, "default", "dp-unknown");
    fs::set_permissions(run.token_file(), Permissions::from_mode(0o644)).expect("permissions");
    let words = refusal(run);
    assert_says(
        &words,
        &["warning: others than its owner can get at the token file"],
    );
}
