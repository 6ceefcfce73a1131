//! What a plan refuses, and what it tells of a transition.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::ca::Issuing;
use crate::model::{
    AuthorityOrigin, AuthorityState, CaSpec, Current, Desired, DesiredMesh, DesiredResource,
    Evidence, Location, Mesh, Mtls, Phase, ProvidedCa, Resource, Severity, Timestamp, Transition,
    TransitionSettings,
};
use crate::plan::{self, Plan, baseline, codes};

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

/// A root that lives for so long from now on.
fn root(name: &str, lives: Duration) -> Resource {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = now().to_date_time();
    params.not_after = (now() + lives).to_date_time();
    let key = KeyPair::generate().unwrap();
    Resource::ProvidedCa(ProvidedCa {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
        cert: params.self_signed(&key).unwrap().pem(),
        key: String::new(),
    })
}

fn mesh(enabled: bool, ca: CaSpec, strategy: Strategy) -> Resource {
    Resource::Mesh(Mesh {
        name: "demo".parse().unwrap(),
        mtls: Mtls {
            enabled,
            ca,
            transition: Some(TransitionSettings {
                strategy: Some(strategy),
                ..TransitionSettings::default()
            }),
        },
    })
}

fn provided(name: &str) -> CaSpec {
    CaSpec::Provided {
        name: Some(name.parse().unwrap()),
    }
}

fn builtin(ordinal: u32) -> CaSpec {
    CaSpec::Builtin {
        ordinal: Some(ordinal),
    }
}

fn desired(resources: &[&Resource]) -> Desired {
    let name: crate::model::MeshName = "demo".parse().unwrap();
    let resources = resources.iter().map(|&resource| {
        let location = Location {
            file: "demo.yaml".into(),
            line: 1,
            column: 1,
        };
        let desired = DesiredResource {
            digest: resource.digest(),
            resource: resource.clone(),
            location,
        };
        (resource.key(), desired.into())
    });
    let mesh = DesiredMesh {
        name: name.clone(),
        resources: resources.collect(),
    };
    let mut desired = Desired::empty("default".parse().unwrap());
    desired.revision = Some(format!("main@sha1:{:040}", 0).parse().unwrap());
    desired.meshes.insert(name, mesh.into());
    desired
}

fn planned_at(current: &Current, wanted: &[&Resource], now: Timestamp) -> Plan {
    let given = Circumstances {
        evidence: &Evidence::new(),
        issuing: Issuing::default(),
        now,
    };
    plan::plan(current, &desired(wanted), given)
}

fn planned(current: &[&Resource], wanted: &[&Resource]) -> Plan {
    planned_at(&baseline(&desired(current)), wanted, now())
}

fn is_forbidden(plan: &Plan) -> bool {
    let mut blocked = plan.meshes.iter().flat_map(|mesh| &mesh.blocked);
    blocked.any(|blocked| *blocked == Blocked::CaChangeForbidden)
}

/// The mesh on its way from its builtin root to `root`, under `rolling`.
fn under_way(root: &Resource) -> Current {
    let from = mesh(true, builtin(1), Strategy::Rolling);
    let to = mesh(true, provided("root"), Strategy::Rolling);
    let mut current = baseline(&desired(&[&from, root]));
    for state in current.meshes.values_mut() {
        let state = std::sync::Arc::make_mut(state);
        state.resources = baseline(&desired(&[&to, root])).meshes[&state.name]
            .resources
            .clone();
        for authority in state.authorities.values_mut() {
            authority.state = match authority.origin {
                AuthorityOrigin::Builtin { .. } => AuthorityState::Active,
                AuthorityOrigin::Provided { .. } => AuthorityState::Prepared,
            };
        }
        state.progress.transition = Some(Transition {
            from: "builtin authority 1".to_owned(),
            to: "provided authority root".to_owned(),
            revision: None,
            started: now(),
            phase: Phase::Propagate,
            since: now(),
            plaintext_since: None,
            approved: std::collections::BTreeSet::new(),
        });
    }
    current
}

