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
    assert_eq!((in_time.blocked.as_ref(), in_time.awaited().len()), (None, 1));
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
        assert!(remaining(&mesh, given).is_empty(), "nothing is to come");
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
