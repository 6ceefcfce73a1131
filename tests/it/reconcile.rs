//! The loop as a user sees it: commits in, state out, through the daemon.

use std::fs;

use serde_json::{Value, json};

use super::support::daemon::{authorities, condition, mesh, windlass};
use super::support::{Daemon, MeshCa, Site, http, wait};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
const DISABLED: &str = "type: Mesh\nname: demo\nmtls: {enabled: false}\n";
const DISABLED_PROVIDED: &str =
    "type: Mesh\nname: demo\nmtls: {enabled: false, ca: {provided: {}}}\n";
const PROVIDED: &str = "type: Mesh\nname: demo\nmtls: {enabled: true, ca: {provided: {}}}\n";
/// The policy under which a change of CA takes several commits.
const FORBID: &str = "transition: {strategy: forbid}\n";
const OTHER: &str = "type: Mesh\nname: other\n";
const PERMISSION: &str = "type: TrafficPermission\nmesh: demo\nname: web-to-backend\n\
     sources: [{match: {service: web}}]\ndestinations: [{match: {service: backend}}]\n";
const FORBIDDEN: &str =
    "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA";

fn names(daemon: &Daemon, path: &str) -> Vec<String> {
    let answer = http::get(&daemon.listeners().api, path).and_then(http::Answer::ok);
    let list = answer.expect("a list").json();
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

fn wait_until_held_back(daemon: &Daemon, commit: &str) -> Value {
    daemon.wait_until("the commit to be held back", |status| {
        let source = &status["sources"][0];
        source["attemptedRevision"] == json!(format!("main@sha1:{commit}"))
            && condition(source, "Stalled").is_some_and(|stalled| stalled["status"] == "True")
            && condition(source, "Reconciling").is_some_and(|c| c["status"] == "False")
    })
}

fn codes(status: &Value) -> Vec<String> {
    let diagnostics = status["sources"][0]["diagnostics"].as_array().unwrap();
    diagnostics
        .iter()
        .map(|found| found["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn commits_create_change_and_delete() {
    let site = Site::from_files(&[("mesh.yaml", MESH), ("other.yaml", OTHER)]);
    let daemon = site.start();
    assert_eq!(names(&daemon, "/meshes"), ["demo", "other"]);
    let added = site
        .repo
        .commit(&[("permission.yaml", Some(PERMISSION))], "allow");
    daemon.wait_until_applied(&added);
    assert_eq!(
        names(&daemon, "/meshes/demo/traffic-permissions"),
        ["web-to-backend"]
    );
    let renamed = PERMISSION
        .replace("web-to-backend", "web-to-all")
        .replace("backend", "'*'");
    let changed = site
        .repo
        .commit(&[("permission.yaml", Some(&renamed))], "rename");
    daemon.wait_until_applied(&changed);
    assert_eq!(
        names(&daemon, "/meshes/demo/traffic-permissions"),
        ["web-to-all"]
    );
    let removed = site.repo.commit(
        &[("permission.yaml", None), ("other.yaml", None)],
        "withdraw",
    );
    daemon.wait_until_applied(&removed);
    assert!(names(&daemon, "/meshes/demo/traffic-permissions").is_empty());
    assert_eq!(names(&daemon, "/meshes"), ["demo"]);
}

#[test]
fn the_working_tree_is_not_reconciled() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    fs::write(site.repo.path().join("other.yaml"), OTHER).unwrap();
    http::post(&daemon.listeners().api, "/sync", &json!({}))
        .and_then(http::Answer::ok)
        .unwrap();
    let commit = site.repo.commit(
        &[("other.yaml", None), ("permission.yaml", Some(PERMISSION))],
        "x",
    );
    daemon.wait_until_applied(&commit);
    assert_eq!(names(&daemon, "/meshes"), ["demo"]);
}

#[test]
fn an_invalid_mesh_is_held_back_and_no_other() {
    let site = Site::from_files(&[("mesh.yaml", MESH), ("other.yaml", OTHER)]);
    let daemon = site.start();
    let broken = PERMISSION.replace("{service: web}", "{env: prod}");
    let enabled = OTHER.to_owned() + "mtls: {enabled: true}\n";
    let commit = site.repo.commit(
        &[
            ("permission.yaml", Some(&broken)),
            ("other.yaml", Some(&enabled)),
        ],
        "half of it is wrong",
    );
    let status = wait_until_held_back(&daemon, &commit);
    assert_eq!(mesh(&status, "other")["mtls"]["enabled"], true);
    assert_eq!(mesh(&status, "demo")["mtls"]["enabled"], true);
    let source = &status["sources"][0];
    assert_ne!(source["appliedRevision"], source["attemptedRevision"]);
    let found = source["diagnostics"][0].clone();
    assert_eq!(found["file"], "permission.yaml");
    assert!(found["line"].as_u64().unwrap() > 1);
    assert_eq!(
        condition(mesh(&status, "demo"), "Stalled").unwrap()["reason"],
        "Invalid"
    );
    let mended = site
        .repo
        .commit(&[("permission.yaml", Some(PERMISSION))], "mend");
    daemon.wait_until_applied(&mended);
}

#[test]
fn a_file_that_cannot_be_parsed_holds_back_the_commit() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let commit = site.repo.commit(
        &[
            ("other.yaml", Some(OTHER)),
            ("broken.yaml", Some("type: [Mesh\n")),
        ],
        "broken",
    );
    let status = wait_until_held_back(&daemon, &commit);
    assert_eq!(
        condition(&status["sources"][0], "Ready").unwrap()["reason"],
        "CommitInvalid"
    );
    assert_eq!(names(&daemon, "/meshes"), ["demo"]);
    let mended = site.repo.commit(&[("broken.yaml", None)], "mend");
    daemon.wait_until_applied(&mended);
    assert_eq!(names(&daemon, "/meshes"), ["demo", "other"]);
}

#[test]
fn changing_the_ca_while_mtls_is_enabled_is_refused_where_mesh_or_policy_forbids_it() {
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let site = Site::from_files(&[("mesh.yaml", MESH), ("ca.yaml", &ca)]);
    let daemon = site.start();
    let before = authorities(&daemon.status().unwrap(), "demo", "active");
    let of_mesh = PROVIDED.replace("}}}", "}}, transition: {strategy: forbid}}");
    for files in [
        &[("mesh.yaml", Some(&*of_mesh))][..],
        &[
            ("mesh.yaml", Some(PROVIDED)),
            ("windlass.yaml", Some(FORBID)),
        ],
    ] {
        let commit = site.repo.commit(files, "provided");
        let status = wait_until_held_back(&daemon, &commit);
        let found = &status["sources"][0]["diagnostics"][0];
        assert_eq!(found["message"], FORBIDDEN);
        assert_eq!(
            (&found["file"], &found["field"]),
            (&json!("mesh.yaml"), &json!("mtls.ca"))
        );
        assert_eq!((&found["line"], &found["column"]), (&json!(3), &json!(27)));
        assert_eq!(authorities(&status, "demo", "active"), before);
        assert_eq!(
            condition(mesh(&status, "demo"), "Stalled").unwrap()["message"],
            FORBIDDEN
        );
    }
}

#[test]
fn the_documented_sequence_works_as_three_commits() {
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let site = Site::from_files(&[
        ("mesh.yaml", MESH),
        ("ca.yaml", &ca),
        ("windlass.yaml", FORBID),
    ]);
    let daemon = site.start();
    let builtin = authorities(&daemon.status().unwrap(), "demo", "active");
    for text in [DISABLED, DISABLED_PROVIDED, PROVIDED] {
        let commit = site.repo.commit(&[("mesh.yaml", Some(text))], "next");
        daemon.wait_until_applied(&commit);
    }
    let status = daemon.status().unwrap();
    assert_eq!(mesh(&status, "demo")["mtls"]["ca"], "provided");
    let provided = authorities(&status, "demo", "active");
    assert_eq!(provided.len(), 1);
    assert_ne!(provided, builtin);
}

#[test]
fn three_commits_that_come_at_once_work_like_three() {
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let site = Site::from_files(&[
        ("mesh.yaml", MESH),
        ("ca.yaml", &ca),
        ("windlass.yaml", FORBID),
    ]);
    let daemon = site.start();
    let builtin = authorities(&daemon.status().unwrap(), "demo", "active");
    assert!(daemon.terminate().success());
    let mut last = String::new();
    for text in [DISABLED, DISABLED_PROVIDED, PROVIDED] {
        last = site.repo.commit(&[("mesh.yaml", Some(text))], "next");
    }
    let daemon = site.start();
    let status = daemon.wait_until_applied(&last);
    assert_ne!(authorities(&status, "demo", "active"), builtin);
    let history = http::get(&daemon.listeners().api, "/history")
        .unwrap()
        .json();
    let steps = history["items"].to_string();
    assert!(
        steps.contains("disable mTLS") && steps.contains("enable mTLS"),
        "{history:#}"
    );
}

#[test]
fn one_commit_that_disables_and_changes_at_once_is_refused_although_others_came_with_it() {
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let site = Site::from_files(&[
        ("mesh.yaml", MESH),
        ("ca.yaml", &ca),
        ("windlass.yaml", FORBID),
    ]);
    let daemon = site.start();
    assert!(daemon.terminate().success());
    site.repo
        .commit(&[("other.yaml", Some(OTHER))], "something else");
    let last = site
        .repo
        .commit(&[("mesh.yaml", Some(DISABLED_PROVIDED))], "two at once");
    let daemon = site.start();
    let status = wait_until_held_back(&daemon, &last);
    assert_eq!(mesh(&status, "demo")["mtls"]["ca"], "builtin");
    assert_eq!(mesh(&status, "demo")["mtls"]["enabled"], true);
    assert_eq!(names(&daemon, "/meshes"), ["demo", "other"]);
}

#[test]
fn a_key_that_no_identity_opens_holds_back_its_mesh_only() {
    let stranger = age::x25519::Identity::generate().to_public();
    let armor = age::encrypt_and_armor(&stranger, b"-----BEGIN PRIVATE KEY-----").unwrap();
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let (head, _) = ca.split_once("key: |").unwrap();
    let indented: String = armor.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    let ca = format!("{head}key: |\n{indented}");
    let plain = "type: ProvidedCa\nmesh: other\nname: root\ncert: x\nkey: |\n  \
                 -----BEGIN PRIVATE KEY-----\n  c2VjcmV0\n  -----END PRIVATE KEY-----\n";
    let site = Site::from_files(&[
        ("demo.yaml", MESH),
        ("demo-ca.yaml", &ca),
        ("other.yaml", OTHER),
        ("other-ca.yaml", plain),
        ("third.yaml", "type: Mesh\nname: third\n"),
    ]);
    let daemon = site.start();
    let status = daemon.wait_until("both to be held back", |status| {
        condition(&status["sources"][0], "Stalled").is_some_and(|c| c["status"] == "True")
    });
    assert_eq!(names(&daemon, "/meshes"), ["third"]);
    let files: Vec<&str> = status["sources"][0]["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|found| found["file"].as_str())
        .collect();
    assert!(
        files.contains(&"demo-ca.yaml") && files.contains(&"other-ca.yaml"),
        "{status:#}"
    );
    let said = format!("{status}{}", daemon.log());
    assert!(
        !said.contains("c2VjcmV0"),
        "a plaintext key was shown: {said}"
    );
}

#[test]
fn an_emptied_branch_deletes_nothing() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let commit = site
        .repo
        .commit(&[("mesh.yaml", None), ("README", Some("nothing"))], "empty");
    let status = wait_until_held_back(&daemon, &commit);
    assert_eq!(
        condition(&status["sources"][0], "Ready").unwrap()["reason"],
        "EmptySource"
    );
    assert_eq!(codes(&status), ["WL0702"]);
    assert_eq!(names(&daemon, "/meshes"), ["demo"]);
    // What was not deleted is not forgotten: the next commit is none that touches it.
    let other = site.repo.commit(&[("other.yaml", Some(OTHER))], "other");
    daemon.wait_until_applied(&other);
    assert_eq!(names(&daemon, "/meshes"), ["other"]);
    let back = site.repo.commit(&[("mesh.yaml", Some(MESH))], "back");
    daemon.wait_until_applied(&back);
    assert_eq!(names(&daemon, "/meshes"), ["demo", "other"]);
}

#[test]
fn the_last_good_state_is_served_when_the_repository_is_gone() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let before = authorities(&daemon.status().unwrap(), "demo", "active");
    fs::remove_dir_all(site.repo.path()).unwrap();
    http::post(&daemon.listeners().api, "/sync", &json!({}))
        .and_then(http::Answer::ok)
        .unwrap();
    let gone = |status: &Value| {
        condition(&status["sources"][0], "Healthy").is_some_and(|c| c["status"] == "False")
    };
    let status = daemon.wait_until("the source to be gone", gone);
    assert_eq!(authorities(&status, "demo", "active"), before);
    assert!(daemon.terminate().success());
    // A restart finds no repository, and serves what the store holds.
    let daemon = site.start();
    let status = daemon.wait_until("the source to be gone", gone);
    assert_eq!(authorities(&status, "demo", "active"), before);
    assert!(!daemon.token("dp", "demo").is_empty());
}

