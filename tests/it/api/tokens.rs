//! `POST /tokens`

use std::time::Duration;

use serde_json::json;
use windlass::clock;

use super::control_plane::{ControlPlane, call};

fn causes(cp: &ControlPlane, body: &str) -> Vec<String> {
    let answer = call(cp.admin, "POST", "/tokens", "", body);
    assert_eq!(answer.status, 400, "{body}");
    let answer = answer.json();
    assert_eq!(answer["title"], "Could not issue a token");
    assert_eq!(answer["details"], "Resource is not valid");
    let causes = answer["causes"].as_array().unwrap().iter();
    causes
        .map(|cause| {
            let text = |name: &str| cause[name].as_str().unwrap();
            format!("{}: {}", text("field"), text("message"))
        })
        .collect()
}

#[test]
fn a_token_is_issued_whatever_the_content_type() {
    let cp = ControlPlane::start();
    let body = json!({"name": "dp-echo-1", "mesh": "default"}).to_string();
    for header in [
        "",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json\r\n",
    ] {
        let answer = call(cp.admin, "POST", "/tokens", header, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.head.contains("content-type: text/plain"),
            "{answer:?}"
        );
        let claims = cp.tokens.verify(&answer.body, clock::now()).unwrap();
        assert_eq!(claims.dataplane.to_string(), "default/dp-echo-1");
        let lifetime = claims.expires_at.since(claims.issued_at);
        assert!(lifetime.abs_diff(Duration::from_hours(720)) <= Duration::from_secs(1));
    }
}

#[test]
fn a_token_lives_as_long_as_is_asked() {
    let cp = ControlPlane::start();
    // The store does not know this dataplane yet: it gets a token all the same.
    let body = json!({"name": "new", "mesh": "other", "validFor": "1h30m"}).to_string();
    let answer = call(cp.admin, "POST", "/tokens", "", &body);
    let claims = cp.tokens.verify(&answer.body, clock::now()).unwrap();
    let lifetime = claims.expires_at.since(claims.issued_at);
    assert!(lifetime.abs_diff(Duration::from_mins(90)) <= Duration::from_secs(1));
}

#[test]
fn every_bad_field_is_named_at_once() {
    let cp = ControlPlane::start();
    let empty = ["name: cannot be empty", "mesh: cannot be empty"];
    for body in [
        "{}",
        r#"{"name": "", "mesh": ""}"#,
        r#"{"name": null, "mesh": null}"#,
    ] {
        assert_eq!(causes(&cp, body), empty, "{body}");
    }
    assert_eq!(
        causes(&cp, r#"{"name": 1, "mesh": "A.b", "validFor": "soon"}"#),
        [
            "name: must be a string",
            "mesh: must consist of lower case letters, digits, '-', '_'",
            "validFor: must be a duration such as `500ms`, `30s`, `5m`, `24h` or `1h30m`",
        ]
    );
    for valid_for in ["0s", "999ms", "99999d"] {
        let body = json!({"name": "a", "mesh": "b", "validFor": valid_for}).to_string();
        assert_eq!(causes(&cp, &body), ["validFor: must be from 1s to 3653d"]);
    }
}

#[test]
fn what_is_no_request_is_refused_with_a_cause() {
    let cp = ControlPlane::start();
    for body in [
        "",
        "[]",
        // As the reference misprints it.
        r#"{"name:" "dp-echo-1", "mesh": "default"}"#,
        r#"{"name": "a", "mesh": "b", "admin": true}"#,
        r#"{"name": "a", "name": "b", "mesh": "c"}"#,
        r#"{"name": "a", "mesh": "b"} trailing"#,
    ] {
        let causes = causes(&cp, body);
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert!(
            causes[0].starts_with(".: not a valid request: "),
            "{causes:?}"
        );
    }
    let long = json!({"name": "a".repeat(16 * 1024), "mesh": "b"}).to_string();
    let answer = call(cp.admin, "POST", "/tokens", "", &long);
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["title"], "Could not issue a token");
    assert_eq!(call(cp.admin, "GET", "/tokens", "", "").status, 405);
    assert_eq!(call(cp.api, "POST", "/tokens", "", "{}").status, 404);
}
