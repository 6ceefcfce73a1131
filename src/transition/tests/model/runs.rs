//! The runs.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::judge::Ungated;
use super::*;

/// Raises or sets bounds of every run, as in `commits=3,troubles=2`.
const BOUNDS: &str = "WINDLASS_MODEL";

const fn wants(enabled: bool, ca: Ca) -> Wants {
    Wants {
        enabled,
        ca,
        disable_first: false,
        ignores: false,
    }
}

const fn ignoring(ca: Ca) -> Wants {
    Wants {
        ignores: true,
        ..wants(true, ca)
    }
}

const fn in_plaintext(ca: Ca) -> Wants {
    Wants {
        enabled: true,
        ca,
        disable_first: true,
        ignores: false,
    }
}

const SECURE: Wants = wants(true, Ca::Builtin);
const PLAINTEXT: Wants = wants(false, Ca::Builtin);

/// Two proxies under mTLS, and commits that ask for another CA and back.
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
        wrong: Wrong::Anything,
        deletes: false,
        rogue: false,
        fault: Fault::None,
    }
}

/// Commits that enable and disable.
fn switching() -> Run {
    Run {
        starts: vec![SECURE, PLAINTEXT],
        wants: vec![SECURE, PLAINTEXT],
        ..two()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the bounds of a longer run are nothing that the machine sees"
)]
fn bounded(mut run: Run) -> Run {
    let text = std::env::var(BOUNDS).unwrap_or_default();
    for (name, value) in text.split(',').filter_map(|it| it.split_once('=')) {
        let value: u8 = value.parse().unwrap();
        match name {
            "commits" => run.commits = value,
            "troubles" => run.troubles = value,
            "proxies" => run.proxies = value.into(),
            "joining" => run.joining = value.into(),
            "eager" => run.eager = value.into(),
            "lags" => run.lags = value != 0,
            "crashes" => {
                let all = [
                    Wrong::Anything,
                    Wrong::Crashes,
                    Wrong::CrashesAfterRejections,
                ];
                run.wrong = all[usize::from(value)];
            }
            "deletes" => run.deletes = value != 0,
            "rogue" => run.rogue = value != 0,
            _ => panic!("{BOUNDS}: {name}"),
        }
    }
    run
}

fn check(run: Run) {
    let began = Instant::now();
    let checker = bounded(run).checker().threads(2);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{} states, depth {}, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed()
    );
    for (property, path) in checker.discoveries() {
        let last = *path.last_state();
        let is_example =
            checker.model().properties().iter().any(|it| {
                it.name == property && it.expectation == stateright::Expectation::Sometimes
            });
        assert!(
            is_example,
            "{property}: {:?}\n{last:#?}",
            path.into_actions()
        );
    }
    checker.assert_properties();
}

/// A broken machine is found out.
fn finds(fault: Fault, property: &[&str], run: Run) {
    let began = Instant::now();
    let run = Run { fault, ..run };
    let checker = run.checker().threads(2);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{fault:?}: {} states, {:?}",
        checker.unique_state_count(),
        began.elapsed()
    );
    let mut found = checker.discoveries().into_iter();
    let (name, path) = found
        .next()
        .unwrap_or_else(|| panic!("{fault:?} is not found"));
    println!("{name}: {:?}", path.into_actions());
    assert!(property.contains(&name), "{fault:?}: {name}");
}

const REACHES: &[&str] = &[
    "whoever counts reaches whoever counts",
    "no plaintext that was not announced",
];
const OUTLIVES: &[&str] = &["no connection outlives its authority"];
const ANY: &[&str] = &[
    "whoever counts reaches whoever counts",
    "no connection outlives its authority",
    "the store admits what is planned",
];

#[test]
fn two_proxies_change_the_authority_and_back() {
    check(Run {
        troubles: 2,
        ..two()
    });
}

#[test]
fn two_proxies_of_either_kind_change_the_authority() {
    check(Run {
        eager: 1,
        commits: 1,
        wants: vec![wants(true, Ca::X), wants(true, Ca::SecondBuiltin)],
        ..two()
    });
}

#[test]
fn a_third_authority_supersedes_the_second() {
    check(Run {
        wants: vec![wants(true, Ca::X), wants(true, Ca::Y), SECURE],
        troubles: 0,
        commits: 3,
        ..two()
    });
}

#[test]
fn two_proxies_enable_and_disable() {
    check(switching());
}

