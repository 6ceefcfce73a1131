//! The HTTP servers over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

mod bootstrap;
pub(crate) mod certificates;
pub(crate) mod control_plane;
mod docs;
mod history_only;
mod limits;
mod tokens;
pub(crate) mod transition;
mod write;
mod write_git;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use windlass::api::StateDocument;
use windlass::model::{Current, Digest};
use windlass::telemetry::ReconcileResult;

use crate::cli::assert_document;
use control_plane::{COMMIT, ControlPlane, call, exchange, get};

fn names(list: &Value) -> Vec<String> {
    let name = |item: &Value| {
        let mesh = item["mesh"].as_str().unwrap_or("-");
        format!("{mesh}/{}", item["name"].as_str().unwrap())
    };
    list["items"].as_array().unwrap().iter().map(name).collect()
}

#[test]
fn lists_hold_the_universal_forms_in_a_stable_order() {
    let cp = ControlPlane::start();
    assert_eq!(
        get(cp.api, "/meshes").json(),
        json!({"items": [
            {"type": "Mesh", "name": "default", "mtls": {"enabled": true, "ca": {"builtin": {}}}},
            {"type": "Mesh", "name": "off", "mtls": {"enabled": false, "ca": {"provided": {"name": "root"}}}},
        ]})
    );
    for (path, expected) in [
        (
            "/dataplanes",
            vec!["default/dp-echo-1", "default/edge", "off/edge"],
        ),
        ("/meshes/off/dataplanes", vec!["off/edge"]),
        ("/meshes/off/traffic-permissions", vec![]),
        ("/traffic-permissions", vec!["default/all"]),
        ("/meshes/default/traffic-permissions", vec!["default/all"]),
    ] {
        assert_eq!(names(&get(cp.api, path).json()), expected, "{path}");
    }
}

#[test]
fn a_single_resource_is_its_universal_form() {
    let cp = ControlPlane::start();
    let answer = get(cp.api, "/meshes/default/dataplanes/dp-echo-1");
    assert!(
        answer.head.contains("content-type: application/json"),
        "{answer:?}"
    );
    assert_eq!(
        answer.json(),
        json!({"type": "Dataplane", "mesh": "default", "name": "dp-echo-1", "networking": {
            "address": "127.0.0.1",
            "inbound": [
                {"port": 11011, "servicePort": 11012, "tags": {"service": "echo", "version": "v1"}},
                {"port": 11013, "tags": {"service": "admin"}}],
            "outbound": [{"port": 33033, "service": "redis"}]}})
    );
    assert_eq!(get(cp.api, "/meshes/off").json()["name"], "off");
    let permission = get(cp.api, "/meshes/default/traffic-permissions/all").json();
    assert_eq!(permission["sources"], json!([{"match": {"service": "*"}}]));
}

#[test]
fn what_is_not_there_is_404_in_the_shape_of_errors() {
    let cp = ControlPlane::start();
    for (path, title) in [
        ("/meshes/none", "Could not retrieve the mesh"),
        ("/meshes/No%20Name%2F", "Could not retrieve the mesh"),
        ("/meshes/none/dataplanes", "Could not retrieve the mesh"),
        (
            "/meshes/default/dataplanes/none",
            "Could not retrieve the resource",
        ),
        ("/meshes/default/secrets", "Could not find the collection"),
    ] {
        let answer = get(cp.api, path);
        assert_eq!(answer.status, 404, "{path}");
        let expected = json!({"title": title, "details": "Not found", "causes": []});
        assert_eq!(answer.json(), expected, "{path}");
    }
    let answer = get(cp.api, "/nowhere");
    assert_eq!((answer.status, &answer.json()["causes"]), (404, &json!([])));
}

