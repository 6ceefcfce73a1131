//! What an Envoy is started with, as the API answers it.

use serde_json::{Value, json};

use super::control_plane::{ControlPlane, call};
use super::write::refused;

const TITLE: &str = "Could not make the bootstrap";

fn form(name: &str) -> Value {
    json!({"name": name, "mesh": "default", "adminPort": 9901,
        "dataplaneTokenPath": "/run/windlass/token"})
}

#[test]
fn the_bootstrap_names_the_proxy_its_token_and_the_control_plane() {
    let cp = ControlPlane::start();
    let answer = call(cp.api, "POST", "/bootstrap", "", &form("edge").to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: application/json"));
    let document = answer.json();
    assert_eq!(document["node"]["id"], "default.edge");
    let admin = &document["admin"]["address"]["socket_address"];
    assert_eq!(*admin, json!({"address": "127.0.0.1", "port_value": 9901}));
    let service = &document["dynamic_resources"]["ads_config"]["grpc_services"][0]["google_grpc"];
    assert_eq!(service["target_uri"], "cp.example:5678");
    assert!(answer.body.contains("-----BEGIN CERTIFICATE-----"));
    assert!(answer.body.contains("\"/run/windlass/token\""));
}

#[test]
fn an_admin_server_is_there_only_where_its_port_is_asked_for() {
    let cp = ControlPlane::start();
    for port in [Value::Null, json!(0)] {
        let mut form = form("edge");
        form["adminPort"] = port;
        let answer = call(cp.api, "POST", "/bootstrap", "", &form.to_string());
        assert_eq!(
            (answer.status, &answer.json()["admin"]),
            (200, &Value::Null)
        );
    }
    let form = r#"{"name": "edge", "mesh": "default", "dataplaneTokenPath": "/t"}"#;
    let answer = call(cp.api, "POST", "/bootstrap", "", form);
    assert_eq!(
        (answer.status, &answer.json()["admin"]),
        (200, &Value::Null)
    );
}

#[test]
fn all_that_is_wrong_with_a_request_is_said_at_once() {
    let cp = ControlPlane::start();
    let long = format!(
        r#"{{"name": "a", "mesh": "b", "dataplaneTokenPath": "/{}"}}"#,
        "x".repeat(4096)
    );
    for (body, expected) in [
        (
            "{}",
            vec![
                "name: cannot be empty",
                "mesh: cannot be empty",
                "dataplaneTokenPath: cannot be empty",
            ],
        ),
        (
            r#"{"name": "", "mesh": "A", "adminPort": 65536, "dataplaneTokenPath": "token"}"#,
            vec![
                "name: cannot be empty",
                "mesh: must consist of lower case letters, digits, '-', '_'",
                "adminPort: must be a number from 0 to 65535; 0 is no admin server",
                "dataplaneTokenPath: must be an absolute path",
            ],
        ),
        (
            r#"{"name": 1, "mesh": null, "adminPort": "x", "dataplaneTokenPath": "/a\nb"}"#,
            vec![
                "name: must be a string",
                "mesh: cannot be empty",
                "adminPort: must be a number from 0 to 65535; 0 is no admin server",
                "dataplaneTokenPath: must not hold control characters",
            ],
        ),
        (
            &long,
            vec!["dataplaneTokenPath: must have at most 4096 bytes"],
        ),
        ("[]", vec![".: not a valid request: must be a JSON object"]),
    ] {
        let answer = call(cp.api, "POST", "/bootstrap", "", body);
        let (status, details, causes) = refused(&answer);
        assert_eq!(
            (status, &*details),
            (400, "Resource is not valid"),
            "{body}"
        );
        assert_eq!(causes, expected, "{body}");
        assert_eq!(answer.json()["title"], TITLE);
    }
    let unknown = form("edge").to_string().replace("adminPort", "admin");
    let answer = call(cp.api, "POST", "/bootstrap", "", &unknown);
    assert_eq!(answer.status, 400);
    assert!(refused(&answer).2[0].contains("unknown field `admin`"));
}

#[test]
fn a_dataplane_that_is_not_there_is_404_and_says_how_it_comes_to_be() {
    let cp = ControlPlane::start();
    let mut none = form("edge");
    none["mesh"] = json!("none");
    for (form, name, mesh) in [(form("dp-9"), "dp-9", "default"), (none, "edge", "none")] {
        let answer = call(cp.api, "POST", "/bootstrap", "", &form.to_string());
        let details = format!(
            "There is no Dataplane {name} in mesh {mesh}; commit it to the Git repository, \
             or create it with PUT /meshes/{mesh}/dataplanes/{name}"
        );
        assert_eq!(refused(&answer), (404, details, vec![]));
        assert_eq!(answer.json()["title"], TITLE);
    }
}
