//! One root after the other, and not one connection lost.

use super::load::Load;
use super::stage::{Roots, commit, mesh, plaintext, wait_until_done};
use crate::mesh::network::Network;

#[test]
fn a_root_after_the_other_loses_no_connection_and_shows_no_plaintext() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    let roots = Roots::new();
    let load = Load::start(&network.outbound(0, "backend"), "backend of demo");
    for (ca, message) in [
        ("{provided: {name: root-2026}}", "builtin to provided"),
        ("{provided: {name: root-2027}}", "provided to another"),
        ("{builtin: {}}", "back to builtin"),
    ] {
        commit(&network, &roots.with(&mesh(ca, "{}")), message);
        let done = wait_until_done(&network);
        println!("{message}: {}\n{:#}", load.report(), done["authorities"]);
        network.assert_running();
    }
    let report = load.finish();
    println!("{report}; plaintext: {}", plaintext(&network));
    report.assert_flawless();
    assert_eq!(plaintext(&network), 0);
}
