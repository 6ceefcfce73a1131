//! `dp run --dataplane-file`.

use std::fs;

use crate::support::{Daemon, DpRun, Site, http};

const NEW: &str = "type: Dataplane\nmesh: default\nname: dp-new-1\nnetworking:\n  address: 127.9.9.9\n  \
                   inbound:\n  - {port: 8080, tags: {service: new}}\n";

fn with_file(daemon: &Daemon, name: &str, content: &str) -> DpRun {
    let run = DpRun::new(daemon, "default", name);
    let file = run.dir().join("dataplane.yaml");
    fs::write(&file, content).expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    run.with(&["--dataplane-file", &file])
}

#[test]
pub(crate) fn a_dataplane_that_git_does_not_hold_is_registered_and_let_in() {
    let site = Site::from_examples();
    let daemon = site.start();
    with_file(&daemon, "dp-new-1", NEW).start();
    // Every replica serves it.
    daemon.status().expect("a status");
    let stored = http::get(
        &daemon.listeners().api,
        "/meshes/default/dataplanes/dp-new-1",
    )
    .and_then(http::Answer::ok)
    .expect("the dataplane")
    .json();
    assert_eq!(stored["networking"]["address"], "127.9.9.9");
}

#[test]
pub(crate) fn a_dataplane_that_git_holds_has_to_be_the_same() {
    let site = Site::from_examples();
    let in_git = NEW.replace("new", "git");
    site.repo
        .commit(&[("default/dp-git.yaml", Some(&in_git))], "a dataplane");
    let daemon = site.start();
    let run = with_file(&daemon, "dp-git-1", &in_git).start();
    let note =
        "note: Git owns dataplane default/dp-git-1; what `--dataplane-file` holds is the same";
    assert!(run.log().contains(note), "{}", run.log());
    let (status, words) = with_file(&daemon, "dp-git-1", &in_git.replace("8080", "8081")).refused();
    assert_eq!(status.code(), Some(1), "{words}");
    for part in ["default/dp-git.yaml", "hint: what Git holds differs"] {
        assert!(words.contains(part), "{part:?} is not in\n{words}");
    }
}

#[test]
pub(crate) fn what_is_wrong_with_the_file_is_shown_in_its_place() {
    let site = Site::from_examples();
    let daemon = site.start();
    let refused = |content: &str| {
        let (status, words) = with_file(&daemon, "dp-new-1", content).refused();
        assert_eq!(status.code(), Some(1), "{words}");
        words
    };
    let words = refused(&NEW.replace("8080", "0"));
    for part in ["dataplane.yaml:7:12", "has 1 error, printed above"] {
        assert!(words.contains(part), "{part:?} is not in\n{words}");
    }
    let words = refused(&NEW.replace("dp-new-1", "dp-other-1"));
    assert!(
        words.contains("is dataplane default/dp-other-1, not default/dp-new-1"),
        "{words}"
    );
    let words = refused(&format!(
        "{NEW}---\n{}",
        NEW.replace("dp-new-1", "dp-new-2")
    ));
    assert!(
        words.contains("must hold one Dataplane and nothing else"),
        "{words}"
    );
    let words = refused("type: Mesh\nname: default\n");
    assert!(words.contains("not a Dataplane"), "{words}");
}
