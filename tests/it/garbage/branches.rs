//! Branches that are rewritten, emptied or gone.

use std::fs;

use serde_json::Value;

use super::commit::{self, Put};
use super::{DATAPLANE, MESH, Yard, permission, places};
use crate::support::daemon::condition;
use crate::support::repo::Repo;
use crate::support::{Daemon, Site, http, wait};

/// A site with the good state whose source is a path, and one whose source is a URL.
fn sites() -> [Site; 2] {
    [false, true].map(|by_url| {
        let site = Site::from_files(&[
            ("demo/mesh.yaml", MESH),
            ("demo/dp.yaml", DATAPLANE),
            ("demo/allow.yaml", &permission("first")),
        ]);
        let url = format!("file://{}", site.repo.path().display());
        if by_url {
            site.set("WINDLASS_SOURCE_REPO", &url)
        } else {
            site
        }
    })
}

fn reason(status: &Value) -> &str {
    let ready = condition(&status["sources"][0], "Ready");
    ready
        .and_then(|ready| ready["reason"].as_str())
        .unwrap_or_default()
}

#[test]
fn a_force_push_of_garbage_loses_nothing_and_one_of_another_history_is_followed() {
    for site in sites() {
        let yard = Yard::on(site);
        let repo = yard.site.repo.path();
        let commit = commit::instead_of_branch(repo, &[("only.yaml", Put::File(b"\n]"))]);
        yard.sync();
        assert_eq!(places(&yard.held_back(&commit)), ["only.yaml:2 WL0003"]);
        yard.assert_served("garbage without history");

        let changed = permission("rewritten");
        let commit = commit::instead_of_branch(
            repo,
            &[
                ("moved/mesh.yaml", Put::File(MESH.as_bytes())),
                ("moved/dp.yaml", Put::File(DATAPLANE.as_bytes())),
                ("allow.yaml", Put::File(changed.as_bytes())),
            ],
        );
        yard.sync();
        yard.daemon.wait_until_applied(&commit);
        assert_eq!(yard.allowed(), "rewritten");
        yard.assert_served("another history");
    }
}

#[test]
fn a_branch_that_goes_away_takes_nothing_with_it() {
    for site in sites() {
        let yard = Yard::on(site);
        let git = git2::Repository::open(yard.site.repo.path()).unwrap();
        let tip = git.refname_to_id("refs/heads/main").unwrap();
        git.find_reference("refs/heads/main")
            .unwrap()
            .delete()
            .unwrap();
        yard.sync();
        let gone = |status: &Value| matches!(reason(status), "BranchMissing" | "BranchEmpty");
        yard.daemon.wait_until("the branch to be gone", gone);
        yard.assert_served("a branch that is gone");
        assert_eq!(yard.allowed(), "first");

        // Nor does it matter to a daemon that starts without it.
        assert!(yard.daemon.terminate().success());
        let daemon = yard.site.start();
        daemon.wait_until("the branch to be gone", gone);
        let yard = Yard { daemon, ..yard };
        yard.assert_served("a start without the branch");

        git.reference("refs/heads/main", tip, true, "back").unwrap();
        yard.mend("the branch is back");
    }
}

#[test]
fn a_repository_that_is_made_anew_and_empty_deletes_nothing() {
    for site in sites() {
        let yard = Yard::on(site);
        let repo = yard.site.repo.path();
        fs::remove_dir_all(repo.join(".git")).unwrap();
        let anew = Repo::init(repo);
        yard.sync();
        let empty = |status: &Value| reason(status) == "BranchEmpty";
        yard.daemon.wait_until("the branch to be empty", empty);
        yard.assert_served("an empty repository");
        // The working tree is still there, in another history.
        let commit = anew.commit(&[("demo/allow.yaml", Some(&permission("anew")))], "anew");
        yard.sync();
        yard.daemon.wait_until_applied(&commit);
        assert_eq!(yard.allowed(), "anew");
        yard.assert_served("a repository made anew");
    }
}

#[test]
fn a_daemon_that_starts_on_an_empty_branch_waits_for_the_first_commit() {
    let site = Site::from_files(&[]);
    fs::remove_dir_all(site.repo.path().join(".git")).unwrap();
    let repo = Repo::init(site.repo.path());
    let mut daemon = Daemon::spawn(&site);
    daemon.wait_until_listening();
    let status = daemon.wait_until("the branch to be empty", |status| {
        reason(status) == "BranchEmpty"
    });
    assert_eq!(status["meshes"], serde_json::json!([]));
    let ready = http::get(&daemon.listeners().diagnostics, "/ready").unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    let commit = repo.commit(&[("mesh.yaml", Some(MESH))], "the first");
    daemon.wait_until_applied(&commit);
    wait::until("the daemon to be ready", || {
        http::get(&daemon.listeners().diagnostics, "/ready").and_then(http::Answer::ok)
    });
}
