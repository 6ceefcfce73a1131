//! Whatever is written in whatever order, a mesh stays whole.

use proptest::prelude::{Strategy, *};
use proptest::sample::select;

use super::*;
use crate::model::Part;

/// Any operation on a few names.
fn operation() -> impl Strategy<Value = Operation> {
    let names = select(vec!["builtin-1", "builtin-2", "root", "other"]);
    let states = select(vec![
        AuthorityState::Staged,
        PREPARED,
        ACTIVE,
        retiring(),
        revoked(),
    ]);
    let cas = select(vec![
        builtin(),
        provided(None),
        provided(Some("root")),
        provided(Some("other")),
    ]);
    prop_oneof![
        3 => (any::<bool>(), cas).prop_map(|(enabled, ca)| mesh(enabled, ca)),
        1 => Just(delete(Kind::Mesh, "demo")),
        2 => select(vec!["dp-1", "dp-2"]).prop_map(|name| dataplane("demo", name)),
        1 => select(vec!["dp-1", "dp-2"]).prop_map(|name| delete(Kind::Dataplane, name)),
        1 => Just(dataplane("other", "dp-1")),
        1 => select(vec!["root", "other"])
            .prop_map(|name| provided_ca(name, &format!("certificate of {name}"))),
        4 => names.clone().prop_map(add),
        8 => (names.clone(), states).prop_map(|(name, state)| advance(name, state)),
        1 => names.prop_map(|name| Operation::ForgetAuthority(id(name))),
        1 => Just(Operation::Drain),
        4 => select(Posture::ALL.to_vec()).prop_map(Operation::Secure),
    ]
}

/// Any evidence on a few names.
fn evidence() -> impl Strategy<Value = Evidence> {
    let leaves = (
        select(vec!["dp-1", "dp-2"]),
        select(vec!["builtin-1", "builtin-2", "root"]),
        select(vec![None, Some(now()), Some(now() + HOUR)]),
        any::<bool>(),
    );
    let leaf = leaves.prop_map(|(dataplane, issuer, end, is_connected)| {
        let mut evidence = leaf(dataplane, issuer, end);
        for proxy in evidence.values_mut() {
            let proxy = Arc::make_mut(proxy);
            proxy.connected_since = is_connected.then(now);
            proxy.asks = Part::ALL.into();
        }
        evidence
    });
    proptest::collection::vec(leaf, 0..4).prop_map(|all| all.into_iter().flatten().collect())
}

/// Checks what a write made of a mesh.
fn assert_whole(before: &MeshState, after: &MeshState, evidence: &Evidence) {
    let active: Vec<_> = after
        .authorities
        .values()
        .filter(|authority| authority.state == ACTIVE)
        .collect();
    let (from, to) = (before.progress.posture, after.progress.posture);
    assert!(active.len() <= 1);
    assert!(!to.has_identities() || active.len() == 1);
    assert_eq!(after.mesh().is_none(), after.resources.is_empty());
    assert!(!after.resources.is_empty() || after.authorities.is_empty());
    assert!(after.resources.keys().all(|key| key.mesh == after.name));
    for (id, authority) in &after.authorities {
        assert_eq!((*id, &authority.mesh), (authority.id, &after.name));
    }
    let Some(mesh) = after.mesh() else {
        for proxy in evidence.values() {
            let is_known = before.dataplane(&proxy.dataplane.name).is_some();
            assert!(
                !is_known || proxy.connected_since.is_none(),
                "the mesh went while {} was connected",
                proxy.dataplane
            );
        }
        return;
    };
    if before.mesh().is_none() {
        return;
    }
    assert!(
        to >= from || !mesh.mtls.enabled,
        "unannounced: {from:?} to {to:?}"
    );
    for part in Part::ALL {
        let marks = (
            before.progress.marks.of(part),
            after.progress.marks.of(part),
        );
        assert!(marks.0 <= marks.1, "the mark of {part} fell");
    }
    if from.has_identities() && to.has_identities() {
        for proxy in evidence.values() {
            let lives = proxy.leaf_not_after.is_none_or(|end| end > now());
            let trusted = |state: &MeshState| {
                let mut bundle = state.trusted_authorities();
                bundle.any(|authority| Some(authority.id) == proxy.leaf_issuer)
            };
            // Nobody keeps evidence of a Dataplane that is not there.
            let name = &proxy.dataplane.name;
            let is_in = |state: &MeshState| state.dataplane(name).is_some();
            let stays = is_in(before) && is_in(after);
            assert!(
                !(lives && stays && trusted(before)) || trusted(after),
                "{} was cut off",
                proxy.dataplane
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_writes_breaks_a_mesh(
        writes in proptest::collection::vec(
            (proptest::collection::vec(operation(), 1..6), evidence()),
            1..20,
        ),
        secured: bool,
    ) {
        let mut state = if secured { secure("builtin-1", builtin()) } else { absent() };
        for (operations, evidence) in writes {
            if let Ok(next) = try_on(&state, &evidence, operations) {
                assert_whole(&state, &next, &evidence);
                state = next;
            }
        }
    }

    #[test]
    fn a_single_operation_done_twice_is_done_once(
        first in proptest::collection::vec(operation(), 0..8),
        last in operation(),
    ) {
        let state = try_on(&secure("builtin-1", builtin()), &Evidence::new(), first);
        let state = state.unwrap_or_else(|_| absent());
        let once = try_on(&state, &Evidence::new(), [last.clone()]);
        let twice = try_on(&state, &Evidence::new(), [last.clone(), last]);
        prop_assert_eq!(once, twice);
    }
}