#[test]
fn a_method_that_is_not_there_is_405_and_names_those_that_are() {
    let cp = ControlPlane::start();
    for (method, path, allowed) in [
        (
            "POST",
            "/meshes/off",
            ["get,head", "put", "delete"].as_slice(),
        ),
        (
            "PATCH",
            "/meshes/default/dataplanes/edge",
            &["get,head", "put", "delete"],
        ),
        ("PUT", "/status", &["get,head"]),
        ("DELETE", "/meshes/default/dataplanes", &["get,head"]),
        ("GET", "/bootstrap", &["post"]),
    ] {
        let answer = call(cp.api, method, path, "", "{}");
        assert_eq!(answer.status, 405, "{method} {path}");
        let mut found: Vec<_> = answer
            .head
            .lines()
            .filter_map(|line| line.strip_prefix("allow: "))
            .flat_map(|methods| methods.split(','))
            .collect();
        let mut allowed: Vec<_> = allowed
            .iter()
            .flat_map(|methods| methods.split(','))
            .collect();
        found.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(found, allowed, "{answer:?}");
        let details = "The method is not allowed here; the Allow header names those that are";
        assert_eq!(answer.json()["details"], details);
    }
}

#[test]
fn the_catalog_tells_where_the_other_servers_are() {
    let cp = ControlPlane::start();
    let admin = format!("http://{}", cp.admin);
    assert_eq!(
        get(cp.api, "/catalog").json(),
        json!({"apis": {
            "bootstrap": {"url": format!("http://cp.example:{}", cp.api.port())},
            "dataplaneToken": {"localUrl": admin},
            "admin": {"localUrl": admin, "publicUrl": null}}})
    );
    let ca = get(cp.api, "/xds-ca.pem");
    assert_eq!(
        (ca.status, &*ca.body),
        (200, "-----BEGIN CERTIFICATE-----\n")
    );
}

#[test]
fn the_status_has_the_pinned_shape() {
    let cp = ControlPlane::start();
    let at = "2026-01-31T12:00:00Z";
    let authorities = &cp.current.meshes["default"].authorities;
    let active = authorities
        .values()
        .find(|authority| authority.state.name() == "active")
        .unwrap();
    assert_eq!(
        get(cp.api, "/status").json(),
        json!({
            "sources": [{
                "name": "default", "repo": "/srv/mesh", "branch": "main", "path": ".",
                "attemptedRevision": format!("main@sha1:{COMMIT}"), "appliedRevision": null,
                "conditions": [{"type": "Ready", "status": "False", "reason": "MeshesHeldBack",
                    "message": "MeshesHeldBack it is", "lastTransitionTime": at}],
                "diagnostics": [{"code": "WL0104", "severity": "error", "message": "no good",
                    "field": "mtls.ca", "file": "", "line": 0, "column": 0, "hint": "do better"}]}],
            "meshes": [
                {"name": "default", "mtls": {"enabled": true, "ca": "builtin"}, "posture": "strict", "generation": 7,
                    "authorities": [{"id": active.id.to_string(), "name": "builtin authority 2", "state": "active",
                        "notAfter": active.not_after.to_string()}],
                    "transition": null, "conditions": [], "dataplanes": {"known": 2, "online": 1, "insights": [
                        {"name": "dp-echo-1", "connectedSince": at, "replica": "cp-0", "lastSeen": at,
                            "bundle": null, "leafAuthority": Digest::of(b"an old root").to_string(),
                            "leafExpiresAt": "2026-02-01T00:00:00Z", "tokenExpiresAt": "2026-03-02T12:00:00Z",
                            "versions": {"cluster": "sha256:c1"},
                            "parts": {"bundle": {"current": true, "acknowledgedAt": at},
                                "leaf": {"current": false, "acknowledgedAt": null}},
                            "outOfSync": ["identity_cert", "listener"],
                            "lastNack": {"at": at, "resource": "listener",
                                "message": "bell \u{7} rung\u{1b}[2J\u{202e}"}},
                        {"name": "edge", "connectedSince": null, "replica": "cp-0", "lastSeen": at,
                            "bundle": null, "leafAuthority": null, "leafExpiresAt": null,
                            "tokenExpiresAt": null, "versions": {}, "parts": {},
                            "outOfSync": [], "lastNack": null}]}},
                {"name": "off", "mtls": {"enabled": false, "ca": "provided"}, "posture": "plaintext", "generation": 3,
                    "authorities": [], "transition": null,
                    "conditions": [{"type": "Stalled", "status": "True", "reason": "Invalid",
                        "message": "Invalid it is", "lastTransitionTime": at}],
                    "dataplanes": {"known": 1, "online": 0, "insights": [
                        {"name": "edge", "connectedSince": null, "replica": null, "lastSeen": null,
                            "bundle": null, "leafAuthority": null, "leafExpiresAt": null,
                            "tokenExpiresAt": null, "versions": {}, "parts": {}, "outOfSync": [], "lastNack": null}]}}],
            "replicas": [], "store": {"answers": true}
        })
    );
}

