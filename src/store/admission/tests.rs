use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::{
    Dataplane, Digest, Generation, Mesh, Mtls, Networking, Origin, ProvidedCa, ProxyEvidence, Role,
    SpkiId,
};

const HOUR: Duration = Duration::from_hours(1);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

fn id(name: &str) -> AuthorityId {
    AuthorityId(Digest::of(name.as_bytes()))
}

fn authority(name: &str, state: AuthorityState) -> Authority {
    Authority {
        id: id(name),
        spki: SpkiId(Digest::of(name.as_bytes())),
        mesh: "demo".parse().unwrap(),
        origin: match name.strip_prefix("builtin-") {
            Some(ordinal) => AuthorityOrigin::Builtin {
                ordinal: ordinal.parse().unwrap(),
            },
            None => AuthorityOrigin::Provided {
                name: name.parse().unwrap(),
            },
        },
        certificate: format!("certificate of {name}").into(),
        subject: String::new(),
        not_before: now(),
        not_after: now() + HOUR,
        state,
    }
}

fn put(resource: Resource) -> Operation {
    Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
}

fn mesh(enabled: bool, ca: CaSpec) -> Operation {
    put(Resource::Mesh(Mesh {
        name: "demo".parse().unwrap(),
        mtls: Mtls {
            enabled,
            ca,
            transition: None,
        },
    }))
}

fn builtin() -> CaSpec {
    CaSpec::Builtin {}
}

fn provided(name: Option<&str>) -> CaSpec {
    CaSpec::Provided {
        name: name.map(|name| name.parse().unwrap()),
    }
}

fn provided_ca(name: &str, cert: &str) -> Operation {
    put(Resource::ProvidedCa(ProvidedCa {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
        cert: cert.to_owned(),
        key: String::new(),
    }))
}

fn dataplane(mesh: &str, name: &str) -> Operation {
    put(Resource::Dataplane(Dataplane {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
        namespace: None,
        networking: Networking {
            address: "127.0.0.1".parse().unwrap(),
            role: Role::Inbound(Vec::new()),
            outbound: Vec::new(),
        },
    }))
}

fn delete(kind: Kind, name: &str) -> Operation {
    Operation::DeleteResource(ResourceKey {
        mesh: "demo".parse().unwrap(),
        kind,
        name: name.parse().unwrap(),
    })
}

fn add(name: &str) -> Operation {
    Operation::AddAuthority(authority(name, AuthorityState::Staged), SealedKey(vec![1]))
}

fn advance(name: &str, to: AuthorityState) -> Operation {
    Operation::MoveAuthority(id(name), to)
}

const PREPARED: AuthorityState = AuthorityState::Prepared;
const ACTIVE: AuthorityState = AuthorityState::Active;

fn retiring() -> AuthorityState {
    AuthorityState::Retiring { since: now() }
}

fn revoked() -> AuthorityState {
    AuthorityState::Revoked { at: now() }
}

fn activate(name: &str) -> [Operation; 3] {
    [add(name), advance(name, PREPARED), advance(name, ACTIVE)]
}

fn try_on(
    current: &MeshState,
    evidence: &Evidence,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<MeshState, Refusal> {
    let write = MeshWrite {
        mesh: "demo".parse().unwrap(),
        expected: current.generation,
        operations: operations.into_iter().collect(),
        history: None,
    };
    admit(current, &write, evidence, now())
}

fn after(operations: impl IntoIterator<Item = Operation>) -> MeshState {
    try_on(&absent(), &Evidence::new(), operations).unwrap()
}

fn absent() -> MeshState {
    MeshState::absent("demo".parse().unwrap())
}

/// A mesh with mTLS, whose active authority is `name`.
fn secure(name: &str, ca: CaSpec) -> MeshState {
    after(
        [mesh(true, ca), dataplane("demo", "dp")]
            .into_iter()
            .chain(activate(name)),
    )
}

fn refusal(
    current: &MeshState,
    operations: impl IntoIterator<Item = Operation>,
) -> Option<Refusal> {
    try_on(current, &Evidence::new(), operations).err()
}

fn leaf(dataplane: &str, issuer: &str, not_after: Option<Timestamp>) -> Evidence {
    let proxy = DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: dataplane.parse().unwrap(),
    };
    let evidence = ProxyEvidence {
        leaf_issuer: Some(id(issuer)),
        leaf_not_after: not_after,
        ..ProxyEvidence::none(proxy.clone(), now())
    };
    Evidence::from([(proxy, evidence)])
}