#[test]
fn a_force_push_is_followed() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let old = site
        .repo
        .commit(&[("other.yaml", Some(OTHER))], "to be rewritten");
    daemon.wait_until_applied(&old);
    let repository = git2::Repository::open(site.repo.path()).unwrap();
    let first = repository
        .head()
        .unwrap()
        .peel_to_commit()
        .unwrap()
        .parent(0)
        .unwrap();
    repository
        .reset(first.as_object(), git2::ResetType::Hard, None)
        .unwrap();
    let new = site
        .repo
        .commit(&[("permission.yaml", Some(PERMISSION))], "rewritten");
    daemon.wait_until_applied(&new);
    assert_eq!(names(&daemon, "/meshes"), ["demo"]);
}

#[test]
fn a_second_daemon_on_the_same_state_folder_is_refused() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let _first = site.start();
    let output = windlass()
        .args(["run", "--config"])
        .arg(site.config())
        .arg("--state-dir")
        .arg(site.state_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("another windlass runs") && said.contains("hint:"),
        "{said}"
    );
}

#[test]
fn sigterm_stops_it_gracefully_and_a_restart_changes_nothing() {
    let site = Site::from_examples();
    let daemon = site.start();
    let before = daemon.status().unwrap();
    let log = wait::until("the greeting", || {
        let log = daemon.log();
        if log.contains("try") {
            Ok(log)
        } else {
            Err(log)
        }
    });
    assert!(log.contains("windlass status"), "{log}");
    assert!(daemon.terminate().success());
    let daemon = site.start();
    let after = daemon.wait_until("the same", |status| status["meshes"] == before["meshes"]);
    assert_eq!(
        after["sources"][0]["appliedRevision"],
        before["sources"][0]["appliedRevision"]
    );
}

