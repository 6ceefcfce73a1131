//! Proxies that do not answer: the gate stays closed, and says for whom.

use super::stage::{Stage, states, wait_until_done, wait_until_stalled};

const NEW: &str = "{provided: {name: root-2026}}";

#[test]
pub(crate) fn a_stopped_proxy_is_waited_for_and_named_until_it_goes_on() {
    let stage = Stage::set();
    let redis = stage.network.proxy("demo", "redis");
    let pid = redis.envoy_pid();
    signal(pid, "STOP");
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    let mesh = wait_until_stalled(&stage, "propagate", &["demo/dp-redis-1"]);
    // The old one signs, the new one is trusted by those who answered.
    assert_eq!(states(&mesh), ["active", "prepared", "staged"], "{mesh:#}");
    signal(pid, "CONT");
    let mesh = wait_until_done(&stage.network);
    assert_eq!(states(&mesh), ["active", "staged"], "{mesh:#}");
    stage.assert_flawless();
}

#[test]
pub(crate) fn a_proxy_that_is_gone_is_waited_for_until_the_policy_says_to_ignore_it() {
    let stage = Stage::set();
    let redis = stage.network.proxy("demo", "redis");
    signal(redis.envoy_pid(), "KILL");
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    let mesh = wait_until_stalled(&stage, "propagate", &["demo/dp-redis-1"]);
    assert_eq!(states(&mesh), ["active", "prepared", "staged"], "{mesh:#}");
    stage.commit(
        NEW,
        "{ackTimeout: 1s, offline: ignore}",
        "go on without those that are away",
    );
    let mesh = wait_until_done(&stage.network);
    assert_eq!(states(&mesh), ["active", "staged"], "{mesh:#}");
    assert_eq!(stage.load.report().failed, 0, "{}", stage.load.report());
}

#[test]
pub(crate) fn a_proxy_that_is_gone_is_left_behind_by_an_approval_that_names_it() {
    let stage = Stage::set();
    let redis = stage.network.proxy("demo", "redis");
    signal(redis.envoy_pid(), "KILL");
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    wait_until_stalled(&stage, "propagate", &["demo/dp-redis-1"]);
    let approve = |dataplane: &str| {
        let mut command = stage.network.daemon.cli(&["transition", "approve", "demo"]);
        let command = command.args(["--dataplane", dataplane]);
        command.output().expect("the program starts")
    };
    let other = approve("dp-web-1");
    assert!(!other.status.success(), "dp-web-1 is not awaited");
    let approved = approve("dp-redis-1");
    let said = String::from_utf8_lossy(&approved.stderr);
    assert!(approved.status.success(), "{said}");
    let mesh = wait_until_done(&stage.network);
    assert_eq!(states(&mesh), ["active", "staged"], "{mesh:#}");
    assert_eq!(stage.load.report().failed, 0, "{}", stage.load.report());
}

/// Sends a signal to a process.
pub(super) fn signal(pid: u32, signal: &str) {
    let sent = std::process::Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$1\"", signal, &pid.to_string()])
        .status();
    assert!(sent.expect("a shell").success());
}