#[test]
fn the_history_is_bounded_and_hides_why_the_store_failed() {
    let cp = ControlPlane::start();
    let entry = &get(cp.api, "/history").json()["items"][0];
    assert_eq!(
        (&entry["mesh"], &entry["generation"]),
        (&json!("default"), &json!(7))
    );
    assert_eq!(cp.store.last_limit.load(Ordering::SeqCst), 100);
    assert_eq!(get(cp.api, "/history?limit=3").status, 200);
    assert_eq!(cp.store.last_limit.load(Ordering::SeqCst), 3);
    for bad in ["0", "1001", "-1", "x", "", "99999999999999999999"] {
        let answer = get(cp.api, &format!("/history?limit={bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.json()["causes"][0]["field"], "limit");
    }
    assert_eq!(get(cp.api, "/history?since=1").status, 400);
    cp.store.broken.store(true, Ordering::SeqCst);
    let answer = get(cp.api, "/history");
    assert_eq!(answer.status, 503);
    assert!(!answer.body.contains("secret"), "{answer:?}");
}

#[test]
fn sync_wakes_the_reconciler() {
    let cp = ControlPlane::start();
    assert_eq!(get(cp.api, "/sync").status, 405);
    assert_eq!(call(cp.api, "POST", "/sync", "", "").status, 202);
    assert!(cp.store.asked_for_sync.load(Ordering::SeqCst));
}

#[test]
fn the_state_reads_back_as_it_was_and_holds_no_key() {
    let cp = ControlPlane::start();
    let answer = get(cp.api, "/state");
    assert_eq!(answer.json()["generation"], 7);
    let document: StateDocument = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(Current::from(document), *cp.current);
    assert!(!answer.body.contains("PRIVATE KEY"));
}

#[test]
fn ready_turns_with_the_first_snapshot() {
    let cp = ControlPlane::start();
    let healthy = get(cp.diagnostics, "/healthy");
    assert_eq!((healthy.status, &*healthy.body), (200, "OK\n"));
    let waiting = get(cp.diagnostics, "/ready");
    assert_eq!(
        (waiting.status, &*waiting.body),
        (
            503,
            "nothing is reconciled yet: MeshesHeldBack: MeshesHeldBack it is\n"
        )
    );
    cp.ready.send_replace(true);
    assert_eq!(get(cp.diagnostics, "/ready").status, 200);
}

#[test]
fn metrics_follow_the_state() {
    let cp = ControlPlane::start();
    for _ in 0..2 {
        let answer = get(cp.diagnostics, "/metrics");
        assert!(
            answer
                .head
                .contains("content-type: application/openmetrics-text; version=1.0.0")
        );
        let authorities = cp.current.meshes["default"].authorities.values();
        let active = authorities.filter(|authority| authority.state.name() == "active");
        let (id, end) = active
            .map(|authority| (authority.id, authority.not_after.unix_seconds()))
            .next()
            .unwrap();
        for line in [
            format!(
                "windlass_build_info{{version=\"{}\"}} 1",
                env!("CARGO_PKG_VERSION")
            ),
            "windlass_store_generation 7".to_owned(),
            "windlass_mesh_dataplanes{mesh=\"default\",state=\"known\"} 2".to_owned(),
            "windlass_mesh_dataplanes{mesh=\"default\",state=\"online\"} 1".to_owned(),
            "windlass_mesh_dataplanes{mesh=\"off\",state=\"online\"} 0".to_owned(),
            format!(
                "windlass_authority_not_after_timestamp_seconds{{mesh=\"default\",authority=\"{id}\",state=\"active\"}} {end}"
            ),
        ] {
            assert!(
                answer.body.lines().any(|found| found == line),
                "{line}: {}",
                answer.body
            );
        }
        assert!(!answer.body.contains("revoked"));
        assert!(answer.body.ends_with("# EOF\n"));
    }
}

#[test]
fn web_pages_do_not_reach_the_servers() {
    let cp = ControlPlane::start();
    for to in [cp.api, cp.admin, cp.diagnostics] {
        let with = |lines: &str| {
            let request = format!("GET /catalog HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
            exchange(to, &request).status
        };
        let found = if to == cp.api { 200 } else { 404 };
        let port = to.port();
        for (lines, expected) in [
            (format!("Host: {to}\r\n"), found),
            (format!("Host: localhost:{port}\r\n"), found),
            (format!("Host: [::1]:{port}\r\n"), found),
            ("Host: CP.example\r\n".to_owned(), found),
            (format!("Host: rebound.example:{port}\r\n"), 421),
            ("Host: 127.0.0.1.evil.example\r\n".to_owned(), 421),
            (String::new(), 400),
            (format!("Host: {to}\r\nHost: localhost\r\n"), 400),
            (format!("Host: {to}\r\nOrigin: http://{to}\r\n"), found),
            (
                format!("Host: {to}\r\nOrigin: http://evil.example\r\n"),
                403,
            ),
            (format!("Host: {to}\r\nOrigin: http://localhost:1\r\n"), 403),
            (format!("Host: {to}\r\nOrigin: null\r\n"), 403),
        ] {
            assert_eq!(with(&lines), expected, "{to} {lines:?}");
        }
        let absolute = format!(
            "GET http://evil.example/catalog HTTP/1.1\r\nConnection: close\r\nHost: {to}\r\n\r\n"
        );
        assert_eq!(exchange(to, &absolute).status, 421);
    }
}

/// A family without a sample is not written: each has one here, the xDS
/// server's from the start.
#[test]
fn docs_metrics_names_every_family() {
    let cp = transition::rolling();
    cp.metrics
        .reconciled(ReconcileResult::Applied, Duration::ZERO);
    cp.metrics
        .source_applied(&"default".parse().unwrap(), control_plane::now());
    let scrape = get(cp.diagnostics, "/metrics").body;
    let mut text = METRICS.to_owned();
    let mut lines = scrape.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let kind = lines
            .next()
            .and_then(|line| line.rsplit(' ').next())
            .unwrap();
        let _unit = lines.next_if(|line| line.starts_with("# UNIT"));
        let sample = lines.peek().filter(|line| !line.starts_with('#'));
        let sample = sample.unwrap_or_else(|| panic!("give {name} a sample above"));
        let labels = sample.split(['{', '}']).nth(1).unwrap_or_default();
        let labels: Vec<_> = labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let labels = labels
            .iter()
            .map(|(label, _)| format!("`{label}`"))
            .filter(|label| label != "`le`");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = labels.collect::<Vec<_>>().join(", ");
        writeln!(text, "| `{name}{suffix}` | {kind} | {labels} | {help} |").unwrap();
    }
    assert_document("docs/metrics.md", &text);
}

const METRICS: &str = "\
<!-- Written from src/telemetry/metrics.rs and src/xds/metrics.rs by `UPDATE_DOCS=1 cargo nextest run docs`. -->

# Metrics

`GET http://127.0.0.1:5680/metrics` answers in the text format of OpenMetrics 1.0.
`state` of `windlass_mesh_dataplanes` is `known` or `online`; of
`windlass_authority_not_after_timestamp_seconds` it is the authority's state. `posture` is `plaintext`,
`identified`, `permissive`, `encrypting` or `strict`, and `phase` is one that `windlass transition show` names.
The series of a mesh that is gone are gone.
`result` is `applied`, `unchanged`, `held_back` or `failed`. `protocol` is `sotw` or `delta`,
`service` is `sds` or `ads`, `type` is a type of resources such as `secret` or `cluster`, and `code` is a
gRPC code such as `unauthenticated`.
A family with none of its labels seen yet is left out.

| metric | type | labels | what it is |
|---|---|---|---|
";
