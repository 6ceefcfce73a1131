mod obstacles;

use std::sync::Arc;

use super::*;
use crate::ca;
use crate::model::{
    Acknowledgement, AuthorityState, CaSpec, Dataplane, DataplaneId, Evidence, Gateway, Inbound,
    Marks, Mesh, Mtls, Nack, Networking, Offline, Origin, PassedOverBecause, Phase, Progress,
    Resource, Role, StoredResource,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000) + Duration::from_secs(seconds)
}

fn put(mesh: &mut MeshState, resource: Resource) {
    let stored = StoredResource::new(resource, Origin::Api {});
    mesh.resources.insert(stored.resource.key(), stored.into());
}

/// A mesh that goes from its first builtin authority to the second, since
/// `at(100)` in this phase, with dataplanes of these names.
fn rolling(phase: Phase, names: &[&str]) -> MeshState {
    let name = "demo".parse().unwrap();
    let mut mesh = MeshState::absent(name);
    let name = mesh.name.clone();
    let ca = CaSpec::Builtin { ordinal: Some(2) };
    let mtls = Mtls {
        enabled: true,
        ca,
        ..Mtls::default()
    };
    put(
        &mut mesh,
        Resource::Mesh(Mesh {
            name: name.clone(),
            mtls,
        }),
    );
    for dataplane in names {
        let tags = [("service".to_owned(), "web".to_owned())];
        let role = if *dataplane == "edge" {
            Role::Gateway(Gateway { tags: tags.into() })
        } else {
            Role::Inbound(vec![Inbound {
                port: 8080.try_into().unwrap(),
                service_port: None,
                tags: tags.into(),
            }])
        };
        let dataplane = Dataplane {
            mesh: name.clone(),
            name: dataplane.parse().unwrap(),
            namespace: None,
            networking: Networking {
                address: "10.0.0.1".parse().unwrap(),
                role,
                outbound: Vec::new(),
            },
        };
        put(&mut mesh, Resource::Dataplane(dataplane));
    }
    let since = at(100);
    let (old, new) = match phase {
        Phase::Propagate => (AuthorityState::Active, AuthorityState::Prepared),
        _ => (AuthorityState::Retiring { since }, AuthorityState::Active),
    };
    for (ordinal, state) in [(1, old), (2, new)] {
        let (mut authority, _) = ca::create_builtin(&name, ordinal, at(0)).unwrap();
        authority.state = state;
        mesh.authorities.insert(authority.id, authority);
    }
    mesh.progress = Progress {
        posture: Posture::Strict,
        marks: Marks {
            bundle: 2,
            leaf: if phase == Phase::Propagate { 1 } else { 2 },
            inbounds: if phase == Phase::Retire { 2 } else { 1 },
            outbounds: 1,
        },
        drained: if phase == Phase::Retire { 2 } else { 1 },
        deletions: 0,
        rules: Rules::default(),
        transition: Some(Transition {
            from: "builtin authority 1".to_owned(),
            to: "builtin authority 2".to_owned(),
            revision: None,
            started: at(90),
            phase,
            since,
            plaintext_since: None,
            approved: [].into(),
        }),
    };
    mesh
}

fn id(name: &str) -> DataplaneId {
    DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

/// A proxy that is connected since `at(10)`, asks for all and has acknowledged
/// all at its first mark.
fn proxy(name: &str) -> ProxyEvidence {
    let known = Acknowledgement {
        mark: 1,
        at: at(20),
    };
    ProxyEvidence {
        connected_since: Some(at(10)),
        leaf_not_after: Some(at(5000)),
        acknowledged: Part::ALL.map(|part| (part, known)).into(),
        asks: Part::ALL.into(),
        offered: Marks {
            bundle: 2,
            leaf: 2,
            inbounds: 2,
            outbounds: 1,
        },
        drain_seconds: Some(60),
        ..ProxyEvidence::none(id(name), at(20))
    }
}

fn acknowledges(proxy: &mut ProxyEvidence, part: Part, mark: u64, seconds: u64) {
    let at = at(seconds);
    let known = Acknowledgement { mark, at };
    proxy.acknowledged.insert(part, known);
}

fn evidence(proxies: impl IntoIterator<Item = ProxyEvidence>) -> Evidence {
    let proxies = proxies.into_iter();
    proxies
        .map(|proxy| (proxy.dataplane.clone(), Arc::new(proxy)))
        .collect()
}

fn given(evidence: &Evidence, seconds: u64) -> Circumstances<'_> {
    Circumstances {
        evidence,
        issuing: Issuing {
            reissue_rate: std::num::NonZeroU32::new(10).unwrap(),
            ..Issuing::default()
        },
        now: at(seconds),
    }
}

