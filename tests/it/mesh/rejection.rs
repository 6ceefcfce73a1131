//! What a proxy rejects is told to people.

use std::net::TcpListener;

use serde_json::Value;

use super::network::Network;
use crate::support::{Daemon, wait};

fn inspect(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut command = daemon.cli(&["inspect", "dataplanes"]);
    let output = command
        .args(arguments)
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The proxy of web, as JSON has it and as the table shows it.
fn web(daemon: &Daemon) -> (Value, String) {
    let all: Value = serde_json::from_str(&inspect(daemon, &["-o", "json"])).expect("JSON");
    let items = all["items"].as_array().expect("a list");
    let item = items.iter().find(|item| item["name"] == "dp-web-1");
    let table = inspect(daemon, &[]);
    let row = table.lines().find(|row| row.contains("dp-web-1"));
    (item.expect("web").clone(), row.expect("web").to_owned())
}

#[test]
pub(crate) fn a_listener_that_envoy_cannot_make_is_told_in_its_own_words_until_it_can() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    let (good, _) = web(&network.daemon);
    assert_eq!(good["lastNack"], Value::Null);

    let taken = TcpListener::bind((network.host.as_str(), 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let file = "demo/dataplanes.yaml";
    let former = std::fs::read_to_string(network.site.repo.path().join(file)).expect("a file");
    let outbound = format!(
        "  outbound:\n    - {{address: {}, port: {port}, service: redis}}\n",
        network.host
    );
    let changed = former.replacen("  outbound:\n", &outbound, 1);
    network.commit(&[(file, Some(&changed))], "a port that is taken");
    let words = format!(
        "cannot bind '{}:{port}': Address already in use",
        network.host
    );
    let is_told = |daemon: &Daemon| {
        wait::until("the rejection", || {
            let (item, row) = web(daemon);
            let message = item["lastNack"]["message"].as_str().unwrap_or_default();
            let is_told = item["lastNack"]["resource"] == "listener"
                && message.contains(&words)
                && item["outOfSync"] == serde_json::json!(["listener"])
                && row.contains("no: listener")
                && row.contains("Error adding/updating listener(s) outbound:");
            is_told.then_some(item).ok_or(row)
        })
    };
    let told = is_told(&network.daemon);
    // It goes on with what it had.
    assert_eq!(told["connectedSince"], good["connectedSince"]);
    network.wait_until_reached("demo", "backend");

    network.commit(&[(file, Some(&former))], "as it was");
    wait::until("web to be in sync", || {
        let (item, row) = web(&network.daemon);
        let is_good = item["lastNack"] == Value::Null && item["outOfSync"] == serde_json::json!([]);
        if is_good { Ok(()) } else { Err(row) }
    });

    // It is kept when both the proxy and the control plane are gone.
    network.commit(&[(file, Some(&changed))], "taken again");
    is_told(&network.daemon);
    network.proxy("demo", "web").signal("TERM");
    // Once every replica says so the store has it, too.
    for replica in network.daemon.replicas() {
        wait::until("web to be gone", || {
            let status = replica.status()?;
            let online = &status["meshes"][0]["dataplanes"]["online"];
            (*online == 2).then_some(()).ok_or(online.to_string())
        });
    }
    network.daemon.kill9();
    network.daemon = network.site.start();
    let kept = is_told(&network.daemon);
    assert_eq!(kept["connectedSince"], Value::Null);
    assert!(web(&network.daemon).1.contains("Offline for"));
}