#[test]
fn two_proxies_change_the_authority_in_plaintext() {
    check(Run {
        wants: vec![in_plaintext(Ca::X), SECURE],
        ..two()
    });
}

#[test]
fn one_proxy_joins_another_while_the_authority_changes() {
    check(Run {
        proxies: 1,
        joining: 1,
        commits: 1,
        ..two()
    });
}

#[test]
fn one_proxy_joins_another_while_it_is_switched() {
    check(Run {
        proxies: 1,
        joining: 1,
        ..switching()
    });
}

#[test]
fn the_control_plane_crashes_and_another_takes_over() {
    check(Run {
        lags: true,
        wrong: Wrong::Crashes,
        commits: 1,
        wants: vec![wants(true, Ca::X)],
        ..two()
    });
}

#[test]
fn the_control_plane_crashes_while_it_is_switched() {
    check(Run {
        lags: true,
        wrong: Wrong::Crashes,
        commits: 1,
        ..switching()
    });
}

#[test]
fn the_control_plane_crashes_while_a_change_is_taken_back() {
    check(Run {
        eager: 2,
        lags: true,
        wrong: Wrong::Crashes,
        ..two()
    });
}

#[test]
fn the_control_plane_crashes_after_a_proxy_rejected_what_it_was_sent() {
    check(Run {
        eager: 2,
        lags: true,
        wrong: Wrong::CrashesAfterRejections,
        commits: 1,
        troubles: 2,
        wants: vec![wants(true, Ca::X)],
        ..two()
    });
}

#[test]
fn a_dataplane_is_deleted_and_comes_back_while_the_authority_changes() {
    check(Run {
        deletes: true,
        ..two()
    });
}

#[test]
fn who_is_away_for_long_is_passed_over_and_who_is_briefly_is_not() {
    check(Run {
        starts: vec![ignoring(Ca::Builtin)],
        wants: vec![ignoring(Ca::X)],
        commits: 1,
        troubles: 2,
        ..two()
    });
}

#[test]
fn someone_writes_what_admission_lets_pass() {
    check(Run {
        rogue: true,
        commits: 1,
        ..two()
    });
}

#[test]
fn three_proxies_change_the_authority() {
    check(Run {
        proxies: 3,
        ..two()
    });
}

#[test]
fn three_proxies_enable_and_disable() {
    check(Run {
        proxies: 3,
        ..switching()
    });
}

#[test]
fn a_third_proxy_joins_two() {
    check(Run {
        joining: 1,
        troubles: 0,
        ..two()
    });
}

#[test]
fn a_machine_without_this_gate_is_found_out() {
    finds(Fault::NoGate(Ungated::Activate), REACHES, two());
    finds(Fault::NoGate(Ungated::Drain), OUTLIVES, two());
    finds(Fault::NoGate(Ungated::Withdraw), OUTLIVES, two());
    finds(Fault::NoGate(Ungated::Secure), REACHES, switching());
}

#[test]
fn a_machine_that_takes_digests_for_marks_is_found_out() {
    finds(Fault::Digests, ANY, two());
}

#[test]
fn a_machine_for_which_who_is_away_is_absent_is_found_out() {
    finds(Fault::AwayIsAbsent, REACHES, two());
}

#[test]
fn a_machine_that_passes_over_who_is_briefly_away_is_found_out() {
    let ignores = Run {
        starts: vec![ignoring(Ca::Builtin)],
        wants: vec![ignoring(Ca::X)],
        ..two()
    };
    finds(Fault::AwayIsLong, ANY, ignores);
}

#[test]
fn a_machine_that_counts_rejections_is_found_out() {
    finds(Fault::RejectedCounts, REACHES, two());
}

#[test]
fn a_machine_that_counts_what_was_dropped_is_found_out() {
    finds(Fault::DroppedCounts, REACHES, switching());
}

#[test]
fn a_machine_that_records_connections_late_is_found_out() {
    let joins = Run {
        proxies: 1,
        joining: 1,
        starts: vec![SECURE],
        wants: vec![PLAINTEXT],
        commits: 1,
        lags: true,
        wrong: Wrong::Crashes,
        ..two()
    };
    finds(Fault::RecordedWithLeaf, REACHES, joins);
}

#[test]
fn a_machine_that_gives_something_old_to_who_connects_is_found_out() {
    let joins = Run {
        proxies: 1,
        joining: 1,
        ..switching()
    };
    finds(Fault::Behind, REACHES, joins);
}
