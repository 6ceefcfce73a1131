//! Calls of the API beside commits: who owns what, and who is undone by whom.

use std::fs;
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use super::control_plane::{call, get};
use super::write::{api, dataplane, delete, put, refused, stored};
use crate::support::daemon::{condition, mesh};
use crate::support::{Daemon, Site, wait};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
const OTHER: &str = "type: Mesh\nname: other\n";
const PATH: &str = "/meshes/demo/dataplanes/dp-1";

/// A document of the dataplane `dp-1`.
fn document(port: u16) -> String {
    stored("dp-1", port).to_string()
}

fn owned_by(file: &str, commit: &str) -> (u16, String, Vec<String>) {
    let details = format!(
        "Git owns demo/Dataplane/dp-1: {file} of source default, as of main@sha1:{commit}; \
         commit the change there instead"
    );
    (409, details, vec![])
}

#[test]
fn what_git_owns_is_refused_with_the_file_that_owns_it() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let commit = site
        .repo
        .commit(&[("demo/dp.yaml", Some(&document(8080)))], "a dataplane");
    let daemon = site.start();
    for body in [dataplane(9090), dataplane(8080)] {
        let answer = put(&daemon, PATH, &body);
        assert_eq!(refused(&answer), owned_by("demo/dp.yaml", &commit));
        assert_eq!(answer.json()["title"], "Could not write the resource");
    }
    let answer = delete(&daemon, PATH);
    assert_eq!(refused(&answer), owned_by("demo/dp.yaml", &commit));
    assert_eq!(answer.json()["title"], "Could not delete the resource");
    assert_eq!(put(&daemon, "/meshes/demo", &json!({})).status, 409);
    assert_eq!(delete(&daemon, "/meshes/demo").status, 409);
    assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", 8080));
}

#[test]
fn commits_leave_alone_what_a_call_wrote() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    assert_eq!(put(&daemon, PATH, &dataplane(8080)).status, 201);
    for change in [
        [("other.yaml", Some(OTHER))],
        [("mesh.yaml", Some("type: Mesh\nname: demo\n"))],
        [("other.yaml", None)],
        [("mesh.yaml", Some(MESH))],
    ] {
        let commit = site.repo.commit(&change, "next");
        daemon.wait_until_applied(&commit);
        assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", 8080));
    }
    assert_eq!(put(&daemon, PATH, &dataplane(9090)).status, 200);
    assert_eq!(delete(&daemon, PATH).status, 200);
    let commit = site.repo.commit(&[("other.yaml", Some(OTHER))], "again");
    daemon.wait_until_applied(&commit);
    assert_eq!(get(api(&daemon), PATH).status, 404);
}

/// Git is where desired state belongs: a commit takes over what a call wrote,
/// and the plan shows what that changes.
#[test]
fn a_commit_adopts_what_a_call_wrote() {
    for port in [8080, 9090] {
        let site = Site::from_files(&[("mesh.yaml", MESH)]);
        let daemon = site.start();
        assert_eq!(put(&daemon, PATH, &dataplane(8080)).status, 201);
        let document = document(port);
        let commit = site.repo.commit(&[("dp.yaml", Some(&document))], "adopt");
        daemon.wait_until_applied(&commit);
        assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", port));
        let newest = get(api(&daemon), "/history").json()["items"][0].clone();
        assert_eq!(newest["revision"], format!("main@sha1:{commit}"));
        let again = put(&daemon, PATH, &dataplane(8080));
        assert_eq!(refused(&again), owned_by("dp.yaml", &commit));
        let removed = site.repo.commit(&[("dp.yaml", None)], "withdraw");
        daemon.wait_until_applied(&removed);
        assert_eq!(get(api(&daemon), PATH).status, 404);
    }
}

