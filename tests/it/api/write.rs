//! Resources written and deleted through the API of the daemon.

use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use super::control_plane::{Answer, call, get};
use crate::support::daemon::{authorities, mesh};
use crate::support::{Daemon, Site};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
const FORBIDDEN: &str =
    "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA";

pub(super) fn api(daemon: &Daemon) -> SocketAddr {
    daemon.listeners().api.parse().unwrap()
}

pub(super) fn put(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    call(api(daemon), "PUT", path, "", &body.to_string())
}

pub(super) fn delete(daemon: &Daemon, path: &str) -> Answer {
    call(api(daemon), "DELETE", path, "", "")
}

pub(super) fn dataplane(port: u16) -> Value {
    json!({"networking": {"address": "127.0.0.1",
        "inbound": [{"port": port, "tags": {"service": "web"}}]}})
}

/// The dataplane as it is answered.
pub(super) fn stored(name: &str, port: u16) -> Value {
    let mut document = dataplane(port);
    document["type"] = json!("Dataplane");
    document["mesh"] = json!("demo");
    document["name"] = json!(name);
    document
}

fn history(daemon: &Daemon) -> Vec<Value> {
    let list = get(api(daemon), "/history").json();
    list["items"].as_array().unwrap().clone()
}

/// The status, details and causes of a refusal, the causes as `field: message`.
pub(super) fn refused(answer: &Answer) -> (u16, String, Vec<String>) {
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    let causes = body["causes"].as_array().unwrap().iter().map(|cause| {
        let text = |field: &str| cause[field].as_str().unwrap().to_owned();
        format!("{}: {}", text("field"), text("message"))
    });
    let details = body["details"].as_str().unwrap().to_owned();
    (answer.status, details, causes.collect())
}

#[test]
fn a_dataplane_is_created_changed_and_deleted_and_each_is_served_at_once() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let path = "/meshes/demo/dataplanes/dp-1";
    let created = put(&daemon, path, &dataplane(8080));
    assert_eq!(
        (created.status, created.json()),
        (201, stored("dp-1", 8080))
    );
    assert_eq!(get(api(&daemon), path).json(), stored("dp-1", 8080));
    let newest = &history(&daemon)[0];
    assert_eq!(newest["revision"], Value::Null);
    assert_eq!(newest["mesh"], "demo");
    let steps = newest["steps"].to_string();
    assert!(steps.contains("demo/Dataplane/dp-1"), "{steps}");

    let changed = put(&daemon, path, &dataplane(9090));
    assert_eq!(
        (changed.status, changed.json()),
        (200, stored("dp-1", 9090))
    );
    assert_eq!(get(api(&daemon), path).json(), stored("dp-1", 9090));

    let gone = delete(&daemon, path);
    assert_eq!((gone.status, &*gone.body), (200, ""));
    assert_eq!(get(api(&daemon), path).status, 404);
    let again = delete(&daemon, path);
    assert_eq!(
        again.json(),
        json!({"title": "Could not delete the resource", "details": "Not found", "causes": []})
    );
    assert_eq!(again.status, 404);
    assert_eq!(delete(&daemon, "/meshes/none").status, 404);
}

#[test]
fn what_is_stored_already_is_answered_and_not_written_again() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let path = "/meshes/demo/dataplanes/dp-1";
    assert_eq!(put(&daemon, path, &dataplane(8080)).status, 201);
    let before = (history(&daemon), daemon.status().unwrap()["meshes"].clone());
    for _ in 0..2 {
        let again = put(&daemon, path, &stored("dp-1", 8080));
        assert_eq!((again.status, again.json()), (200, stored("dp-1", 8080)));
    }
    let after = (history(&daemon), daemon.status().unwrap()["meshes"].clone());
    assert_eq!(before, after);
}

#[test]
fn both_forms_are_read_as_yaml_and_json() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let path = "/meshes/demo/traffic-permissions/all";
    let expected = json!({"type": "TrafficPermission", "mesh": "demo", "name": "all",
        "sources": [{"match": {"service": "*"}}], "destinations": [{"match": {"service": "*"}}]});
    let spec = "sources: [{match: {service: '*'}}], destinations: [{match: {service: '*'}}]";
    for (status, body) in [
        (
            201,
            format!(
                "type: TrafficPermission\nmesh: demo\nname: all\n{}",
                spec.replace("], d", "]\nd")
            ),
        ),
        (200, format!("{{{spec}}}")),
        (200, expected.to_string()),
        (
            200,
            format!(
                "apiVersion: kuma.io/v1alpha1\nkind: TrafficPermission\nmesh: demo\n\
            metadata: {{name: all}}\nspec: {{{spec}}}\n"
            ),
        ),
    ] {
        let answer = call(api(&daemon), "PUT", path, "", &body);
        assert_eq!(
            (answer.status, answer.json()),
            (status, expected.clone()),
            "{body}"
        );
    }
}

