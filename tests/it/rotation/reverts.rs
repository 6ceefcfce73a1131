//! A commit is taken back while its change of CA is on the way.

use serde_json::Value;

use super::stage::{Stage, tell, wait_until_done, wait_until_held, wait_until_stalled};
use super::stalls::signal;
use crate::support::wait;

fn active(mesh: &Value) -> Value {
    let authorities = mesh["authorities"].as_array().expect("authorities");
    let active = authorities.iter().find(|it| it["state"] == "active");
    active.expect("an active authority")["id"].clone()
}

#[test]
pub(crate) fn a_commit_that_is_reverted_in_any_phase_goes_back_without_a_loss() {
    let stage = Stage::set();
    let before = active(&wait_until_done(&stage.network));
    for hold in ["propagate", "activate", "retire", "done"] {
        let transition = format!("{{hold: {hold}}}");
        let message = format!("a change that stops before {hold}");
        stage.commit("{provided: {name: root-2026}}", &transition, &message);
        wait_until_held(&stage.network, hold);
        stage.commit("{builtin: {}}", "{}", &format!("back from before {hold}"));
        let mesh = wait_until_done(&stage.network);
        let now = active(&mesh);
        tell(&format_args!(
            "back from before {hold}: {}",
            stage.load.report()
        ));
        // Up to `done` its key is kept.
        assert_eq!(now, before, "{mesh:#}");
    }
    stage.assert_flawless();
}

#[test]
fn a_commit_is_reverted_while_one_proxy_has_not_acknowledged_what_others_have() {
    const NEW: &str = "{provided: {name: root-2026}}";
    const OLD: &str = "{builtin: {}}";
    let stage = Stage::set();
    let before = active(&wait_until_done(&stage.network));
    let redis = stage.network.proxy("demo", "redis").envoy_pid();
    let awaited = ["demo/dp-redis-1"];

    // Some trust the new root, and one does not.
    signal(redis, "STOP");
    stage.commit(NEW, "{ackTimeout: 1s}", "another CA");
    wait_until_stalled(&stage, "propagate", &awaited);
    stage.commit(OLD, "{ackTimeout: 1s}", "back while some trust it");
    assert_eq!(active(&wait_until_done(&stage.network)), before);
    signal(redis, "CONT");

    // Some have a leaf of the new root, and one does not.
    stage.commit(NEW, "{ackTimeout: 1s, hold: activate}", "another CA again");
    wait::until("all to trust the new root", || {
        let mesh = wait_until_held(&stage.network, "activate");
        let is_so = mesh["transition"]["awaiting"] == serde_json::json!([]);
        is_so.then_some(()).ok_or(mesh)
    });
    signal(redis, "STOP");
    stage.commit(NEW, "{ackTimeout: 1s}", "on without a hold");
    let mesh = wait_until_stalled(&stage, "activate", &awaited);
    assert_ne!(active(&mesh), before, "{mesh:#}");
    stage.commit(OLD, "{ackTimeout: 1s}", "back while some have its leaf");
    let mesh = wait_until_stalled(&stage, "activate", &awaited);
    assert_eq!(active(&mesh), before, "{mesh:#}");
    signal(redis, "CONT");
    assert_eq!(active(&wait_until_done(&stage.network)), before);
    stage.outlive_the_drain();
    stage.assert_flawless();
}
