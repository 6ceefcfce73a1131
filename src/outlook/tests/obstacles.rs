//! What keeps a transition from going on beside the answers of proxies.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::model::ProvidedCa;

/// The mesh of [`rolling`], on its way to a provided root that lives until then.
fn to_root(phase: Phase, ends: u64, names: &[&str]) -> MeshState {
    let mut mesh = rolling(phase, names);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = at(0).to_date_time();
    params.not_after = at(ends).to_date_time();
    let key = KeyPair::generate().unwrap();
    let root = ProvidedCa {
        mesh: mesh.name.clone(),
        name: "root".parse().unwrap(),
        cert: params.self_signed(&key).unwrap().pem(),
        key: String::new(),
    };
    let mut authority = ca::provided(&root).unwrap();
    let second = |it: &&crate::model::Authority| {
        matches!(it.state, AuthorityState::Prepared | AuthorityState::Active)
            && it.origin == crate::model::AuthorityOrigin::Builtin { ordinal: 2 }
    };
    let replaced = mesh.authorities.values().find(second).unwrap().clone();
    mesh.authorities.remove(&replaced.id);
    authority.state = replaced.state;
    mesh.authorities.insert(authority.id, authority);
    put(&mut mesh, Resource::ProvidedCa(root));
    let name = mesh.name.clone();
    let ca = CaSpec::Provided {
        name: Some("root".parse().unwrap()),
    };
    let mtls = Mtls {
        enabled: true,
        ca,
        ..Mtls::default()
    };
    put(&mut mesh, Resource::Mesh(Mesh { name, mtls }));
    mesh
}

const LEAF: u64 = ca::DEFAULT_LEAF_LIFETIME.as_secs();

#[test]
fn a_root_that_came_to_live_too_short_is_told_with_the_way_out_and_stalls() {
    let ends = 2 * LEAF + 150;
    let mesh = to_root(Phase::Propagate, ends, &["one"]);
    let silent = evidence([proxy("one")]);
    let in_time = look(&mesh, &silent, 150);
    assert_eq!(
        (in_time.blocked.as_ref(), in_time.awaited().len()),
        (None, 1)
    );
    let mut one = proxy("one");
    acknowledges(&mut one, Part::Bundle, 2, 151);
    for all in [silent, evidence([one])] {
        let late = look(&mesh, &all, 152);
        let obstacle = late.blocked.as_ref().unwrap();
        assert_eq!(obstacle.why.reason(), "RootTooShort");
        assert_eq!(late.stalled_since(), Some(at(150)));
        let text = obstacle.to_string();
        assert!(text.contains("root") && text.contains("too soon"), "{text}");
        assert!(obstacle.hint().contains("go back"));
        let given = given(&all, 152);
        assert!(
            !remaining(&mesh, given).is_empty(),
            "it goes on with another"
        );
    }
    // One that signs is used until it ends.
    let signs = to_root(Phase::Activate, ends, &["one"]);
    let all = evidence([proxy("one")]);
    assert_eq!(look(&signs, &all, 152).blocked, None);
}

#[test]
fn who_is_given_no_leaf_since_the_authority_has_ended_is_told_so() {
    let mesh = to_root(Phase::Activate, 200, &["one"]);
    let mut one = proxy("one");
    one.offered.leaf = 1;
    let all = evidence([one]);
    let queued = look(&mesh, &all, 101).waiting.unwrap();
    assert_eq!(queued.awaited[0].why, Why::Queued);
    assert_eq!(queued.eta, Some(at(102)));
    // It takes longer than reissuing does: nobody can tell.
    assert_eq!(look(&mesh, &all, 199).waiting.unwrap().eta, None);
    let ended = look(&mesh, &all, 200).waiting.unwrap();
    let why = &ended.awaited[0].why;
    assert_eq!(why.name(), "unissued");
    assert!(why.to_string().contains("provided authority root"), "{why}");
    assert!(ended.awaited[0].hint().unwrap().contains("go back"));
    assert_eq!(ended.eta, None);
}

