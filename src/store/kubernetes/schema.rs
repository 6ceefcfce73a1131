//! The definitions of the custom resources.
//!
//! They say what shape a resource has. What it may hold is for the rules that
//! a commit obeys, too: their messages name the field and the way out, and a
//! schema would speak before them. Unknown fields are kept for the same
//! reason: the rules refuse them, where the API server would drop them in silence.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::form::{self, KINDS};
use crate::model::{Kind, Offline, Phase, Strategy};

/// The three definitions, as they are given to the API server.
#[must_use]
pub fn crds() -> Vec<Value> {
    KINDS.into_iter().map(crd).collect()
}

fn crd(kind: Kind) -> Value {
    let names = form::api_resource(kind);
    let (scope, short) = match kind {
        Kind::Mesh => ("Cluster", "mesh"),
        Kind::TrafficPermission => ("Namespaced", "tp"),
        Kind::Dataplane | Kind::ProvidedCa => ("Namespaced", "dp"),
    };
    let mut properties = json!({
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec(kind),
        "status": status(kind),
    });
    let mut required = vec!["spec"];
    if kind != Kind::Mesh {
        properties["mesh"] = text("The mesh that the resource belongs to.");
        required.push("mesh");
    }
    let mut names_form = json!({
        "kind": kind,
        "listKind": format!("{kind}List"),
        "plural": names.plural,
        "singular": kind.as_str().to_lowercase(),
        "categories": ["windlass"],
    });
    if kind != Kind::Mesh {
        names_form["shortNames"] = json!([short]);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.kuma.io", names.plural),
            "labels": {"app.kubernetes.io/name": "windlass"},
        },
        "spec": {
            "group": "kuma.io",
            "scope": scope,
            "names": names_form,
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(kind),
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": about(kind),
                    "required": required,
                    "properties": properties,
                }},
            }],
        },
    })
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Mesh => "A service mesh and its mTLS policy.",
        Kind::TrafficPermission => "Which services may open connections to which.",
        Kind::Dataplane => "A proxy and the service instances behind it.",
        Kind::ProvidedCa => "A root that the user provides.",
    }
}

fn columns(kind: Kind) -> Value {
    let column =
        |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let mut columns = match kind {
        Kind::Mesh => vec![
            column("mTLS", "boolean", ".spec.mtls.enabled"),
            column("CA", "string", ".status.ca"),
            column("Posture", "string", ".status.posture"),
            column("Phase", "string", ".status.phase"),
            column("Dataplanes", "integer", ".status.dataplanes.known"),
            column("Online", "integer", ".status.dataplanes.online"),
        ],
        Kind::TrafficPermission => vec![column("Mesh", "string", ".mesh")],
        Kind::Dataplane | Kind::ProvidedCa => vec![
            column("Mesh", "string", ".mesh"),
            column(
                "Service",
                "string",
                ".spec.networking.inbound[*].tags.service",
            ),
            column("Gateway", "string", ".spec.networking.gateway.tags.service"),
            column("Address", "string", ".spec.networking.address"),
            column("Online", "boolean", ".status.online"),
        ],
    };
    let accepted = ".status.conditions[?(@.type==\"Accepted\")].status";
    let mut last = column("Accepted", "string", accepted);
    last["priority"] = json!(i32::from(kind == Kind::Mesh));
    columns.push(last);
    columns.push(column("Age", "date", ".metadata.creationTimestamp"));
    Value::from(columns)
}

fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

/// An object that may hold other fields, for the rules to refuse.
fn object(about: &str, fields: &[(&str, Value)]) -> Value {
    let fields = fields
        .iter()
        .map(|(name, field)| ((*name).to_owned(), field.clone()));
    json!({
        "type": "object",
        "description": about,
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": fields.collect::<Map<String, Value>>(),
    })
}

#[allow(clippy::needless_pass_by_value, reason = "callers build it in place")]
fn list(about: &str, items: Value) -> Value {
    json!({"type": "array", "description": about, "items": items})
}

fn port(about: &str) -> Value {
    json!({"type": "integer", "format": "int32", "description": about})
}

/// One of a few words: which, is for the rules to say.
fn words(about: &str, words: &[impl Serialize]) -> Value {
    let words: Vec<String> = words.iter().map(|it| json!(it).to_string()).collect();
    text(&format!("{about} One of {}.", words.join(", ")))
}

fn tags() -> Value {
    json!({
        "type": "object",
        "description": "Tags by name; `service` among them.",
        "additionalProperties": {"type": "string"},
    })
}