const YEAR: Duration = Duration::from_hours(365 * 24);
const LEAF: Duration = crate::ca::DEFAULT_LEAF_LIFETIME;

#[test]
fn forbid_refuses_to_begin_a_change_of_ca_while_mtls_is_enabled() {
    let (root, forbid) = (root("root", YEAR), Strategy::Forbid);
    let from = mesh(true, builtin(1), forbid);
    for to in [
        mesh(true, provided("root"), forbid),
        mesh(true, builtin(2), forbid),
        mesh(false, provided("root"), forbid),
    ] {
        assert!(is_forbidden(&planned(&[&from, &root], &[&to, &root])));
    }
    // Whether it is forbidden is what the commit itself says.
    let rolling = mesh(true, builtin(1), Strategy::Rolling);
    let to = mesh(true, provided("root"), forbid);
    assert!(is_forbidden(&planned(&[&rolling, &root], &[&to, &root])));
    let to = mesh(true, provided("root"), Strategy::Rolling);
    assert!(!is_forbidden(&planned(&[&from, &root], &[&to, &root])));
}

#[test]
fn forbid_permits_what_changes_no_authority() {
    let (root, forbid) = (root("root", YEAR), Strategy::Forbid);
    let off = mesh(false, builtin(1), forbid);
    let on = mesh(true, builtin(1), forbid);
    let other = mesh(false, provided("root"), forbid);
    let named = mesh(true, CaSpec::default(), forbid);
    for (from, to) in [(&off, &on), (&on, &off), (&off, &other), (&on, &named)] {
        assert!(!is_forbidden(&planned(&[from, &root], &[to, &root])));
    }
}

#[test]
fn forbid_leaves_a_change_that_runs_and_lets_it_be_undone() {
    let root = root("root", YEAR);
    let current = under_way(&root);
    let at = |ca| {
        let wanted = mesh(true, ca, Strategy::Forbid);
        planned_at(&current, &[&wanted, &root], now())
    };
    assert!(!is_forbidden(&at(provided("root"))), "it goes on");
    assert!(!is_forbidden(&at(builtin(1))), "it goes back");
    assert!(is_forbidden(&at(builtin(2))), "it goes elsewhere");
}

#[test]
fn forbid_leaves_a_builtin_root_that_ends_to_be_replaced() {
    let wanted = mesh(true, CaSpec::default(), Strategy::Forbid);
    let mut current = baseline(&desired(&[&wanted]));
    let state = std::sync::Arc::make_mut(current.meshes.values_mut().next().unwrap());
    let name = state.name.clone();
    let (mut authority, _) = crate::ca::create_builtin(&name, 1, now()).unwrap();
    authority.state = AuthorityState::Active;
    let end = authority.not_after;
    state.authorities = [(authority.id, authority)].into();
    let plan = planned_at(&current, &[&wanted], end - Duration::from_hours(24));
    assert!(!is_forbidden(&plan));
    assert!(!plan.has_changes(), "nobody asked for it");
    let outlook = plan.meshes[0].outlook.clone().unwrap();
    assert_eq!(outlook.to, "builtin authority 2");
    assert_eq!(outlook.replaces, Some(end));
    // One that somebody asks for is refused all the same.
    let other = mesh(true, builtin(7), Strategy::Forbid);
    let plan = planned_at(&current, &[&other], end - Duration::from_hours(24));
    assert!(is_forbidden(&plan));
}

