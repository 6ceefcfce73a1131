//! The documented way of changing a CA, as one commit: mTLS off, another CA, mTLS on.

use super::stage::{Stage, status, tell, wait_until_done};
use crate::support::wait;

#[test]
pub(crate) fn disable_first_announces_its_plaintext_and_loses_no_connection() {
    let stage = Stage::of_silent_services();
    assert_eq!(stage.plaintext.most(), 0);
    let disable_first = "{strategy: disableFirst}";
    stage.commit("{provided: {name: root-2026}}", disable_first, "another CA");
    let mut window = None;
    wait::until("the end of the transition", || {
        let mesh = status(&stage.network)?;
        let transition = &mesh["transition"];
        if let Some(open) = transition["plaintext"].as_str() {
            window = Some(open.to_owned());
        }
        if transition.is_null() && mesh["mtls"]["ca"] == "provided" {
            Ok(())
        } else {
            Err(format!("{mesh:#}\n{}", stage.network.daemon.log()))
        }
    });
    assert!(
        window.is_some(),
        "the window was not told while it was open"
    );
    wait_until_done(&stage.network);
    stage.outlive_the_drain();
    let sample = "windlass_transition_plaintext_seconds{mesh=\"demo\"}";
    // Of several replicas, the one that reconciled has measured it.
    wait::until("the window to be told after its end", || {
        let measured: f64 = stage.network.daemon.reading(sample)?;
        let is_told = measured > 0.0;
        is_told.then_some(()).ok_or_else(|| measured.to_string())
    });
    let went = stage.plaintext.most();
    tell(&format_args!(
        "{}; {went} in plaintext, window {window:?}",
        stage.load.report()
    ));
    assert!(went > 0, "nothing went in plaintext: was mTLS off at all?");
    stage.assert_no_failure();
}