#[test]
fn each_thing_that_no_writer_may_do_is_refused_by_its_name() {
    let nothing = absent();
    let plain = after([mesh(false, builtin())]);
    let secure = secure("builtin-1", builtin());
    let foreign = Operation::AddAuthority(
        Authority {
            mesh: "other".parse().unwrap(),
            ..authority("builtin-1", AuthorityState::Staged)
        },
        SealedKey(Vec::new()),
    );
    let active = Operation::AddAuthority(authority("root", ACTIVE), SealedKey(Vec::new()));
    let one = id("builtin-1");
    let name = || "demo".parse::<MeshName>().unwrap();
    let dp = ResourceKey {
        mesh: name(),
        kind: Kind::Dataplane,
        name: "dp".parse().unwrap(),
    };
    let other_dp = ResourceKey {
        mesh: "other".parse().unwrap(),
        ..dp.clone()
    };
    let cases: Vec<(&MeshState, Vec<Operation>, Refusal)> = vec![
        (
            &plain,
            vec![dataplane("other", "dp")],
            Refusal::ForeignResource {
                resource: other_dp.clone(),
                mesh: name(),
            },
        ),
        (
            &plain,
            vec![Operation::DeleteResource(other_dp.clone())],
            Refusal::ForeignResource {
                resource: other_dp,
                mesh: name(),
            },
        ),
        (
            &plain,
            vec![foreign],
            Refusal::ForeignAuthority {
                id: one,
                owner: "other".parse().unwrap(),
                mesh: name(),
            },
        ),
        (
            &plain,
            vec![active],
            Refusal::NotStaged {
                id: id("root"),
                state: ACTIVE,
            },
        ),
        (
            &plain,
            vec![add("root"), advance("root", revoked()), add("root")],
            Refusal::AlreadyRevoked { id: id("root") },
        ),
        (
            &plain,
            vec![advance("root", PREPARED)],
            Refusal::UnknownAuthority { id: id("root") },
        ),
        (
            &secure,
            vec![advance("builtin-1", revoked())],
            Refusal::IllegalMove {
                id: one,
                illegal: IllegalMove {
                    from: ACTIVE,
                    to: revoked(),
                },
            },
        ),
        (
            &secure,
            vec![Operation::ForgetAuthority(one)],
            Refusal::NotRevoked {
                id: one,
                state: ACTIVE,
            },
        ),
        (
            &secure,
            vec![advance("builtin-1", retiring())],
            Refusal::NoActiveAuthority,
        ),
        (
            &plain,
            vec![mesh(true, builtin())],
            Refusal::NoActiveAuthority,
        ),
        (
            &secure,
            vec![delete(Kind::Mesh, "demo")],
            Refusal::WithoutMesh {
                mesh: name(),
                dependents: vec![dp],
            },
        ),
        (
            &nothing,
            vec![add("root")],
            Refusal::AuthorityWithoutMesh {
                id: id("root"),
                mesh: name(),
            },
        ),
        (
            &secure,
            vec![mesh(true, provided(None))],
            Refusal::CaChangeForbidden,
        ),
    ];
    for (current, operations, expected) in cases {
        assert_eq!(refusal(current, operations), Some(expected));
    }
    let two = refusal(&secure, activate("builtin-2"));
    assert!(matches!(two, Some(Refusal::TwoActive { first, second }) if first < second));
}

#[test]
fn the_message_about_the_ca_is_pinned() {
    assert_eq!(
        Refusal::CaChangeForbidden.to_string(),
        "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA"
    );
}