#[test]
fn a_root_that_comes_to_sign_lives_for_a_leaf_and_a_rotation() {
    let from = mesh(true, builtin(1), Strategy::Rolling);
    let to = mesh(true, provided("root"), Strategy::Rolling);
    let enough = LEAF * 2;
    let too_little = enough.checked_sub(Duration::from_secs(1)).unwrap();
    for (lives, is_blocked) in [(enough, false), (too_little, true)] {
        let root = root("root", lives);
        for current in [&[&from, &root][..], &[&from], &[]] {
            let plan = planned(current, &[&to, &root]);
            assert_eq!(plan.is_blocked(), is_blocked, "{lives:?}");
            let found = plan.diagnostics.first();
            let code = found.map(|found| &*found.code);
            assert_eq!(code, is_blocked.then_some(codes::ROOT_TOO_SHORT));
            let resource = found.and_then(|found| found.resource.clone());
            assert_eq!(resource, is_blocked.then(|| root.key()));
        }
    }
}

#[test]
fn a_root_that_signs_blocks_nothing() {
    let root = root("root", LEAF);
    let on = mesh(true, provided("root"), Strategy::Rolling);
    let otherwise = mesh(true, provided("root"), Strategy::Forbid);
    assert!(!planned(&[&on, &root], &[&otherwise, &root]).is_blocked());
    let off = mesh(false, provided("root"), Strategy::Rolling);
    assert!(!planned(&[], &[&off, &root]).is_blocked(), "nothing signs");
    assert!(planned(&[&off, &root], &[&on, &root]).is_blocked());
}

#[test]
fn a_root_that_came_to_live_too_short_while_a_gate_waited_does_not_come_to_sign() {
    let waited = Duration::from_secs(1);
    let (short, long) = (root("root", LEAF * 2), root("root", YEAR));
    let to = mesh(true, provided("root"), Strategy::Rolling);
    let current = under_way(&short);
    let advance = |after: Duration| {
        let given = Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now: now() + after,
        };
        plan::advance(current.meshes.values().next().unwrap(), given).unwrap()
    };
    let in_time = advance(Duration::ZERO);
    assert!(in_time.due > 0 && !in_time.is_blocked());
    let late = advance(waited);
    assert_eq!(late.due, 0);
    assert_eq!(late.stopped.as_ref().unwrap().reason(), "RootTooShort");
    assert!(!late.is_due(current.meshes.values().next().unwrap()));
    // The plan says the same, and the ways out are none of it.
    let plan = planned_at(&current, &[&to, &short], now() + waited);
    assert_eq!(plan.diagnostics[0].code, codes::ROOT_TOO_SHORT);
    assert_eq!(plan.diagnostics[0].severity, Severity::Warning);
    let back = mesh(true, builtin(1), Strategy::Rolling);
    for wanted in [&[&back][..], &[&back, &short], &[&to, &long]] {
        let plan = planned_at(&current, wanted, now() + waited);
        assert_eq!(plan.diagnostics, []);
        assert!(plan.meshes[0].due > 0);
    }
}

#[test]
fn a_root_that_does_not_come_to_sign_holds_nothing_else_of_its_mesh_back() {
    let short = root("root", LEAF);
    let unneeded = root("unneeded", YEAR);
    let permission: Resource = serde_json::from_value(serde_json::json!({
        "type": "TrafficPermission", "mesh": "demo", "name": "all",
        "sources": [{"match": {"service": "*"}}],
        "destinations": [{"match": {"service": "*"}}],
    }))
    .unwrap();
    for strategy in [Strategy::Rolling, Strategy::DisableFirst] {
        let to = mesh(true, provided("root"), strategy);
        let mut current = under_way(&short);
        let state = std::sync::Arc::make_mut(current.meshes.values_mut().next().unwrap());
        let all = desired(&[&to, &short, &unneeded, &permission]);
        state.resources = baseline(&all).meshes[&state.name].resources.clone();
        let plan = planned_at(&current, &[&to, &short], now());
        assert!(!plan.is_blocked(), "{:?}", plan.diagnostics);
        let mesh = &plan.meshes[0];
        let kinds: Vec<_> = mesh.steps.iter().map(|step| step.action.kind()).collect();
        let (due, _) = kinds.split_at(mesh.due);
        assert_eq!(due.last(), Some(&"deleteResources"), "{kinds:?}");
        for held in ["activateAuthority", "acceptBoth"] {
            assert!(!due.contains(&held), "{kinds:?}");
        }
        assert!(mesh.progress.transition.is_some(), "it is not over");
        let said: Vec<_> = plan.diagnostics.iter().map(|it| &*it.code).collect();
        assert_eq!(said, [codes::ROOT_TOO_SHORT]);
    }
}