/// The steps of every write to a mesh, the newest first.
fn writes(daemon: &Daemon) -> usize {
    let history = http::get(&daemon.listeners().api, "/history")
        .and_then(http::Answer::ok)
        .expect("a history");
    history.json()["items"].as_array().expect("items").len()
}

#[test]
fn a_refused_change_takes_no_mesh_back_through_commits_that_it_has_behind_it() {
    let ca = MeshCa::for_mesh("demo").document("demo", "root");
    let site = Site::from_files(&[
        ("mesh.yaml", MESH),
        ("ca.yaml", &ca),
        ("windlass.yaml", FORBID),
        ("permission.yaml", PERMISSION),
    ]);
    let daemon = site.start();
    // A mesh with an error keeps the revision from being applied as a whole for long.
    let broken = OTHER.to_owned() + "mtls: {enabled: perhaps}\n";
    let changes = [
        ("other.yaml", Some(broken.as_str())),
        ("permission.yaml", None),
        ("mesh.yaml", Some(DISABLED)),
        ("mesh.yaml", Some(DISABLED_PROVIDED)),
        ("mesh.yaml", Some(PROVIDED)),
    ];
    for change in changes {
        let commit = site.repo.commit(&[change], "next");
        wait_until_held_back(&daemon, &commit);
    }
    let before = authorities(&daemon.status().unwrap(), "demo", "active");
    let written = writes(&daemon);
    let back = site.repo.commit(&[("mesh.yaml", Some(MESH))], "back");
    let status = wait_until_held_back(&daemon, &back);
    assert_eq!(
        condition(mesh(&status, "demo"), "Stalled").unwrap()["message"],
        FORBIDDEN
    );
    assert_eq!(authorities(&status, "demo", "active"), before);
    assert_eq!(writes(&daemon), written, "a refused commit wrote the mesh");
}