#[test]
fn many_names_are_counted_and_not_listed() {
    let refusal = Refusal::StillInUse {
        id: id("root"),
        dataplanes: (0..9)
            .flat_map(|n| leaf(&format!("dp-{n}"), "root", None).into_keys())
            .collect(),
    };
    let text = refusal.to_string();
    assert!(
        text.contains("demo/dp-0, demo/dp-1, demo/dp-2, 6 more still hold"),
        "{text}"
    );
}

#[test]
fn a_change_of_ca_is_judged_by_what_it_resolves_to() {
    let certificate = "certificate of root\n";
    let root = |ca| {
        after(
            [mesh(true, ca), provided_ca("root", certificate)]
                .into_iter()
                .chain(activate("root")),
        )
    };
    let two = |ca, cert| [provided_ca("other", cert), mesh(true, ca)];
    let forbidden = Some(Refusal::CaChangeForbidden);

    // The same authority under another spelling.
    assert_eq!(
        refusal(&root(provided(None)), [mesh(true, provided(Some("root")))]),
        None
    );
    assert_eq!(
        refusal(&root(provided(Some("root"))), [mesh(true, provided(None))]),
        None
    );
    assert_eq!(
        refusal(
            &root(provided(None)),
            two(provided(Some("other")), certificate)
        ),
        None
    );
    // Another one.
    let other = two(provided(Some("other")), "certificate of other");
    assert_eq!(refusal(&root(provided(None)), other.clone()), forbidden);
    let swap = other
        .into_iter()
        .chain([advance("root", retiring())])
        .chain(activate("other"));
    assert_eq!(refusal(&root(provided(None)), swap.clone()), forbidden);
    assert_eq!(
        refusal(&root(provided(None)), [mesh(true, builtin())]),
        forbidden
    );
    // Disabling it in the same write is too late.
    assert_eq!(
        refusal(&root(provided(None)), [mesh(false, builtin())]),
        forbidden
    );
    // So is taking the Mesh away and making it anew.
    let anew = [delete(Kind::Mesh, "demo"), mesh(true, builtin())];
    assert_eq!(refusal(&root(provided(None)), anew), forbidden);
    // Everything is allowed while it is disabled, enabling in the same write included.
    let disabled = try_on(
        &root(provided(None)),
        &Evidence::new(),
        [mesh(false, provided(None))],
    );
    assert_eq!(refusal(&disabled.unwrap(), swap), None);
}

#[test]
fn an_authority_leaves_the_bundle_only_when_nobody_holds_its_leaf() {
    let rotating = try_on(
        &secure("builtin-1", builtin()),
        &Evidence::new(),
        [advance("builtin-1", retiring())]
            .into_iter()
            .chain(activate("builtin-2")),
    )
    .unwrap();
    let revoke = || vec![advance("builtin-1", revoked())];
    let forget = || {
        let forget = Operation::ForgetAuthority(id("builtin-1"));
        vec![advance("builtin-1", revoked()), forget]
    };
    let disable = || vec![mesh(false, builtin()), advance("builtin-1", revoked())];
    let leave = || {
        vec![
            delete(Kind::Dataplane, "dp"),
            advance("builtin-1", revoked()),
        ]
    };
    let late = Some(now() + HOUR);
    let cases = [
        (
            "a leaf that lives",
            leaf("dp", "builtin-1", late),
            revoke(),
            false,
        ),
        (
            "forgotten at once",
            leaf("dp", "builtin-1", late),
            forget(),
            false,
        ),
        (
            "a leaf of unknown end",
            leaf("dp", "builtin-1", None),
            revoke(),
            false,
        ),
        (
            "an expired leaf",
            leaf("dp", "builtin-1", Some(now())),
            revoke(),
            true,
        ),
        (
            "a leaf of another",
            leaf("dp", "builtin-2", late),
            revoke(),
            true,
        ),
        ("no evidence", Evidence::new(), revoke(), true),
        (
            "disabled with it",
            leaf("dp", "builtin-1", late),
            disable(),
            true,
        ),
        (
            "an unknown proxy",
            leaf("dp-9", "builtin-1", late),
            revoke(),
            true,
        ),
        (
            "a proxy that leaves",
            leaf("dp", "builtin-1", late),
            leave(),
            true,
        ),
    ];
    for (case, evidence, operations, admitted) in cases {
        let result = try_on(&rotating, &evidence, operations);
        assert_eq!(result.is_ok(), admitted, "{case}: {result:?}");
        if let Err(refusal) = result {
            let dataplanes = evidence.into_keys().collect();
            let id = id("builtin-1");
            assert_eq!(refusal, Refusal::StillInUse { id, dataplanes }, "{case}");
        }
    }
}

