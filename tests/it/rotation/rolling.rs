//! One root after the other, and not one connection lost.

use super::stage::{Stage, tell, wait_until_done};

#[test]
pub(crate) fn a_root_after_the_other_loses_no_connection_and_shows_no_plaintext() {
    let stage = Stage::set();
    for (ca, message) in [
        ("{provided: {name: root-2026}}", "builtin to provided"),
        ("{provided: {name: root-2027}}", "provided to another"),
        ("{builtin: {}}", "back to builtin"),
        ("{builtin: {ordinal: 3}}", "builtin to a new builtin"),
    ] {
        stage.commit(ca, "{}", message);
        wait_until_done(&stage.network);
        tell(&format_args!("{message}: {}", stage.load.report()));
    }
    stage.outlive_the_drain();
    stage.assert_flawless();
}