#[test]
fn who_holds_a_leaf_of_the_authority_that_is_to_be_dropped_is_named_and_stalls() {
    let mesh = rolling(Phase::Retire, &["gone", "holds", "one"]);
    let old = mesh
        .authorities
        .values()
        .find(|it| it.state.name() == "retiring");
    let old = old.unwrap().id;
    // All have acknowledged everything, and all drains are over.
    let mut all = ["gone", "holds", "one"].map(proxy);
    for proxy in &mut all {
        for part in Part::ALL {
            acknowledges(proxy, part, 2, 100);
        }
    }
    let due = |all: &[ProxyEvidence]| {
        let all = evidence(all.to_vec());
        plan::advance(&mesh, given(&all, 200)).unwrap().due
    };
    assert!(due(&all) > 0);
    all[1].leaf_issuer = Some(old);
    assert_eq!(due(&all), 0, "the store would refuse it");
    // One that is away and holds one is waited for until it ends.
    all[0].leaf_issuer = Some(old);
    (all[0].connected_since, all[0].left) = (None, Some(at(150)));
    let known = evidence(all.to_vec());
    let waits = look(&mesh, &known, 200).waiting.unwrap();
    assert_eq!(waits.gate, Gate::DRAINED);
    let found: Vec<_> = waits
        .awaited
        .iter()
        .map(|it| it.dataplane.name.as_str())
        .collect();
    assert_eq!(found, ["gone", "holds"]);
    assert!(
        waits
            .awaited
            .iter()
            .all(|it| it.why == Why::Holding && it.hint().is_some())
    );
    assert_eq!(waits.eta, Some(at(5000)), "the leaves end then");
    assert_eq!(look(&mesh, &known, 300).stalled_since(), None);
    assert_eq!(look(&mesh, &known, 401).stalled_since(), Some(at(401)));
    // What it says of who was approved is that nobody waits for them.
    let mut approved = mesh.clone();
    let transition = approved.progress.transition.as_mut().unwrap();
    transition.approved = ["gone", "holds"].map(|it| it.parse().unwrap()).into();
    assert_eq!(look(&approved, &known, 200).waiting, None);
    // In plaintext nobody needs it.
    let mut plain = mesh.clone();
    plain.progress.posture = Posture::Plaintext;
    let due = plan::advance(&plain, given(&known, 200)).unwrap().due;
    assert!(due > 0);
}

#[test]
fn every_gate_is_recorded_that_someone_was_passed_over_for() {
    let mut mesh = rolling(Phase::Propagate, &["approved", "ignored"]);
    mesh.progress.rules.offline = Offline::Ignore;
    let transition = mesh.progress.transition.as_mut().unwrap();
    transition.approved = ["approved".parse().unwrap()].into();
    let mut all = ["approved", "ignored"].map(proxy);
    for proxy in &mut all {
        (proxy.connected_since, proxy.left) = (None, Some(at(20)));
    }
    // Nobody is waited for: all that is left is done in one write.
    let told = |all: &[ProxyEvidence]| told(&mesh, &evidence(all.to_vec()), 120);
    let found = told(&all);
    assert!(found.ended.is_some());
    let gates: Vec<_> = (found.gates.iter())
        .map(|it| (it.phase, it.without, it.since))
        .collect();
    let expected = [
        (Phase::Activate, 2, at(100)),
        (Phase::Retire, 2, at(120)),
        (Phase::Retire, 2, at(120)),
        (Phase::Done, 2, at(120)),
    ];
    assert_eq!(gates, expected);
    let names = |gate: &crate::model::PassedGate| -> Vec<String> {
        let all = gate.passed_over.iter();
        all.map(|it| it.dataplane.to_string()).collect()
    };
    for gate in &found.gates {
        assert_eq!(names(gate), ["approved", "ignored"]);
    }
    // Where nobody was, only the gate is told of that stood.
    for proxy in &mut all {
        (proxy.leaf_not_after, proxy.acknowledged) = (None, [].into());
    }
    let gates: Vec<_> = told(&all).gates.iter().map(|it| it.phase).collect();
    assert_eq!(gates, [Phase::Activate]);
}