#[test]
fn only_a_write_that_revokes_needs_evidence() {
    let needs = |operations: Vec<Operation>| {
        needs_evidence(&MeshWrite {
            mesh: "demo".parse().unwrap(),
            expected: Generation(0),
            operations,
            history: None,
        })
    };
    assert!(!needs(activate("root").into()));
    assert!(needs(vec![add("root"), advance("root", revoked())]));
}

#[test]
fn moving_on_to_the_present_state_keeps_when_that_began() {
    let state = after(
        [mesh(false, builtin())]
            .into_iter()
            .chain(activate("root"))
            .chain([advance("root", retiring())]),
    );
    let later = AuthorityState::Retiring {
        since: now() + HOUR,
    };
    let next = try_on(&state, &Evidence::new(), [advance("root", later)]).unwrap();
    assert_eq!(next.authorities[&id("root")].state, retiring());
}

#[test]
fn a_mesh_without_resources_is_gone_with_its_authorities() {
    let state = secure("builtin-1", builtin());
    let all = [delete(Kind::Dataplane, "dp"), delete(Kind::Mesh, "demo")];
    assert_eq!(try_on(&state, &Evidence::new(), all), Ok(absent()));
}

/// Any operation on a few names.
fn operation() -> impl Strategy<Value = Operation> {
    let names = select(vec!["builtin-1", "builtin-2", "root", "other"]);
    let states = select(vec![PREPARED, ACTIVE, retiring(), revoked()]);
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
    ]
}

/// Any evidence on a few names.
fn evidence() -> impl Strategy<Value = Evidence> {
    let leaves = (
        select(vec!["dp-1", "dp-2"]),
        select(vec!["builtin-1", "builtin-2", "root"]),
        select(vec![None, Some(now()), Some(now() + HOUR)]),
    );
    let leaf = leaves.prop_map(|(dataplane, issuer, end)| leaf(dataplane, issuer, end));
    proptest::collection::vec(leaf, 0..4).prop_map(|all| all.into_iter().flatten().collect())
}

fn assert_whole(before: &MeshState, after: &MeshState, evidence: &Evidence) {
    let enabled = |state: &MeshState| state.mesh().is_some_and(|mesh| mesh.mtls.enabled);
    let active: Vec<_> = after
        .authorities
        .values()
        .filter(|authority| authority.state == ACTIVE)
        .collect();
    assert!(active.len() <= 1);
    assert!(!enabled(after) || active.len() == 1);
    assert_eq!(after.mesh().is_none(), after.resources.is_empty());
    assert!(!after.resources.is_empty() || after.authorities.is_empty());
    assert!(after.resources.keys().all(|key| key.mesh == after.name));
    for (id, authority) in &after.authorities {
        assert_eq!((*id, &authority.mesh), (authority.id, &after.name));
    }
    if let (true, Some(next)) = (enabled(before), after.mesh()) {
        let kind = before.mesh().unwrap().mtls.ca.kind();
        assert_eq!(
            next.mtls.ca.kind(),
            kind,
            "the kind of CA changed under mTLS"
        );
    }
    if enabled(before) && enabled(after) {
        for proxy in evidence.values() {
            let lives = proxy.leaf_not_after.is_none_or(|end| end > now());
            let trusted = |state: &MeshState| {
                let mut bundle = state.trusted_authorities();
                bundle.any(|authority| Some(authority.id) == proxy.leaf_issuer)
            };
            let stays = after.dataplane(&proxy.dataplane.name).is_some();
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