const DP: &str = "/meshes/demo/dataplanes/dp-1";
const PERMISSION: &str = "/meshes/demo/traffic-permissions/p";

/// Path, body, and what is wrong with it.
const BAD: &[(&str, &str, &[&str])] = &[
    (
        DP,
        "{}",
        &[
            "networking: has to contain at least one inbound interface or gateway",
            "networking.address: address has to be valid IP address",
        ],
    ),
    (
        DP,
        "{networking: {address: x, inbound: [{port: 0, tags: {}}]}, nmae: y}",
        &[
            "nmae: the field \"nmae\" is unknown",
            "networking.address: address has to be valid IP address",
            "networking.inbound[0].port: port has to be in range of [1, 65535]",
            "networking.inbound[0].tags: mandatory tag \"service\" is missing",
        ],
    ),
    (
        PERMISSION,
        "{sources: [], destinations: [{match: {env: prod}}]}",
        &[
            "destinations[0].match: mandatory tag \"service\" is missing",
            "destinations[0].match: must consist of exactly one tag \"service\"",
            "destinations[0].match[\"env\"]: tag \"env\" is not allowed",
            "sources: must have at least one element",
        ],
    ),
    (
        "/meshes/new",
        "{mtls: {ca: {}}}",
        &["mtls.ca: exactly one of \"builtin\" and \"provided\" must be set"],
    ),
    (
        "/meshes/new",
        "{mtls: {enabled: true, ca: {provided: {}}}}",
        &["mtls.ca.provided: There is no signing certificate in provided CA for a given mesh."],
    ),
    (
        DP,
        "{type: Dataplane, mesh: other, name: dp-2, networking: {address: 127.0.0.1, gateway: {tags: {service: a}}}}",
        &[
            "mesh: must be demo, as the path says",
            "name: must be dp-1, as the path says",
        ],
    ),
    (
        "/meshes/new",
        "{type: Mesh, name: demo}",
        &["name: must be new, as the path says"],
    ),
    (
        DP,
        "{type: Mesh, name: demo}",
        &["type: must be Dataplane, as the path says"],
    ),
    (
        DP,
        "{type: Zebra}",
        &[
            "type: \"Zebra\" is unknown, must be one of Mesh, ProvidedCa, TrafficPermission, Dataplane",
        ],
    ),
    (
        "/meshes/demo/dataplanes/Dp",
        "{}",
        &["name: must consist of lower case letters, digits, '-', '_', '.'"],
    ),
    (
        "/meshes/a.b/dataplanes/-",
        "{}",
        &[
            "mesh: must consist of lower case letters, digits, '-', '_'",
            "name: must start and end with a letter or a digit",
        ],
    ),
    (
        "/meshes/A",
        "{}",
        &["name: must consist of lower case letters, digits, '-', '_'"],
    ),
    (DP, "", &[".: the body must be one resource"]),
    (DP, "{}\n---\n{}", &[".: the body must be one resource"]),
    (DP, "[]", &[".: a document must be a map, found a list"]),
];

#[test]
fn every_violation_is_a_cause_in_the_pinned_words() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    for (path, body, expected) in BAD {
        let answer = call(api(&daemon), "PUT", path, "", body);
        let (status, details, mut causes) = refused(&answer);
        causes.sort();
        assert_eq!(
            (status, &*details),
            (400, "Resource is not valid"),
            "{body}"
        );
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(causes, expected, "{body}");
    }
    let answer = call(api(&daemon), "PUT", DP, "", "{\"networking\": ");
    let (status, _, causes) = refused(&answer);
    assert_eq!(status, 400);
    assert!(
        causes[0].starts_with(".: the YAML is not valid: ")
            && causes[0].ends_with("(line 1, column 1)"),
        "{causes:?}"
    );
    assert!(
        history(&daemon)
            .iter()
            .all(|entry| entry["revision"] != Value::Null)
    );
}