#[test]
fn a_root_that_outlives_the_one_that_signs_comes_to_sign_however_soon_it_ends() {
    let hours = |count| Duration::from_hours(count);
    let (signs, short) = (root("signs", hours(3)), root("root", hours(47)));
    let to = mesh(true, provided("root"), Strategy::Rolling);
    let mut current = baseline(&desired(&[
        &mesh(true, provided("signs"), Strategy::Rolling),
        &signs,
        &short,
    ]));
    // A commit may ask for it,
    let wanted = [&to, &signs, &short];
    assert!(!planned_at(&current, &wanted, now()).is_blocked());
    // and nothing stops it later, until it has ended itself.
    let state = std::sync::Arc::make_mut(current.meshes.values_mut().next().unwrap());
    state.resources = baseline(&desired(&wanted)).meshes[&state.name]
        .resources
        .clone();
    for (waited, goes_on) in [(0, true), (46, true), (47, false)] {
        let given = Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now: now() + hours(waited),
        };
        let plan = plan::advance(state, given).unwrap();
        assert_eq!(plan.stopped.is_none(), goes_on, "{waited}");
        let mut due = plan.steps.iter().take(plan.due);
        let activates = due.any(|step| step.action.kind() == "activateAuthority");
        assert_eq!(activates, goes_on, "{waited}");
        assert_eq!(plan::too_short(state, given).is_none(), goes_on);
    }
    // To go from a root that lives on to one that does not is refused.
    let long = root("signs", hours(48));
    let from = mesh(true, provided("signs"), Strategy::Rolling);
    let plan = planned(&[&from, &long, &short], &[&to, &long, &short]);
    assert!(plan.is_blocked());
}

#[test]
fn a_mesh_that_is_disabled_is_handed_to_no_root_that_is_not_valid() {
    let root = root("root", LEAF * 3);
    let off = mesh(false, provided("root"), Strategy::Rolling);
    let mut current = under_way(&root);
    let state = std::sync::Arc::make_mut(current.meshes.values_mut().next().unwrap());
    state.resources = baseline(&desired(&[&off, &root])).meshes[&state.name]
        .resources
        .clone();
    // It waited for proxies on the way to plaintext, for so long.
    state.progress.posture = Posture::Identified;
    for (waited, comes_to_sign) in [(LEAF, true), (LEAF * 3, false)] {
        let given = Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now: now() + waited,
        };
        let plan = plan::advance(state, given).unwrap();
        let kinds: Vec<_> = plan.steps.iter().map(|step| step.action.kind()).collect();
        assert!(kinds.contains(&"withdrawIdentities"), "{kinds:?}");
        let hands_over = ["activateAuthority", "retireAuthority"].map(|it| kinds.contains(&it));
        assert_eq!(hands_over, [comes_to_sign; 2], "{kinds:?}");
        assert_eq!(plan.due, plan.steps.len(), "all in one write");
        assert_eq!(plan.progress.transition, None, "it is there");
    }
}

#[test]
fn a_transition_that_goes_on_is_no_change() {
    let root = root("root", YEAR);
    let same = mesh(true, provided("root"), Strategy::Rolling);
    let mut current = under_way(&root);
    for state in current.meshes.values_mut() {
        let state = std::sync::Arc::make_mut(state);
        state.progress.rules.strategy = Strategy::Rolling;
    }
    let plan = planned_at(&current, &[&same, &root], now());
    assert!(!plan.has_changes());
    assert!(plan.summary().steps > 0, "what is left is shown");
    let otherwise = mesh(true, provided("root"), Strategy::DisableFirst);
    assert!(planned_at(&current, &[&otherwise, &root], now()).has_changes());
}

