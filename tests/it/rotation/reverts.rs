//! A commit is taken back while its change of CA is on the way.

use serde_json::Value;

use super::stage::{Stage, tell, wait_until_done, wait_until_held};

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
