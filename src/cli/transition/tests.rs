use super::*;

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// A transition in the shape of the status.
fn transition() -> serde_json::Value {
    serde_json::json!({
        "from": "builtin authority 1", "to": "provided authority \u{1b}[2Jroot", "strategy": "disableFirst",
        "phase": "propagate", "since": "2026-01-31T11:53:00Z", "awaiting": ["demo/away", "demo/nack"],
        "stalled": true, "stalledSince": "2026-01-31T11:58:00Z", "held": false,
        "started": "2026-01-31T11:50:00Z", "revision": "main@sha1:0123456789abcdef0123456789abcdef01234567",
        "gate": {"before": "activate", "waitsFor": "every proxy to acknowledge the trust bundle",
            "proxies": 5, "done": 3, "leaves": {"acknowledged": 2, "all": 4}, "eta": "2026-01-31T12:10:00Z"},
        "awaited": [
            {"dataplane": "away", "reason": "away", "part": null, "since": "2026-01-31T09:00:00Z",
                "message": "not connected, and may hold a certificate", "until": "2026-02-01T09:00:00Z",
                "hint": "start it"},
            {"dataplane": "nack", "reason": "rejected", "part": "bundle", "since": "2026-01-31T11:53:01Z",
                "message": "rejected the trust bundle: bell \u{7}\n", "until": null, "hint": "look at it"}],
        "approved": ["demo/old"], "plaintext": "1m15s",
        "steps": [
            {"summary": "stop signing with builtin authority 1",
                "waitsFor": "every proxy to acknowledge the trust bundle", "risk": "none"},
            {"summary": "destroy the key of builtin authority 1", "waitsFor": null, "risk": "destructive"}],
    })
}

fn read(value: &serde_json::Value) -> TransitionStatus {
    serde_json::from_value(value.clone()).unwrap()
}

fn shown(value: &serde_json::Value) -> String {
    let mesh = "demo".parse().unwrap();
    show::text(&mesh, Some(&read(value)), now()).unwrap()
}

#[test]
fn it_is_shown_where_it_is_who_is_awaited_and_what_to_do() {
    assert_eq!(
        shown(&transition()),
        "\
mesh demo: from builtin authority 1 to provided authority \\u{1b}[2Jroot
  state       stalled
  phase       propagate, for 7m
  strategy    disableFirst
  began       2026-01-31T11:50:00Z, 10m ago
  asked by    main@sha1:0123456789abcdef0123456789abcdef01234567
  waits for   every proxy to acknowledge the trust bundle, before activate
  done        3 of 5 proxies
  leaves      2 of 4
  goes on     by 2026-01-31T12:10:00Z, in 10m
  plaintext   accepted for 1m15s
  without     demo/old
  stalled     since 2026-01-31T11:58:00Z, for 2m

awaited
  demo/away, for 3h: not connected, and may hold a certificate, until 2026-02-01T09:00:00Z
    hint: start it
  demo/nack, for 6m: rejected the trust bundle: bell \\u{7}
    hint: look at it

to come
  1. stop signing with builtin authority 1
     waits for every proxy to acknowledge the trust bundle
  2. destroy the key of builtin authority 1 [destructive]
"
    );
}

#[test]
fn one_that_is_held_says_what_lifts_that_and_many_are_not_all_listed() {
    let mut value = transition();
    value["held"] = true.into();
    value["stalled"] = false.into();
    value["stalledSince"] = serde_json::Value::Null;
    let one = value["awaited"][0].clone();
    value["awaited"] = std::iter::repeat_n(one, 23).collect();
    let text = shown(&value);
    assert!(text.contains("  state       held\n"), "{text}");
    let hint = "  hint        remove `mtls.transition.hold` from the mesh, or from `windlass.yaml`, to go on\n";
    assert!(text.contains(hint), "{text}");
    let more = "  and 3 more; `-o json` names them all\n";
    assert!(text.contains(more), "{text}");
    assert!(!text.contains("stalled"), "{text}");
}

#[test]
fn what_blocks_it_is_shown_with_the_way_out() {
    let mut value = transition();
    value["held"] = true.into();
    value["blocked"] = serde_json::json!({
        "reason": "RootTooShort", "message": "the root ends \u{1b}[2J", "hint": "go back",
    });
    let text = shown(&value);
    assert!(text.contains("  state       blocked\n"), "{text}");
    let blocked = "  blocked     the root ends \\u{1b}[2J\n  hint        go back\n";
    assert!(text.contains(blocked), "{text}");
}

#[test]
fn all_that_run_are_listed_in_a_table() {
    let (mesh, other): (MeshName, MeshName) = ("demo".parse().unwrap(), "b".parse().unwrap());
    let mut value = transition();
    value["to"] = "plaintext".into();
    let stalled = read(&value);
    value["stalled"] = false.into();
    let waiting = read(&value);
    value["gate"] = serde_json::Value::Null;
    value["awaiting"] = serde_json::json!([]);
    let running = read(&value);
    let of = |mesh, transition| OfMesh { mesh, transition };
    let list = [
        of(&mesh, &stalled),
        of(&other, &waiting),
        of(&other, &running),
    ];
    assert_eq!(
        list_table(&list, now()),
        "\
MESH   FROM                  TO          PHASE       FOR   AWAITING   STATE
demo   builtin authority 1   plaintext   propagate   7m    2          stalled
b      builtin authority 1   plaintext   propagate   7m    2          waiting
b      builtin authority 1   plaintext   propagate   7m    0          running
"
    );
    assert_eq!(
        list_table(&[], now()),
        "MESH   FROM   TO   PHASE   FOR   AWAITING   STATE\n"
    );
}