fn look(mesh: &MeshState, evidence: &Evidence, seconds: u64) -> Outlook {
    Outlook::of(mesh, given(evidence, seconds)).unwrap()
}

#[test]
fn who_is_awaited_is_named_with_the_reason_and_since_when() {
    let names = ["away", "blind", "done", "late", "nack", "silent"];
    let mesh = rolling(Phase::Propagate, &names);
    let mut all = names.map(proxy);
    all[0].connected_since = None;
    all[0].left = Some(at(50));
    all[1].asks = [Part::Leaf].into();
    acknowledges(&mut all[2], Part::Bundle, 2, 105);
    all[3].connected_since = Some(at(120));
    all[4].last_nack = Some(Nack {
        at: at(110),
        resource: "mesh_ca".to_owned(),
        message: "bad certificate".to_owned(),
    });
    let evidence = evidence(all);
    let outlook = look(&mesh, &evidence, 130);
    let waits = outlook.waiting.as_ref().unwrap();
    assert_eq!((waits.before, waits.gate), (Phase::Activate, Gate::BUNDLE));
    assert_eq!((waits.proxies, waits.awaited.len()), (6, 5));
    let found: Vec<_> = waits
        .awaited
        .iter()
        .map(|it| {
            (
                it.dataplane.name.as_str(),
                it.why.clone(),
                it.since,
                it.until,
            )
        })
        .collect();
    let rejected = Why::Rejected {
        part: Part::Bundle,
        message: "bad certificate".to_owned(),
    };
    let silent = Why::Silent(Part::Bundle);
    assert_eq!(
        found,
        [
            ("away", Why::Away, at(50), Some(at(5000))),
            ("blind", Why::NeverAsked(Part::Bundle), at(100), None),
            ("late", silent.clone(), at(120), None),
            ("nack", rejected, at(110), None),
            ("silent", silent, at(100), None),
        ]
    );
    assert!(waits.awaited.iter().all(|it| it.hint().is_some()));
    assert_eq!(waits.eta, None, "that is up to them");
    let steps = remaining(&mesh, given(&evidence, 130));
    assert_eq!(
        steps[0].summary,
        "stop signing with builtin authority 1".to_owned()
    );
    assert_eq!(steps.len(), 5);
}

#[test]
fn a_gate_stalls_when_it_has_waited_for_as_long_as_the_mesh_says() {
    let mut mesh = rolling(Phase::Propagate, &["silent"]);
    let all = evidence([proxy("silent")]);
    let stalled = |mesh: &MeshState, seconds| look(mesh, &all, seconds).stalled_since();
    assert_eq!(stalled(&mesh, 399), None);
    assert_eq!(stalled(&mesh, 400), Some(at(400)));
    assert_eq!(stalled(&mesh, 900), Some(at(400)));
    // To stand still was asked for.
    mesh.progress.rules.hold = Some(Phase::Activate);
    let held = look(&mesh, &all, 900);
    assert!(held.is_held() && held.stalled_since().is_none());
    assert_eq!(held.awaited().len(), 1);
    mesh.progress.rules.hold = Some(Phase::Retire);
    assert!(!look(&mesh, &all, 900).is_held(), "that is later");
}