#[test]
fn a_mesh_leaves_git_once_calls_have_deleted_what_they_put_into_it() {
    let site = Site::from_files(&[("mesh.yaml", MESH), ("other.yaml", OTHER)]);
    // No poll helps: the call itself is the reason to look again.
    let site = site.set("WINDLASS_SOURCE_POLL_INTERVAL", "1h");
    let daemon = site.start();
    assert_eq!(put(&daemon, PATH, &dataplane(8080)).status, 201);
    let commit = site.repo.commit(&[("mesh.yaml", None)], "withdraw");
    daemon.wait_until("the mesh to be held back", |status| {
        condition(mesh(status, "demo"), "Stalled")
            .is_some_and(|stalled| stalled["reason"] == "OwnedByOthers")
    });
    assert_eq!(delete(&daemon, PATH).status, 200);
    let status = daemon.wait_until_applied(&commit);
    assert_eq!(mesh(&status, "demo"), &Value::Null);
}

#[test]
fn calls_are_served_when_the_repository_is_gone_and_a_restart_keeps_them() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    fs::remove_dir_all(site.repo.path()).unwrap();
    assert_eq!(call(api(&daemon), "POST", "/sync", "", "").status, 202);
    daemon.wait_until("the source to be gone", |status| {
        condition(&status["sources"][0], "Healthy").is_some_and(|c| c["status"] == "False")
    });
    assert_eq!(put(&daemon, PATH, &dataplane(8080)).status, 201);
    assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", 8080));
    assert!(daemon.terminate().success());
    let daemon = site.start();
    assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", 8080));
    assert_eq!(put(&daemon, PATH, &dataplane(9090)).status, 200);
    daemon.kill9();
    let daemon = site.start();
    assert_eq!(get(api(&daemon), PATH).json(), stored("dp-1", 9090));
}

#[test]
fn calls_are_served_while_the_repository_does_not_answer() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mesh.git", silent.local_addr().unwrap());
    let site = Site::from_files(&[]).set("WINDLASS_SOURCE_REPO", &url);
    let mut daemon = Daemon::spawn(&site);
    daemon.wait_until_listening();
    let _asked = silent.accept().unwrap();
    assert_eq!(put(&daemon, "/meshes/demo", &json!({})).status, 201);
    assert_eq!(get(api(&daemon), "/meshes/demo").status, 200);
    assert_eq!(put(&daemon, PATH, &dataplane(8080)).status, 201);
    assert_eq!(get(api(&daemon), PATH).status, 200);
}

#[test]
fn calls_and_commits_at_once_lose_nothing() {
    let site = Site::from_files(&[("mesh.yaml", MESH), ("other.yaml", OTHER)]);
    let daemon = site.start();
    let names: Vec<String> = (10..30).map(|number| format!("dp-{number}")).collect();
    let last = thread::scope(|scope| {
        let (daemon, names) = (&daemon, &names);
        scope.spawn(move || {
            for name in names {
                let path = format!("/meshes/demo/dataplanes/{name}");
                assert_eq!(put(daemon, &path, &dataplane(8080)).status, 201);
                assert_eq!(get(api(daemon), &path).status, 200);
            }
        });
        let mut last = String::new();
        for round in 0..10 {
            let of = |mesh: &str| {
                format!(
                    "{{type: TrafficPermission, mesh: {mesh}, name: p-{round}, \
                    sources: [{{match: {{service: a}}}}], destinations: [{{match: {{service: b}}}}]}}\n"
                )
            };
            let both = of("demo") + "---\n" + &of("other");
            let name = format!("round-{round}.yaml");
            last = site.repo.commit(&[(&name, Some(&both))], "next");
            daemon.wait_until_applied(&last);
        }
        last
    });
    daemon.wait_until_applied(&last);
    for (path, expected) in [
        ("/meshes/demo/dataplanes", 20),
        ("/meshes/demo/traffic-permissions", 10),
        ("/meshes/other/traffic-permissions", 10),
    ] {
        wait::until(path, || {
            let found = super::names(&get(api(&daemon), path).json());
            if found.len() == expected {
                Ok(())
            } else {
                Err(found.join(" "))
            }
        });
    }
}
