//! `windlass plan` as a process: exit statuses, documents, and that it changes nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::support::{Site, daemon::windlass, repo::Repo};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
const PROVIDED: &str = "type: Mesh\nname: demo\nmtls: {enabled: true, ca: {provided: {}}}\n";
const FORBIDDEN: &str = "type: Mesh\nname: demo\nmtls:\n  enabled: true\n  ca: {provided: {}}\n  \
     transition: {strategy: forbid}\n";
const PERMISSION: &str = "type: TrafficPermission\nmesh: demo\nname: web-to-backend\n\
     sources: [{match: {service: web}}]\ndestinations: [{match: {service: backend}}]\n";

fn plan(repo: &Path, args: &[&str]) -> Output {
    windlass()
        .args(["plan", "--repo"])
        .arg(repo)
        .args(args)
        .output()
        .unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn between_two_revisions_it_needs_neither_store_nor_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::from_examples(folder.path());
    let output = plan(
        folder.path(),
        &["--base", "HEAD", "-o", "json", "--detailed-exitcode"],
    );
    assert_eq!(status(&output), 0);
    assert_eq!(json(&output)["changes"], serde_json::json!([]));

    repo.commit(
        &[("demo.yaml", Some(MESH)), ("allow.yaml", Some(PERMISSION))],
        "a mesh",
    );
    let output = plan(
        folder.path(),
        &["--base", "HEAD~1", "-o", "json", "--detailed-exitcode"],
    );
    assert_eq!(
        status(&output),
        2,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document = json(&output);
    assert_eq!(document["format_version"], "1.0");
    assert!(document["head"].as_str().unwrap().starts_with("main@sha1:"));
    assert_ne!(document["head"], document["base"]);
    assert!(document["base"].as_str().unwrap().starts_with("main@sha1:"));
    assert_eq!(document["summary"]["create"], 2);
    assert_eq!(document["changes"][0]["address"], "Mesh/demo");
    assert_eq!(
        document["changes"][0]["actions"],
        serde_json::json!(["create"])
    );
    assert_eq!(document["changes"][0]["file"], "demo.yaml");
    assert_eq!(
        document["changes"][1]["address"],
        "demo/TrafficPermission/web-to-backend"
    );
    assert_eq!(document["authorization"][0]["source"], "web");
    assert_eq!(document["authorization"][0]["after"], "allow");
    assert_eq!(document["blocked"], false);
    assert!(document["digest"].as_str().unwrap().starts_with("sha256:"));
    let again = plan(folder.path(), &["--base", "HEAD~1", "-o", "json"]);
    assert_eq!(
        status(&again),
        0,
        "without --detailed-exitcode a valid plan is 0"
    );
    assert_eq!(
        again.stdout, output.stdout,
        "the same input gives the same bytes"
    );
}

#[test]
fn a_refused_change_of_ca_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let ca = super::support::MeshCa::for_mesh("demo").document("demo", "root");
    let repo = Repo::init(folder.path());
    repo.commit(
        &[("mesh.yaml", Some(MESH)), ("ca.yaml", Some(&ca))],
        "builtin",
    );
    repo.commit(&[("mesh.yaml", Some(FORBIDDEN))], "provided");
    let output = plan(
        folder.path(),
        &["--base", "HEAD~1", "--detailed-exitcode", "-o", "json"],
    );
    assert_eq!(status(&output), 3);
    let found = &json(&output)["diagnostics"][0];
    assert_eq!(
        found["message"],
        "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA"
    );
    assert_eq!(
        (found["field"].as_str(), found["line"].as_u64()),
        (Some("mtls.ca"), Some(5))
    );
    assert_eq!(json(&output)["blocked"], true);
    let output = plan(folder.path(), &["--base", "HEAD~1"]);
    assert_eq!(status(&output), 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mesh.yaml:5:"), "{said}");
    let output = plan(folder.path(), &["--base", "HEAD~1", "-o", "markdown"]);
    assert!(text(&output).starts_with("<!-- windlass-plan -->"));
    assert!(text(&output).contains("Changing CA when mTLS is enabled is forbidden"));
}

#[test]
fn a_change_of_ca_between_two_revisions_shows_its_gates_though_nobody_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let ca = super::support::MeshCa::for_mesh("demo").document("demo", "root");
    let repo = Repo::init(folder.path());
    repo.commit(&[("mesh.yaml", Some(MESH))], "builtin");
    repo.commit(
        &[("mesh.yaml", Some(PROVIDED)), ("ca.yaml", Some(&ca))],
        "provided",
    );
    let base = ["--base", "HEAD~1", "--detailed-exitcode"];
    let output = plan(folder.path(), &[&base[..], &["-o", "json"]].concat());
    assert_eq!(status(&output), 2);
    let document = json(&output);
    let steps = document["steps"].as_array().unwrap();
    let told = |key: &str| -> Vec<Value> { steps.iter().map(|step| step[key].clone()).collect() };
    assert_eq!(
        told("kind"),
        [
            "stageAuthority",
            "changeCa",
            "writeResources",
            "prepareAuthority",
            "retireAuthority",
            "activateAuthority",
            "drainConnections",
            "withdrawAuthority",
            "revokeAuthority"
        ]
    );
    let due = told("due").iter().filter(|due| **due == true).count();
    assert_eq!(due, 4, "what waits for proxies follows");
    assert_eq!(
        told("waitsFor")[4..],
        [
            "every proxy to acknowledge the trust bundle",
            "every proxy to acknowledge the trust bundle",
            "every proxy to acknowledge a leaf of the signing authority",
            "every earlier connection to end",
            "every proxy to acknowledge the trust bundle"
        ]
    );
    assert_eq!(document["summary"]["steps"], 9);
    assert_eq!(document["transitions"][0]["strategy"], "rolling");
    let output = plan(folder.path(), &base);
    assert!(text(&output).contains("Steps that follow"), "{output:?}");
}

