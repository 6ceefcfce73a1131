//! `windlass transition` against a control plane.

use serde_json::{Value, json};

use super::{failure, printed, windlass};
use crate::api::control_plane::get;
use crate::api::transition::{AWAITED, rolling, scene};

#[test]
fn list_and_show_tell_what_the_status_has() {
    let cp = rolling();
    let text = printed(&cp, &["transition", "list"]);
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].starts_with("MESH   FROM "), "{text}");
    assert!(rows[1].starts_with("demo   builtin authority 1 "), "{text}");
    assert!(rows[1].ends_with("4          stalled"), "{text}");
    let served = get(cp.api, "/meshes/demo/transition").json();
    let list = printed(&cp, &["transition", "list", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"][0]["mesh"], "demo");
    assert_eq!(list["items"][0]["awaiting"], served["awaiting"]);

    let text = printed(&cp, &["transition", "show", "demo"]);
    for line in [
        "mesh demo: from builtin authority 1 to builtin authority 2",
        "  done        1 of 5 proxies",
        "  demo/dp-blind, for 10m: connected, and never asked for the trust bundle",
        r"  demo/dp-nack, for 10m: rejected the trust bundle: bell \u{7} bad certificate",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let approve = "`windlass transition approve demo --dataplane dp-away` goes on without it";
    assert!(text.contains(approve), "{text}");
    let json = printed(&cp, &["transition", "show", "demo", "-o", "json"]);
    assert!(!json.contains('\u{7}'), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["steps"], served["steps"]);
    let yaml = printed(&cp, &["transition", "show", "demo", "-o", "yaml"]);
    assert!(yaml.contains("phase: propagate\n"), "{yaml}");

    let none = printed(&cp, &["transition", "show", "idle"]);
    assert_eq!(none, "mesh idle: no transition runs\n");
    let none = printed(&cp, &["transition", "show", "idle", "-o", "json"]);
    assert_eq!(none, "null\n");
    let text = failure(&["transition", "show", "none", "--address", &cp.url()]);
    assert_eq!(text, "Error: Could not retrieve the mesh (Not found)\n");
    let status = printed(&cp, &["status"]);
    assert!(
        status.contains("`windlass transition show demo` tells more"),
        "{status}"
    );
}

#[test]
fn nobody_is_approved_without_being_named_or_all_asked_for() {
    let scene = scene();
    let url = scene.cp.url();
    let approve = |args: &[&str]| {
        let all = [&["transition", "approve", "demo", "--address", &url], args].concat();
        windlass(&all)
    };
    for args in [&[][..], &["--all", "--dataplane", "dp-nack"]] {
        let refused = approve(args);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
    let approved = || get(scene.cp.api, "/meshes/demo/transition").json()["approved"].clone();
    assert_eq!(approved(), json!([]));
    let not_awaited = approve(&["--dataplane", "dp-nack", "--dataplane", "dp-done"]);
    assert_eq!(not_awaited.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(not_awaited.stderr).unwrap(),
        "Error: Could not approve (awaited now: demo/dp-away, demo/dp-blind, demo/dp-nack, demo/dp-silent)\n\
         * dataplanes[1]: demo/dp-done is not awaited\n"
    );
    assert_eq!(approved(), json!([]));
    let one = approve(&["--dataplane", "dp-nack"]);
    assert_eq!(one.stdout, b"goes on without demo/dp-nack\n", "{one:?}");
    let all = approve(&["--all"]);
    assert_eq!(
        String::from_utf8(all.stdout).unwrap(),
        "goes on without demo/dp-away\ngoes on without demo/dp-blind\ngoes on without demo/dp-silent\n"
    );
    assert_eq!(approved().as_array().unwrap().len(), AWAITED.len());
    let nobody = approve(&["--all"]);
    assert_eq!(
        nobody.stdout,
        b"mesh demo: nobody is awaited, nothing is approved\n"
    );
    assert!(nobody.status.success());
    // What is left out of the text is in the history.
    let history = printed(&scene.cp, &["history", "--full"]);
    assert!(
        history.contains("  - approved going on without demo/dp-nack\n"),
        "{history}"
    );
}
