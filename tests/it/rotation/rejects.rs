//! Proxies that reject what they are sent: nothing moves past them, and the
//! status says why in their own words.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::stage::{Stage, states, status, wait_until_done, wait_until_stalled};
use crate::support::{sds, wait};

const NEW: &str = "{provided: {name: root-2026}}";

fn gateway(host: &str, name: &str) -> String {
    format!(
        "type: Dataplane\nmesh: demo\nname: {name}\nnetworking:\n  address: {host}\n  \
         gateway: {{tags: {{service: edge}}}}\n"
    )
}

/// What the status says of a proxy that is waited for.
fn awaited<'a>(mesh: &'a Value, dataplane: &str) -> &'a Value {
    let awaited = mesh["transition"]["awaited"].as_array();
    let mut awaited = awaited.unwrap_or_else(|| panic!("{mesh:#}")).iter();
    let found = awaited.find(|it| it["dataplane"] == dataplane);
    found.unwrap_or_else(|| panic!("{mesh:#}"))
}

#[test]
pub(crate) fn a_proxy_that_rejects_the_second_root_keeps_the_first_one_signing() {
    let stage = Stage::set();
    let document = gateway(&stage.network.host, "dp-picky-1");
    let file = ("demo/picky.yaml", Some(document.as_str()));
    stage.network.commit(&[file], "a picky proxy");
    let is_picky = Arc::new(AtomicBool::new(true));
    let picky = {
        let is_picky = Arc::clone(&is_picky);
        sds::Proxy::start(&stage.network.daemon, "demo", "dp-picky-1", move |bundle| {
            let roots = bundle.matches("BEGIN CERTIFICATE").count();
            if roots > 1 && is_picky.load(Ordering::SeqCst) {
                Err("two roots are one too many".to_owned())
            } else {
                Ok(())
            }
        })
    };
    wait::until("its certificate", || picky.check(|it| it.leaves > 0));
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    let mesh = wait_until_stalled(&stage, "propagate", &["demo/dp-picky-1"]);
    assert_eq!(states(&mesh), ["active", "prepared", "staged"], "{mesh:#}");
    let why = awaited(&mesh, "dp-picky-1");
    assert_eq!(why["reason"], "rejected", "{mesh:#}");
    assert!(why.to_string().contains("one too many"), "{mesh:#}");
    let leaves = picky.seen().leaves;

    // An answer to the next bytes is an answer; one to the same bytes was none.
    is_picky.store(false, Ordering::SeqCst);
    stage.commit("{builtin: {}}", "{}", "taken back");
    wait_until_done(&stage.network);
    assert_eq!(picky.seen().leaves, leaves, "no other authority has signed");
    stage.commit(NEW, "{}", "another CA again");
    let mesh = wait_until_done(&stage.network);
    assert_eq!(states(&mesh), ["active", "staged"], "{mesh:#}");
    assert!(picky.seen().leaves > leaves);
    stage.assert_flawless();
}

#[test]
pub(crate) fn an_envoy_that_rejects_a_listener_keeps_the_old_root_trusted() {
    let stage = Stage::set();
    let taken = TcpListener::bind((stage.network.host.as_str(), 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let file = "demo/dataplanes.yaml";
    let former = std::fs::read_to_string(stage.network.site.repo.path().join(file));
    let outbound = format!(
        "  outbound:\n    - {{address: {}, port: {port}, service: redis}}\n",
        stage.network.host
    );
    let changed = former
        .expect("a file")
        .replacen("  outbound:\n", &outbound, 1);
    stage
        .network
        .commit(&[(file, Some(&changed))], "a port that is taken");
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    let mesh = wait_until_stalled(&stage, "retire", &["demo/dp-web-1"]);
    // The new one signs; the old one stays until connections under it have ended.
    assert_eq!(states(&mesh), ["active", "retiring", "staged"], "{mesh:#}");
    let why = awaited(&mesh, "dp-web-1");
    assert_eq!(why["reason"], "rejected", "{mesh:#}");
    assert!(
        why.to_string().contains("Address already in use"),
        "{mesh:#}"
    );
    drop(taken);
    stage.network.commit(
        &[("demo/other.yaml", Some(&gateway("127.0.0.1", "dp-other-1")))],
        "more",
    );
    let still = status(&stage.network).expect("a status");
    assert_eq!(
        still["transition"]["awaiting"],
        json!(["demo/dp-web-1"]),
        "{still:#}"
    );
    let other = changed.replace(&port.to_string(), "12099");
    stage
        .network
        .commit(&[(file, Some(&other))], "a port that is free");
    let mesh = wait_until_done(&stage.network);
    assert_eq!(states(&mesh), ["active", "staged"], "{mesh:#}");
    stage.assert_flawless();
}
