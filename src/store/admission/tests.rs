use std::time::Duration;

use super::*;
use crate::model::{
    Dataplane, Digest, IllegalMove, Mesh, MeshName, Mtls, Networking, Origin, Part, ProvidedCa,
    ProxyEvidence, Role, SpkiId,
};

mod sequences;
mod steps;

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
    CaSpec::default()
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
            .chain(activate(name))
            .chain([Operation::Secure(Posture::Strict)]),
    )
}

/// What a new mesh with mTLS is written with, with or without who signs.
fn secured(signs: bool) -> Vec<Operation> {
    let signs = signs.then(|| activate("builtin-1"));
    let mesh = [mesh(true, builtin()), dataplane("demo", "dp")];
    let secure = [Operation::Secure(Posture::Strict)];
    let operations = mesh.into_iter().chain(signs.into_iter().flatten());
    operations.chain(secure).collect()
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
    Evidence::from([(proxy, evidence.into())])
}

fn name() -> MeshName {
    "demo".parse().unwrap()
}

fn dp(mesh: &str) -> ResourceKey {
    ResourceKey {
        mesh: mesh.parse().unwrap(),
        kind: Kind::Dataplane,
        name: "dp".parse().unwrap(),
    }
}

#[test]
fn what_belongs_to_another_mesh_is_refused() {
    let plain = after([mesh(false, builtin())]);
    let foreign_resource = Refusal::ForeignResource {
        resource: dp("other"),
        mesh: name(),
    };
    let put = refusal(&plain, [dataplane("other", "dp")]);
    assert_eq!(put, Some(foreign_resource.clone()));
    let delete = refusal(&plain, [Operation::DeleteResource(dp("other"))]);
    assert_eq!(delete, Some(foreign_resource));
    let foreign = Authority {
        mesh: "other".parse().unwrap(),
        ..authority("root", AuthorityState::Staged)
    };
    let add = Operation::AddAuthority(foreign, SealedKey(Vec::new()));
    let expected = Refusal::ForeignAuthority {
        id: id("root"),
        owner: "other".parse().unwrap(),
        mesh: name(),
    };
    assert_eq!(refusal(&plain, [add]), Some(expected));
}

#[test]
fn a_mesh_stands_and_falls_with_its_mesh_resource() {
    let expected = Refusal::WithoutMesh {
        mesh: name(),
        dependents: vec![dp("demo")],
    };
    let secure = secure("builtin-1", builtin());
    let deleted = refusal(&secure, [delete(Kind::Mesh, "demo")]);
    assert_eq!(deleted, Some(expected.clone()));
    assert_eq!(
        refusal(&absent(), [dataplane("demo", "dp")]),
        Some(expected)
    );
    let expected = Refusal::AuthorityWithoutMesh {
        id: id("root"),
        mesh: name(),
    };
    assert_eq!(refusal(&absent(), [add("root")]), Some(expected));
    let all = [delete(Kind::Dataplane, "dp"), delete(Kind::Mesh, "demo")];
    assert_eq!(try_on(&secure, &Evidence::new(), all), Ok(absent()));
}

#[test]
fn a_mesh_stays_while_a_proxy_of_it_is_connected() {
    let secure = secure("builtin-1", builtin());
    let all = || [delete(Kind::Dataplane, "dp"), delete(Kind::Mesh, "demo")];
    let mut evidence = leaf("dp", "builtin-1", None);
    assert_eq!(try_on(&secure, &evidence, all()), Ok(absent()));
    for proxy in evidence.values_mut() {
        Arc::make_mut(proxy).connected_since = Some(now());
    }
    let expected = Refusal::DataplanesConnected {
        mesh: name(),
        dataplanes: evidence.keys().cloned().collect(),
    };
    assert_eq!(try_on(&secure, &evidence, all()), Err(expected));
    // Nobody keeps evidence of a Dataplane that is not there.
    let mut stranger = leaf("other", "builtin-1", None);
    for proxy in stranger.values_mut() {
        Arc::make_mut(proxy).connected_since = Some(now());
    }
    assert_eq!(try_on(&secure, &stranger, all()), Ok(absent()));
}

#[test]
fn the_marks_of_a_mesh_are_above_those_of_one_that_had_its_name() {
    let created = |store: u64| {
        let write = MeshWrite {
            mesh: name(),
            expected: Generation(0),
            operations: secured(true),
            history: None,
        };
        let absent = absent();
        let admitted = decide(&absent, &write, &Evidence::new(), Generation(store), now());
        admitted.unwrap().next
    };
    let (first, second) = (created(7), created(8));
    for part in Part::ALL {
        let marks = [&first, &second].map(|it| it.progress.marks.of(part));
        assert!(marks[0] < marks[1], "{part}: {marks:?}");
    }
    assert!(first.progress.deletions < second.progress.deletions);
}