#[test]
fn a_body_has_a_limit_and_a_collection_a_name() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let huge = "x".repeat(256 * 1024 + 1);
    let answer = call(
        api(&daemon),
        "PUT",
        "/meshes/demo/dataplanes/dp-1",
        "",
        &huge,
    );
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["title"], "Could not write the resource");
    let mut outbounds = dataplane(8080);
    let outbound = |port| json!({"port": port, "service": "redis"});
    outbounds["networking"]["outbound"] = (10_000..11_000).map(outbound).collect();
    assert_eq!(
        put(&daemon, "/meshes/demo/dataplanes/dp-1", &outbounds).status,
        201
    );
    for method in ["PUT", "DELETE"] {
        let answer = call(
            api(&daemon),
            method,
            "/meshes/demo/provided-cas/x",
            "",
            "{}",
        );
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["title"], "Could not find the collection");
    }
}

#[test]
fn a_resource_of_a_mesh_that_is_not_there_is_refused() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let answer = put(&daemon, "/meshes/none/dataplanes/dp-1", &dataplane(8080));
    let causes = vec!["mesh: mesh of name none is not found".to_owned()];
    assert_eq!(
        refused(&answer),
        (400, "Resource is not valid".to_owned(), causes)
    );
}

#[test]
fn a_mesh_with_mtls_gets_its_authority_and_changes_its_ca_in_legal_steps_only() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let ca = |enabled: bool, ca: &str| json!({"mtls": {"enabled": enabled, "ca": {ca: {}}}});
    let write = |body: &Value| refused_or_status(&put(&daemon, "/meshes/own", body));
    let active = || authorities(&daemon.status().unwrap(), "own", "active");

    assert_eq!(write(&json!({})), Ok(201));
    let builtin = active();
    assert_eq!(builtin.len(), 1, "created with the mesh");
    assert_eq!(write(&ca(true, "builtin")), Ok(200));
    assert_eq!(
        mesh(&daemon.status().unwrap(), "own")["mtls"],
        json!({"enabled": true, "ca": "builtin"})
    );
    assert_eq!(active(), builtin);
    // A change of CA is refused, the safe half of it, too; all that is wrong is said.
    let root = "mtls.ca.provided: There is no signing certificate in provided CA for a given mesh.";
    let forbidden = format!("mtls.ca: {FORBIDDEN}");
    for enabled in [true, false] {
        let refused = write(&ca(enabled, "provided"));
        assert_eq!(refused, Err(vec![forbidden.clone(), root.to_owned()]));
    }
    assert_eq!(active(), builtin);
    assert_eq!(write(&json!({})), Ok(200));
    assert_eq!(write(&ca(false, "provided")), Err(vec![root.to_owned()]));
    assert_eq!(
        mesh(&daemon.status().unwrap(), "own")["mtls"]["enabled"],
        false
    );
}

fn refused_or_status(answer: &Answer) -> Result<u16, Vec<String>> {
    if answer.status < 300 {
        Ok(answer.status)
    } else {
        Err(refused(answer).2)
    }
}

#[test]
fn a_mesh_is_deleted_after_all_that_belongs_to_it() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    assert_eq!(put(&daemon, "/meshes/own", &json!({})).status, 201);
    let body = dataplane(8080);
    assert_eq!(
        put(&daemon, "/meshes/own/dataplanes/dp-1", &body).status,
        201
    );
    let answer = delete(&daemon, "/meshes/own");
    let details = "resources belong to the mesh: own/Dataplane/dp-1; delete them first";
    assert_eq!(refused(&answer), (409, details.to_owned(), vec![]));
    assert_eq!(delete(&daemon, "/meshes/own/dataplanes/dp-1").status, 200);
    assert_eq!(delete(&daemon, "/meshes/own").status, 200);
    assert_eq!(get(api(&daemon), "/meshes/own").status, 404);
}

#[test]
fn writes_in_parallel_all_land() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let names: Vec<String> = (10..30).map(|number| format!("dp-{number}")).collect();
    thread::scope(|scope| {
        for name in &names {
            let daemon = &daemon;
            scope.spawn(move || {
                let answer = put(
                    daemon,
                    &format!("/meshes/demo/dataplanes/{name}"),
                    &dataplane(8080),
                );
                assert_eq!(answer.status, 201, "{answer:?}");
                let read = get(api(daemon), &format!("/meshes/demo/dataplanes/{name}"));
                assert_eq!(read.status, 200, "what is answered is served");
            });
        }
    });
    let list = get(api(&daemon), "/meshes/demo/dataplanes").json();
    assert_eq!(
        super::names(&list),
        names
            .iter()
            .map(|name| format!("demo/{name}"))
            .collect::<Vec<_>>()
    );
    let of_api = |entry: &&Value| entry["revision"] == Value::Null;
    assert_eq!(history(&daemon).iter().filter(of_api).count(), 20);
}