fn spec(kind: Kind) -> Value {
    let mut spec = match kind {
        Kind::Mesh => object("What the mesh is to be.", &[("mtls", mtls())]),
        Kind::TrafficPermission => {
            let tags = json!({
                "type": "object",
                "description": "The one tag `service`; `*` matches every service.",
                "additionalProperties": {"type": "string"},
            });
            let selector = object("Selects services.", &[("match", tags)]);
            object(
                "Who may open connections to whom.",
                &[
                    ("sources", list("Who may connect.", selector.clone())),
                    ("destinations", list("To whom.", selector)),
                ],
            )
        }
        Kind::Dataplane | Kind::ProvidedCa => object(
            "What the proxy stands for.",
            &[("networking", networking())],
        ),
    };
    if let Value::Object(fields) = &mut spec {
        fields.remove("nullable");
    }
    spec
}

fn mtls() -> Value {
    let transition = object(
        "How changes of mTLS or CA are carried out.",
        &[
            (
                "strategy",
                words(
                    "How a change of CA is carried out.",
                    &[Strategy::Rolling, Strategy::DisableFirst, Strategy::Forbid],
                ),
            ),
            (
                "ackTimeout",
                text("How long a gate waits before the transition is stalled, such as `5m`."),
            ),
            (
                "offline",
                words(
                    "What a gate does about proxies that are known but not connected.",
                    &[Offline::Block, Offline::Ignore],
                ),
            ),
            ("hold", words("The phase to stop before.", &Phase::ALL)),
        ],
    );
    let ordinal = json!({
        "type": "integer",
        "format": "int32",
        "description": "Which of the roots that Windlass makes for the mesh, counted from 1.",
    });
    let mut ca = object(
        "Which CA signs: exactly one of these.",
        &[
            (
                "builtin",
                object("A root that Windlass makes.", &[("ordinal", ordinal)]),
            ),
            (
                "provided",
                object(
                    "A root that the user provides.",
                    &[(
                        "name",
                        text("Which ProvidedCa, where the mesh has several."),
                    )],
                ),
            ),
        ],
    );
    // Whoever applies one of them on the server's side takes the other away.
    ca["x-kubernetes-map-type"] = json!("atomic");
    let enabled = json!({"type": "boolean", "description": "Whether proxies must use mTLS."});
    object(
        "Mutual TLS; disabled where it is left out.",
        &[("enabled", enabled), ("ca", ca), ("transition", transition)],
    )
}

fn networking() -> Value {
    let inbound = object(
        "One service instance.",
        &[
            ("port", port("The port that the proxy listens on.")),
            (
                "servicePort",
                port("The port that the service listens on; `port` where not set."),
            ),
            ("tags", tags()),
        ],
    );
    let outbound = object(
        "One service that the workload reaches through the proxy.",
        &[
            (
                "address",
                text("The address that the proxy listens on; 127.0.0.1 where not set."),
            ),
            ("port", port("The port that the proxy listens on.")),
            ("service", text("The service that connections go to.")),
        ],
    );
    object(
        "Where the proxy listens.",
        &[
            (
                "address",
                text("The address that other proxies reach this one at."),
            ),
            (
                "inbound",
                list("The service instances behind the proxy.", inbound),
            ),
            (
                "gateway",
                object("A gateway, which has outbounds only.", &[("tags", tags())]),
            ),
            (
                "outbound",
                list("The services that the workload reaches.", outbound),
            ),
        ],
    )
}

fn status(kind: Kind) -> Value {
    let mut properties = json!({"conditions": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["type", "status"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string"},
                "reason": {"type": "string"},
                "message": {"type": "string"},
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string"},
            },
        },
    }});
    match kind {
        Kind::Mesh => {
            for field in ["ca", "posture", "phase"] {
                properties[field] = json!({"type": "string", "nullable": true});
            }
            properties["generation"] = json!({"type": "integer", "format": "int64"});
            let count = json!({"type": "integer"});
            properties["dataplanes"] = json!({
                "type": "object",
                "properties": {"known": count, "online": count},
            });
        }
        Kind::Dataplane => {
            properties["online"] = json!({"type": "boolean"});
            properties["replica"] = json!({"type": "string", "nullable": true});
        }
        Kind::TrafficPermission | Kind::ProvidedCa => {}
    }
    json!({
        "type": "object",
        "description": "What Windlass says of the resource.",
        "properties": properties,
    })
}
