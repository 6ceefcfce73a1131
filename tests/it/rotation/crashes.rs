//! The control plane dies at every turn of a change of CA.

use super::stage::{Stage, tell, wait_until_done, wait_until_held, wait_until_in};

const NEW: &str = "{provided: {name: root-2026}}";

#[test]
pub(crate) fn the_daemon_may_die_between_any_two_phases() {
    let mut stage = Stage::set();
    for (hold, phase) in [
        ("propagate", "stage"),
        ("activate", "propagate"),
        ("retire", "activate"),
        ("done", "retire"),
    ] {
        stage.commit(NEW, &format!("{{hold: {hold}}}"), &format!("up to {hold}"));
        wait_until_in(&stage.network, phase);
        stage.network.kill_and_restart();
        stage.network.daemon.wait_until_ready();
        wait_until_in(&stage.network, phase);
        wait_until_held(&stage.network, hold);
    }
    stage.commit(NEW, "{}", "to the end");
    stage.network.kill_and_restart();
    stage.network.daemon.wait_until_ready();
    let mesh = wait_until_done(&stage.network);
    assert_eq!(mesh["mtls"]["ca"], "provided");
    stage.assert_flawless();
}

#[test]
pub(crate) fn the_daemon_may_die_again_and_again_in_the_middle_of_anything() {
    let mut stage = Stage::set();
    for (round, ca) in [NEW, "{provided: {name: root-2027}}", "{builtin: {}}"]
        .iter()
        .enumerate()
    {
        stage.commit(ca, "{}", &format!("change {round}"));
        // As soon as it has gone a phase further than it was.
        let mut seen = Vec::new();
        for _ in 0..4 {
            let Some(phase) = stage.next_phase(&seen) else {
                break;
            };
            seen.push(phase);
            stage.network.kill_and_restart();
            stage.network.daemon.wait_until_ready();
        }
        tell(&format_args!("killed in {seen:?}"));
        wait_until_done(&stage.network);
    }
    stage.assert_flawless();
}
