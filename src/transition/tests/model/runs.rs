//! The runs.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::*;
use super::judge::Ungated;

const fn wants(enabled: bool, ca: Ca) -> Wants {
    Wants {
        enabled,
        ca,
        disable_first: false,
    }
}

const fn first(ca: Ca) -> Wants {
    Wants {
        enabled: true,
        ca,
        disable_first: true,
    }
}

const SECURE: Wants = wants(true, Ca::Builtin);
const PLAINTEXT: Wants = wants(false, Ca::Builtin);

/// Two proxies, and a commit that asks for another CA.
fn two() -> Run {
    Run {
        proxies: 2,
        joining: 0,
        eager: 0,
        starts: vec![SECURE],
        wants: vec![wants(true, Ca::X), SECURE],
        commits: 2,
        troubles: 1,
        lags: false,
        rogue: false,
        fault: Fault::None,
    }
}

fn check(name: &str, run: Run) {
    let began = Instant::now();
    let checker = run.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} unique, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        began.elapsed()
    );
    checker.assert_properties();
}

fn finds(fault: Fault, property: &'static str, run: Run) {
    let run = Run { fault, ..run };
    let checker = run.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    println!("{fault:?}: {} states", checker.unique_state_count());
    let found = checker.discoveries();
    assert!(found.contains_key(property), "{fault:?}: {:?}", found.keys());
}

#[test]
fn two_proxies_change_the_authority() {
    check("two", two());
}