#[test]
fn invalid_input_is_status_one_and_other_meshes_are_planned() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("README", Some("nothing yet"))], "nothing");
    let broken = PERMISSION.replace("{service: web}", "{}");
    let other = "type: Mesh\nname: other\n";
    repo.commit(
        &[
            ("mesh.yaml", Some(MESH)),
            ("allow.yaml", Some(&broken)),
            ("other.yaml", Some(other)),
        ],
        "half of it is wrong",
    );
    let output = plan(
        folder.path(),
        &["--base", "HEAD~1", "--detailed-exitcode", "-o", "json"],
    );
    assert_eq!(status(&output), 1);
    let document = json(&output);
    assert_eq!(document["changes"].as_array().unwrap().len(), 1);
    assert_eq!(document["changes"][0]["address"], "Mesh/other");
    assert_eq!(document["diagnostics"][0]["file"], "allow.yaml");
}

#[test]
fn it_plans_against_a_store_and_a_control_plane_and_changes_neither() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let address = format!("http://{}", daemon.listeners().api);
    // Another repository: the daemon does not see these commits.
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("mesh.yaml", Some(MESH))], "the same");
    let same = plan(
        folder.path(),
        &["--address", &address, "--detailed-exitcode"],
    );
    assert_eq!(
        status(&same),
        0,
        "{}{}",
        text(&same),
        String::from_utf8_lossy(&same.stderr)
    );
    assert!(text(&same).contains("No changes."));
    repo.commit(&[("allow.yaml", Some(PERMISSION))], "allow");
    let online = plan(
        folder.path(),
        &["--address", &address, "-o", "json", "--detailed-exitcode"],
    );
    assert_eq!(
        status(&online),
        2,
        "{}",
        String::from_utf8_lossy(&online.stderr)
    );
    assert_eq!(json(&online)["summary"]["create"], 1);
    assert!(daemon.terminate().success());

    let database = site.state_dir().join("windlass.db");
    let before = fs::read(&database).unwrap();
    let config = site.config();
    let args = [
        "--config",
        config.to_str().unwrap(),
        "-o",
        "json",
        "--detailed-exitcode",
    ];
    let offline = windlass()
        .args(["plan", "--repo"])
        .arg(folder.path())
        .args(args)
        .env("WINDLASS_STATE_DIR", site.state_dir())
        .output()
        .unwrap();
    assert_eq!(
        status(&offline),
        2,
        "{}",
        String::from_utf8_lossy(&offline.stderr)
    );
    assert_eq!(json(&offline)["changes"], json(&online)["changes"]);
    assert_eq!(json(&offline)["digest"], json(&online)["digest"]);
    assert_eq!(
        fs::read(&database).unwrap(),
        before,
        "planning wrote to the store"
    );
}

#[test]
fn what_cannot_be_had_is_told_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("mesh.yaml", Some(MESH))], "a mesh");
    for (args, expected) in [
        (&["--base", "no-such-branch"][..], "no-such-branch"),
        (&["--address", "http://127.0.0.1:1"][..], "127.0.0.1:1"),
        (
            &["--config", "/no/such/file.yaml"][..],
            "/no/such/file.yaml",
        ),
    ] {
        let output = plan(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(status(&output), 1, "{said}");
        assert!(
            said.starts_with("Error: ") && said.contains(expected),
            "{said}"
        );
    }
    let nowhere = plan(Path::new("/no/such/repository"), &["--base", "HEAD"]);
    assert_eq!(status(&nowhere), 1);
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(
        said.contains("/no/such/repository") && said.contains("hint: check --repo"),
        "{said}"
    );
}

#[test]
fn a_path_that_the_commit_does_not_hold_is_told_without_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("demo/mesh.yaml", Some(MESH))], "a mesh");
    let output = plan(folder.path(), &["--base", "HEAD", "--path", "elsewhere"]);
    assert_eq!(status(&output), 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("WL0617") && !said.contains(":0"), "{said}");
}

#[test]
fn a_reader_who_has_read_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("README", Some("nothing yet"))], "nothing");
    repo.commit(&[("mesh.yaml", Some(MESH))], "a mesh");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = windlass();
    command.args(["plan", "--base", "HEAD~1", "-o", "json", "--repo"]);
    let output = command.arg(folder.path()).stdout(writer).output().unwrap();
    assert_eq!(status(&output), 0, "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_base_with_errors_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::init(folder.path());
    repo.commit(&[("mesh.yaml", Some("type: Mash\nname: demo\n"))], "wrong");
    repo.commit(&[("mesh.yaml", Some(MESH))], "right");
    let output = plan(folder.path(), &["--base", "HEAD~1", "-o", "json"]);
    assert_eq!(status(&output), 0);
    assert_eq!(json(&output)["summary"]["create"], 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("warning: the base has errors"), "{said}");
    let output = plan(folder.path(), &["--base", "HEAD", "-o", "json"]);
    assert!(output.stderr.is_empty(), "{output:?}");
}