#[test]
fn the_plaintext_window_of_disable_first_opens_and_closes_at_steps() {
    let root = root("root", YEAR);
    let from = mesh(true, builtin(1), Strategy::DisableFirst);
    let to = mesh(true, provided("root"), Strategy::DisableFirst);
    let plan = planned(&[&from, &root], &[&to, &root]);
    let mesh = &plan.meshes[0];
    let window = mesh.outlook.as_ref().unwrap().plaintext.unwrap();
    let kind_of = |number: Option<u32>| {
        let step = mesh.steps.iter().find(|step| Some(step.number) == number);
        step.map(|step| (step.action.kind(), step.risk))
    };
    assert_eq!(kind_of(window.opens), Some(("acceptBoth", Risk::Plaintext)));
    assert_eq!(
        kind_of(window.closes),
        Some(("requireMtls", Risk::Disruptive))
    );
    // The builtin root goes while no connection uses it: none has to end for it.
    let kinds: Vec<_> = mesh.steps.iter().map(|step| step.action.kind()).collect();
    assert!(!kinds.contains(&"drainConnections"), "{kinds:?}");
    let at = |kind| kinds.iter().position(|it| *it == kind).unwrap();
    assert!(at("withdrawIdentities") < at("withdrawAuthority"));
    assert!(at("withdrawAuthority") < at("giveIdentities"));
}

#[test]
fn new_leaves_are_counted_and_take_their_time() {
    let dataplanes = |count: u32| {
        let ids = (0..count).map(|n| crate::model::DataplaneId {
            mesh: "demo".parse().unwrap(),
            name: format!("dp-{n}").parse().unwrap(),
        });
        crate::plan::Reissue {
            dataplanes: ids.collect(),
            rate: crate::ca::DEFAULT_REISSUE_RATE,
        }
    };
    let told = |count| dataplanes(count).to_string();
    assert_eq!(told(0), "");
    assert_eq!(
        told(1),
        "; 1 new leaf, within about 1s at 200 a second, for demo/dp-0"
    );
    let many = told(24_001);
    assert!(
        many.starts_with("; 24001 new leaves, within about 2m1s at 200 a second, for demo/dp-0")
    );
    assert!(many.ends_with("demo/dp-4 and 23996 more"), "{many}");
}

#[test]
fn one_certificate_under_two_names_is_found_under_either() {
    let one = root("one", Duration::from_hours(24 * 365));
    let Resource::ProvidedCa(ca) = &one else {
        unreachable!()
    };
    let two = Resource::ProvidedCa(ProvidedCa {
        name: "two".parse().unwrap(),
        ..ca.clone()
    });
    let from = mesh(true, builtin(1), Strategy::Rolling);
    for name in ["one", "two"] {
        let to = mesh(true, provided(name), Strategy::Rolling);
        let plan = planned(&[&from], &[&to, &one, &two]);
        assert_eq!(plan.meshes[0].blocked, [], "{name}");
    }
}

#[test]
fn an_approval_is_not_for_another_root_under_the_same_name() {
    let (one, other) = (root("root", YEAR), root("root", YEAR));
    let to = mesh(true, provided("root"), Strategy::Rolling);
    let mut current = under_way(&one);
    for state in current.meshes.values_mut() {
        let state = std::sync::Arc::make_mut(state);
        let transition = state.progress.transition.as_mut().unwrap();
        transition.approved.insert("dp-1".parse().unwrap());
    }
    for (root, approved) in [(&one, 1), (&other, 0)] {
        // Someone says to stop, so that there is a transition left.
        let mut wanted = desired(&[&to, root]);
        wanted.policy.transition.hold = Some(Phase::Activate);
        let given = Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now: now(),
        };
        let plan = plan::plan(&current, &wanted, given);
        let noted = plan.meshes[0].progress.transition.as_ref().unwrap();
        assert_eq!(noted.to, "provided authority root");
        assert_eq!(noted.approved.len(), approved);
    }
}