#[test]
fn leaves_that_are_issued_one_after_the_other_stall_nothing_and_their_end_is_known() {
    let names: Vec<String> = (0..100).map(|number| format!("dp-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mesh = rolling(Phase::Activate, &names);
    let proxies = names.iter().enumerate().map(|(index, name)| {
        let mut proxy = proxy(name);
        match index {
            0..40 => acknowledges(&mut proxy, Part::Leaf, 2, 104),
            _ => proxy.offered.leaf = 1,
        }
        proxy
    });
    let all = evidence(proxies);
    let outlook = look(&mesh, &all, 105);
    let waits = outlook.waiting.unwrap();
    assert_eq!(waits.leaves, Some((40, 100)));
    assert!(waits.awaited.iter().all(|it| it.why == Why::Queued));
    assert_eq!(waits.awaited[0].hint(), None);
    assert_eq!(waits.eta, Some(at(111)), "60 leaves at 10 a second");
    // The time that reissuing takes (10 s) comes on top of the patience.
    assert_eq!(look(&mesh, &all, 409).stalled_since(), None);
    let late = look(&mesh, &all, 410);
    assert_eq!(late.stalled_since(), Some(at(410)));
    assert_eq!(late.waiting.unwrap().eta, None);
}

#[test]
fn a_drain_that_runs_is_no_stall_and_ends_when_its_last_connection_may() {
    let mesh = rolling(Phase::Retire, &["edge", "one", "two"]);
    let mut all = ["edge", "one", "two"].map(proxy);
    for proxy in &mut all {
        acknowledges(proxy, Part::Leaf, 2, 100);
        acknowledges(proxy, Part::Bundle, 2, 100);
        acknowledges(proxy, Part::Inbounds, 2, 101);
    }
    acknowledges(&mut all[2], Part::Inbounds, 2, 110);
    all[2].drain_seconds = Some(600);
    let drains = evidence(all.clone());
    let outlook = look(&mesh, &drains, 120);
    let waits = outlook.waiting.as_ref().unwrap();
    assert_eq!(waits.gate, Gate::DRAINED);
    let found: Vec<_> = waits
        .awaited
        .iter()
        .map(|it| (it.dataplane.name.as_str(), it.since, it.until))
        .collect();
    assert_eq!(
        found,
        [
            ("one", at(101), Some(at(161))),
            ("two", at(110), Some(at(710)))
        ]
    );
    assert!(waits.awaited.iter().all(|it| it.why == Why::Draining));
    assert_eq!(waits.eta, Some(at(710)));
    assert_eq!(look(&mesh, &drains, 600).stalled_since(), None);
    // One that hangs beside it stalls it.
    acknowledges(&mut all[1], Part::Inbounds, 1, 20);
    let hangs = evidence(all);
    let stalled = look(&mesh, &hangs, 600);
    assert_eq!(
        stalled.stalled_since(),
        Some(at(400 + 1)),
        "3 leaves take 1 s"
    );
    assert_eq!(stalled.waiting.unwrap().eta, None);
}

#[test]
fn the_end_of_its_leaf_is_when_nobody_waits_for_a_proxy_that_is_away() {
    let mesh = rolling(Phase::Propagate, &["away"]);
    let mut away = proxy("away");
    away.connected_since = None;
    away.left = Some(at(99));
    let all = evidence([away]);
    assert_eq!(look(&mesh, &all, 110).waiting.unwrap().eta, Some(at(5000)));
    assert_eq!(look(&mesh, &all, 5000).waiting, None, "it goes on");
}

#[test]
fn a_mesh_that_is_where_it_is_to_be_has_no_outlook() {
    let mut mesh = rolling(Phase::Retire, &[]);
    mesh.progress.transition = None;
    mesh.authorities
        .retain(|_, it| it.state == AuthorityState::Active);
    let nobody = Evidence::new();
    assert_eq!(Outlook::of(&mesh, given(&nobody, 120)), None);
    assert!(remaining(&mesh, given(&nobody, 120)).is_empty());
}

#[test]
fn one_that_is_about_to_begin_and_has_to_wait_is_seen_already() {
    let mut mesh = rolling(Phase::Propagate, &["silent"]);
    mesh.progress.transition = None;
    let all = evidence([proxy("silent")]);
    let outlook = look(&mesh, &all, 120);
    assert_eq!(outlook.transition.to, "builtin authority 2");
    assert_eq!(outlook.awaited()[0].dataplane, id("silent"));
    assert_eq!(Outlook::running(&mesh, given(&all, 120)), None);
}

#[test]
fn the_plaintext_window_closes_with_the_last_proxy_that_requires_mtls() {
    let mut mesh = rolling(Phase::Retire, &["one", "two"]);
    let transition = mesh.progress.transition.as_mut().unwrap();
    transition.plaintext_since = Some(at(95));
    let mut all = ["one", "two"].map(proxy);
    acknowledges(&mut all[0], Part::Inbounds, 2, 103);
    let window = |mesh: &MeshState, all: &[ProxyEvidence], seconds| {
        let all = evidence(all.to_vec());
        look(mesh, &all, seconds).plaintext.unwrap().as_secs()
    };
    assert_eq!(window(&mesh, &all, 120), 25, "one still accepts it");
    acknowledges(&mut all[1], Part::Inbounds, 2, 107);
    assert_eq!(window(&mesh, &all, 120), 12);
    mesh.progress.posture = Posture::Encrypting;
    assert_eq!(window(&mesh, &all, 120), 25);
}

/// What the write is told of that opens the next gate.
fn told(mesh: &MeshState, all: &Evidence, seconds: u64) -> Recorded {
    let plan = plan::advance(mesh, given(all, seconds)).unwrap();
    assert!(plan.due > 0);
    recorded(mesh, &plan, all, at(seconds))
}

#[test]
fn the_history_names_who_opened_a_gate_and_who_was_passed_over() {
    let names = ["approved", "expired", "ignored", "last", "one"];
    let mut mesh = rolling(Phase::Propagate, &names);
    mesh.progress.rules.offline = Offline::Ignore;
    let transition = mesh.progress.transition.as_mut().unwrap();
    transition.approved = ["approved".parse().unwrap()].into();
    let mut all = names.map(proxy);
    for away in [1, 2] {
        all[away].connected_since = None;
        all[away].left = Some(at(20));
    }
    all[1].leaf_not_after = Some(at(115));
    acknowledges(&mut all[3], Part::Bundle, 2, 119);
    acknowledges(&mut all[4], Part::Bundle, 2, 104);
    let mut all = all.to_vec();
    all.push(ProxyEvidence {
        dataplane: id("deleted"),
        ..proxy("one")
    });
    let all = evidence(all);
    let told = told(&mesh, &all, 120);
    assert_eq!(told.ended, None);
    let [gate] = &told.gates[..] else {
        panic!("{told:?}")
    };
    assert_eq!((gate.phase, gate.since), (Phase::Activate, at(100)));
    assert_eq!(gate.waited_for, Gate::BUNDLE.to_string());
    let [part] = &gate.acknowledged[..] else {
        panic!("{gate:?}")
    };
    let by: Vec<_> = part
        .by
        .iter()
        .map(|it| (it.dataplane.as_str(), it.at))
        .collect();
    assert_eq!((part.part, part.proxies), (Part::Bundle, 2));
    assert_eq!(by, [("one", at(104)), ("last", at(119))]);
    let over: Vec<_> = gate
        .passed_over
        .iter()
        .map(|it| (it.dataplane.as_str(), it.why))
        .collect();
    let expected = [
        ("approved", PassedOverBecause::Approved),
        ("expired", PassedOverBecause::Expired),
        ("ignored", PassedOverBecause::Offline),
    ];
    assert_eq!((gate.without, &*over), (3, &expected[..]));
}

#[test]
fn the_history_is_told_how_long_a_transition_took() {
    let mut mesh = rolling(Phase::Retire, &[]);
    let retiring = mesh.authorities.values_mut();
    for authority in retiring.filter(|it| it.state.name() == "retiring") {
        authority.state = AuthorityState::Staged;
    }
    let transition = mesh.progress.transition.as_mut().unwrap();
    transition.plaintext_since = Some(at(95));
    let told = told(&mesh, &Evidence::new(), 150);
    let ended = told.ended.unwrap();
    assert_eq!((ended.started, ended.took.0.as_secs()), (at(90), 60));
    assert_eq!(ended.plaintext.map(|it| it.0.as_secs()), Some(5));
    assert_eq!(
        (&*ended.from, &*ended.to),
        ("builtin authority 1", "builtin authority 2")
    );
}

#[test]
fn a_builtin_root_that_ends_is_replaced_without_plaintext_and_the_status_says_so() {
    let mut mesh = rolling(Phase::Propagate, &[]);
    mesh.progress.rules.strategy = Strategy::DisableFirst;
    let asked = Outlook::running(&mesh, given(&Evidence::new(), 200)).unwrap();
    assert_eq!(
        asked.strategy,
        Strategy::DisableFirst,
        "a commit asks for it"
    );
    let ca = CaSpec::default();
    let mtls = Mtls {
        enabled: true,
        ca,
        ..Mtls::default()
    };
    let name = mesh.name.clone();
    put(&mut mesh, Resource::Mesh(Mesh { name, mtls }));
    let active = mesh.active_authority().unwrap();
    let late = active.not_after - Duration::from_hours(24);
    let second = mesh.authorities.values_mut();
    for authority in second.filter(|it| it.state == AuthorityState::Prepared) {
        authority.not_after = late + Duration::from_hours(24 * 365 * 10);
    }
    let by_itself =
        Outlook::running(&mesh, given(&Evidence::new(), late.since(at(0)).as_secs())).unwrap();
    assert_eq!(by_itself.strategy, Strategy::Rolling);
}