#[test]
fn whoever_looks_sees_that_a_dataplane_was_deleted() {
    let secure = secure("builtin-1", builtin());
    let deletions = |state: &MeshState| state.progress.deletions;
    let nobody = Evidence::new();
    let gone = try_on(&secure, &nobody, [delete(Kind::Dataplane, "dp")]).unwrap();
    assert_eq!(deletions(&gone), deletions(&secure) + 1);
    let again = try_on(&gone, &nobody, [delete(Kind::Dataplane, "dp")]).unwrap();
    let back = try_on(&again, &nobody, [dataplane("demo", "dp")]).unwrap();
    assert_eq!(deletions(&back), deletions(&gone));
}

#[test]
fn no_step_is_taken_between_the_deletion_of_a_dataplane_and_its_return() {
    let secure = secure("builtin-1", builtin());
    let again = [delete(Kind::Dataplane, "dp"), dataplane("demo", "dp")];
    let expected = Refusal::WrittenAgain {
        resource: dp("demo"),
    };
    assert_eq!(refusal(&secure, again.clone()), Some(expected));
    // One that was not there before has nothing to be asked for.
    let plain = after([mesh(false, builtin())]);
    let new = [dataplane("demo", "dp")].into_iter().chain(again);
    assert_eq!(refusal(&plain, new), None);
}

#[test]
fn an_authority_skips_no_state() {
    let plain = after([mesh(false, builtin())]);
    let secure = secure("builtin-1", builtin());
    let (one, root) = (id("builtin-1"), id("root"));
    let active = Operation::AddAuthority(authority("root", ACTIVE), SealedKey(Vec::new()));
    let not_staged = Refusal::NotStaged {
        id: root,
        state: ACTIVE,
    };
    assert_eq!(refusal(&plain, [active]), Some(not_staged));
    let again = [add("root"), advance("root", revoked()), add("root")];
    let expected = Refusal::AlreadyRevoked { id: root };
    assert_eq!(refusal(&plain, again), Some(expected));
    let unknown = refusal(&plain, [advance("root", PREPARED)]);
    assert_eq!(unknown, Some(Refusal::UnknownAuthority { id: root }));
    let illegal = Refusal::IllegalMove {
        id: one,
        illegal: IllegalMove {
            from: ACTIVE,
            to: revoked(),
        },
    };
    assert_eq!(
        refusal(&secure, [advance("builtin-1", revoked())]),
        Some(illegal)
    );
    let not_revoked = Refusal::NotRevoked {
        id: one,
        state: ACTIVE,
    };
    assert_eq!(
        refusal(&secure, [Operation::ForgetAuthority(one)]),
        Some(not_revoked)
    );
}

#[test]
fn where_connections_are_secured_exactly_the_chosen_authority_is_active() {
    let plain = after([mesh(false, builtin())]);
    let secure = secure("builtin-1", builtin());
    let none = Some(Refusal::NoActiveAuthority);
    assert_eq!(refusal(&absent(), secured(false)), none);
    assert_eq!(refusal(&secure, [advance("builtin-1", retiring())]), none);
    let two = refusal(&secure, activate("builtin-2"));
    assert!(matches!(two, Some(Refusal::TwoActive { first, second }) if first < second));
    let other = refusal(
        &plain,
        [mesh(true, builtin())].into_iter().chain(activate("root")),
    );
    let expected = Refusal::OtherActive {
        id: id("root"),
        origin: authority("root", ACTIVE).origin,
        ca: builtin(),
    };
    assert_eq!(other, Some(expected));
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
fn only_a_write_that_takes_a_step_needs_evidence() {
    let needs = |operations: Vec<Operation>| {
        needs_evidence(&MeshWrite {
            mesh: "demo".parse().unwrap(),
            expected: Generation(0),
            operations,
            history: None,
        })
    };
    assert!(!needs(vec![mesh(true, builtin()), add("root")]));
    assert!(!needs(vec![delete(Kind::Dataplane, "dp")]));
    assert!(needs(vec![delete(Kind::Mesh, "demo")]));
    assert!(needs(vec![advance("root", revoked())]));
    assert!(needs(vec![Operation::Drain]));
    assert!(needs(vec![Operation::Secure(Posture::Strict)]));
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
