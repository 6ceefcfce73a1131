//! The commands that talk to a control plane, and the reference of all of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

mod transition;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use clap::CommandFactory as _;
use windlass::cli::Cli;
use windlass::clock;
use windlass::model::Digest;

use crate::api::control_plane::{COMMIT, ControlPlane, get};

/// Compares a generated document with the file, or writes it where
/// `UPDATE_DOCS` is set.
pub(crate) fn assert_document(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{path} is out of date; `UPDATE_DOCS=1 cargo nextest run docs` writes it anew"
    );
}

/// Runs the program with proxies in its environment that do not exist.
fn windlass(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(args)
        .env("http_proxy", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

/// What the program prints about a control plane when all is well.
fn printed(cp: &ControlPlane, args: &[&str]) -> String {
    let output = windlass(&[args, &["--address", &cp.url()]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*error), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it prints when it fails; nothing of that is data.
fn failure(args: &[&str]) -> String {
    let output = windlass(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn get_prints_the_pinned_columns() {
    let cp = ControlPlane::start();
    assert_eq!(
        printed(&cp, &["get", "meshes"]),
        "NAME      mTLS   CA\ndefault   on     builtin\noff       off    provided\n"
    );
    assert_eq!(
        printed(&cp, &["get", "traffic-permissions"]),
        "MESH      NAME\ndefault   all\n"
    );
    assert_eq!(
        printed(&cp, &["get", "dataplanes"]),
        "MESH      NAME        TAGS\n\
         default   dp-echo-1   service=admin,echo version=v1\n\
         default   edge        service=edge\n\
         off       edge        service=edge\n"
    );
    assert_eq!(
        printed(&cp, &["get", "dataplanes", "-m", "off"]),
        "MESH   NAME   TAGS\noff    edge   service=edge\n"
    );
    assert_eq!(
        printed(&cp, &["get", "traffic-permissions", "-m", "off"]),
        "MESH   NAME\n"
    );
    assert_eq!(
        printed(&cp, &["get", "mesh", "off"]),
        "NAME   mTLS   CA\noff    off    provided\n"
    );
    for kind in ["traffic-permission", "dataplane"] {
        let name = if kind == "dataplane" { "edge" } else { "all" };
        assert!(printed(&cp, &["get", kind, name]).contains(name), "{kind}");
    }
}

#[test]
fn get_prints_the_universal_form_as_yaml_and_json() {
    let cp = ControlPlane::start();
    assert_eq!(
        printed(&cp, &["get", "mesh", "off", "-o", "yaml"]),
        "items:\n- type: Mesh\n  name: \"off\"\n  mtls:\n    enabled: false\n    ca:\n      provided:\n        name: root\n"
    );
    for kind in ["meshes", "dataplanes", "traffic-permissions"] {
        let served = get(cp.api, &format!("/{kind}")).json();
        let json = printed(&cp, &["get", kind, "-o", "json"]);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            served
        );
        let yaml = printed(&cp, &["get", kind, "-o", "yaml"]);
        assert_eq!(
            serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap(),
            served
        );
    }
}

#[test]
fn inspect_shows_the_proxies_as_a_table_and_all_that_is_known_of_them() {
    let cp = ControlPlane::start();
    let text = printed(&cp, &["inspect", "dataplanes"]);
    let old = &Digest::of(b"an old root").to_hex()[..12];
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| {
            line.split("   ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    let header = "MESH,NAME,STATUS,REPLICA,CERT EXPIRES,TOKEN EXPIRES,AUTHORITY,IN SYNC,LAST ERROR";
    assert_eq!(rows[0].join(","), header);
    let [echo, edge, off] = &rows[1..] else {
        panic!("{text}");
    };
    assert_eq!(echo[..2], ["default", "dp-echo-1"]);
    assert!(echo[2].starts_with("Online for "), "{text}");
    assert_eq!(echo[6..8], [old, "no: identity_cert, listener"]);
    assert!(
        echo[8].ends_with(r" ago: bell \u{7} rung\u{1b}[2J\u{202e}"),
        "{text}"
    );
    assert!(edge[2].starts_with("Offline for "), "{text}");
    assert_eq!(edge[3..8], ["cp-0", "-", "-", "-", "yes"]);
    assert_eq!(off[..3], ["off", "edge", "Never connected"]);

    let one = printed(&cp, &["inspect", "dataplanes", "-m", "off"]);
    assert_eq!(one.lines().count(), 2, "{one}");
    let json = printed(&cp, &["inspect", "dataplanes", "-o", "json"]);
    assert!(!json.contains(['\u{7}', '\u{1b}', '\u{202e}']), "{json}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let status = get(cp.api, "/status").json();
    let mut insights = Vec::new();
    for mesh in status["meshes"].as_array().unwrap() {
        for insight in mesh["dataplanes"]["insights"].as_array().unwrap() {
            let mut insight = insight.clone();
            insight["mesh"] = mesh["name"].clone();
            insights.push(insight);
        }
    }
    assert_eq!(json["items"], serde_json::Value::Array(insights));
    let yaml = printed(&cp, &["inspect", "dataplanes", "-o", "yaml"]);
    assert!(
        yaml.starts_with("items:\n- mesh: default\n  name: dp-echo-1\n"),
        "{yaml}"
    );
    assert!(!yaml.contains(['\u{7}', '\u{1b}']), "{yaml}");

    let error = failure(&[
        "inspect",
        "dataplanes",
        "-m",
        "none",
        "--address",
        &cp.url(),
    ]);
    assert!(
        error.starts_with("Error: there is no mesh none\n"),
        "{error}"
    );
}

#[test]
fn status_is_text_for_people_and_json_for_programs() {
    let cp = ControlPlane::start();
    let text = printed(&cp, &["status"]);
    let authorities = cp.current.meshes["default"].authorities.values();
    let active = authorities.filter(|authority| authority.state.name() == "active");
    let id = active
        .map(|authority| authority.id.0.to_hex())
        .next()
        .unwrap();
    for line in [
        "source default: /srv/mesh (path .)".to_owned(),
        "  applied    no revision as a whole yet".to_owned(),
        format!("  attempted  main@sha1:{COMMIT}"),
        "  Ready         False   MeshesHeldBack: MeshesHeldBack it is".to_owned(),
        "  error[WL0104]: mtls.ca: no good".to_owned(),
        "    hint: do better".to_owned(),
        "off: Stalled       True    Invalid: Invalid it is".to_owned(),
        format!(
            "default   on     builtin    7            {} active until 2036-01-31   1/2 online",
            &id[..12]
        ),
"off       off    provided   3                                                   0/1 online".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json = printed(&cp, &["status", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, get(cp.api, "/status").json());
}

#[test]
fn history_obeys_its_limit_and_prints_no_control_characters() {
    let cp = ControlPlane::start();
    assert_eq!(
        printed(&cp, &["history", "--limit", "5"]),
        format!(
            "2026-01-31T12:00:00Z  generation 7  mesh default  main@sha1:{COMMIT}\n  - enable mTLS\n  - bell \\u{{7}} rung\n"
        )
    );
    assert_eq!(cp.store.last_limit.load(Ordering::SeqCst), 5);
    let json = printed(&cp, &["history", "-o", "json"]);
    assert!(json.contains("\"generation\": 7"), "{json}");
    failure(&["history", "--limit", "0"]);
}

#[test]
fn a_dataplane_token_is_all_of_standard_output() {
    let cp = ControlPlane::start();
    let token = printed(
        &cp,
        &[
            "generate",
            "dataplane-token",
            "--name=dp-echo-1",
            "--mesh=default",
        ],
    );
    // A file of it goes into a header as it is.
    let claims = cp.tokens.verify(&token, clock::now()).unwrap();
    assert_eq!(claims.dataplane.to_string(), "default/dp-echo-1");
    let hour = ["--name", "a", "--mesh", "b", "--valid-for", "1h"];
    let token = printed(&cp, &[&["generate", "dataplane-token"], &hour[..]].concat());
    let claims = cp.tokens.verify(token.trim(), clock::now()).unwrap();
    assert!(claims.expires_at.since(claims.issued_at).as_secs() <= 3601);
}

#[test]
fn a_refusal_prints_as_in_the_reference() {
    let cp = ControlPlane::start();
    let url = cp.url();
    let to = ["--address", &url];
    let generate = ["generate", "dataplane-token", "--name", "", "--mesh", "Bad"];
    assert_eq!(
        failure(&[&generate[..], &to].concat()),
        "Error: Could not issue a token (Resource is not valid)\n\
         * name: cannot be empty\n\
         * mesh: must consist of lower case letters, digits, '-', '_'\n"
    );
    assert_eq!(
        failure(&[&["get", "mesh", "none"], &to[..]].concat()),
        "Error: Could not retrieve the mesh (Not found)\n"
    );
}

#[test]
fn a_control_plane_that_is_not_there_is_said_with_what_to_do() {
    // Nobody listens on a port that was just given back.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = format!("http://{free}");
    let text = failure(&["status", "--address", &address]);
    assert!(
        text.starts_with(&format!("Error: no control plane answers at {address}\n")),
        "{text}"
    );
    assert!(text.contains("hint: `windlass run` starts one"), "{text}");
    for (address, problem) in [
        (
            "https://127.0.0.1:5681",
            "https is spoken by the admin server only",
        ),
        ("127.0.0.1:5681", "it does not start with http://"),
        ("http://127.0.0.1:5681/meshes", "it has a path"),
        ("http://me:secret@127.0.0.1", "it holds credentials"),
        ("not a url", "it is no URL"),
    ] {
        let text = failure(&["status", "--address", address]);
        assert!(text.contains(problem), "{address}: {text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.contains("hint: it looks like http://127.0.0.1:5681"),
            "{text}"
        );
    }
}

#[test]
fn a_server_that_is_no_control_plane_is_recognized() {
    let cp = ControlPlane::start();
    let diagnostics = format!("http://{}", cp.diagnostics);
    let text = failure(&["status", "--address", &diagnostics]);
    assert!(text.starts_with("Error: Could not find the path"), "{text}");
    // A catalog that sends the client elsewhere is not followed.
    let elsewhere = failure(&[
        "generate",
        "dataplane-token",
        "--name=a",
        "--mesh=b",
        "--address=http://192.0.2.1:5681",
    ]);
    assert!(
        elsewhere.contains("192.0.2.1:5681 is not on this machine's loopback"),
        "{elsewhere}"
    );
}

#[test]
fn completion_scripts_name_the_commands() {
    let output = windlass(&["completion", "bash"]);
    let script = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && script.contains("dataplane-token"));
}

#[test]
fn docs_cli_shows_the_help_of_every_command() {
    let mut text =
        "<!-- Written by `UPDATE_DOCS=1 cargo nextest run docs`. -->\n\n# Command line\n"
            .to_owned();
    let mut root = Cli::command().term_width(100);
    root.build();
    write_help(&mut text, &mut root);
    assert_document("docs/cli.md", &text);
}

fn write_help(text: &mut String, command: &mut clap::Command) {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
    writeln!(text, "\n## {name}\n\n```text\n{}\n```", help.join("\n")).unwrap();
    for subcommand in command.get_subcommands_mut() {
        if subcommand.get_name() != "help" && !subcommand.is_hide_set() {
            write_help(text, subcommand);
        }
    }
}
