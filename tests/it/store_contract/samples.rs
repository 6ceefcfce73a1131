//! Meshes to write.

use std::sync::Arc;
use std::time::Duration;

use windlass::clock;
use windlass::model::{
    Acknowledgement, Authority, AuthorityId, AuthorityOrigin, AuthorityState, CaSpec, Dataplane,
    DataplaneId, Digest, Generation, HistoryEntry, Inbound, Kind, Marks, Mesh, Mtls, Networking,
    Origin, Outbound, Part, Phase, Posture, ProvidedCa, ProxyEvidence, Resource, ResourceKey, Role,
    SealedKey, Selector, ServiceMatch, SpkiId, StoredResource, Timestamp, TrafficPermission,
    Transition,
};
use windlass::store::{MeshWrite, Operation, Store, WriteError, Written};

pub(crate) const ACTIVE: AuthorityState = AuthorityState::Active;
pub(crate) const PREPARED: AuthorityState = AuthorityState::Prepared;

pub(crate) fn retiring() -> AuthorityState {
    AuthorityState::Retiring { since: at(7) }
}

pub(crate) fn revoked() -> AuthorityState {
    AuthorityState::Revoked { at: at(8) }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + seconds)
}

pub(crate) fn write(mesh: &str, expected: Generation, operations: Vec<Operation>) -> MeshWrite {
    MeshWrite {
        mesh: mesh.parse().unwrap(),
        expected,
        operations,
        history: None,
    }
}

/// Does `operations` on the mesh as it is now.
pub(crate) async fn change(
    store: &impl Store,
    mesh: &str,
    operations: Vec<Operation>,
) -> Result<Written, WriteError> {
    let current = store.load().await.unwrap();
    let expected = current.meshes.get(mesh).map(|mesh| mesh.generation);
    let write = write(mesh, expected.unwrap_or_default(), operations);
    store.write(&write).await
}

pub(crate) fn key(mesh: &str, kind: Kind, name: &str) -> ResourceKey {
    ResourceKey {
        mesh: mesh.parse().unwrap(),
        kind,
        name: name.parse().unwrap(),
    }
}

pub(crate) fn put(resource: Resource) -> Operation {
    Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
}

pub(crate) fn delete(mesh: &str, kind: Kind, name: &str) -> Operation {
    Operation::DeleteResource(key(mesh, kind, name))
}

pub(crate) fn mesh(name: &str) -> Resource {
    mesh_with(name, false, CaSpec::default())
}

pub(crate) fn mesh_with(name: &str, enabled: bool, ca: CaSpec) -> Resource {
    Resource::Mesh(Mesh {
        name: name.parse().unwrap(),
        mtls: Mtls {
            enabled,
            ca,
            transition: None,
        },
    })
}

pub(crate) fn provided(mesh: &str, name: &str) -> Resource {
    Resource::ProvidedCa(ProvidedCa {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
        cert: format!("certificate of {name}"),
        key: String::new(),
    })
}

pub(crate) fn permission(mesh: &str, name: &str) -> Resource {
    Resource::TrafficPermission(TrafficPermission {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
        namespace: None,
        sources: vec![Selector {
            service: ServiceMatch::Exactly("web".parse().unwrap()),
        }],
        destinations: vec![Selector {
            service: ServiceMatch::Any,
        }],
    })
}

pub(crate) fn dataplane(mesh: &str, name: &str) -> Resource {
    Resource::Dataplane(Dataplane {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
        namespace: Some("prod".parse().unwrap()),
        networking: Networking {
            address: "10.0.0.1".parse().unwrap(),
            role: Role::Inbound(vec![Inbound {
                port: 8080.try_into().unwrap(),
                service_port: Some(8081.try_into().unwrap()),
                tags: [("service".to_owned(), "web".to_owned())].into(),
            }]),
            outbound: vec![Outbound {
                address: None,
                port: 9090.try_into().unwrap(),
                service: "backend".parse().unwrap(),
            }],
        },
    })
}

pub(crate) fn id(name: &str) -> AuthorityId {
    AuthorityId(Digest::of(name.as_bytes()))
}

pub(crate) fn sealed(text: &str) -> SealedKey {
    SealedKey(format!("sealed {text}").into_bytes())
}

/// A staged authority whose key is `sealed(name)`.
pub(crate) fn add(mesh: &str, name: &str) -> Operation {
    Operation::AddAuthority(authority(mesh, name), sealed(name))
}

pub(crate) fn authority(mesh: &str, name: &str) -> Authority {
    Authority {
        id: id(name),
        spki: SpkiId(Digest::of(b"public key")),
        mesh: mesh.parse().unwrap(),
        origin: match name.strip_prefix("builtin") {
            Some(suffix) => AuthorityOrigin::Builtin {
                ordinal: suffix.trim_start_matches('-').parse().unwrap_or(1),
            },
            None => AuthorityOrigin::Provided {
                name: name.parse().unwrap(),
            },
        },
        certificate: format!("certificate of {name}").into(),
        subject: format!("CN={name}"),
        // Stores look at the clock.
        not_before: Timestamp::from_unix_seconds(0),
        not_after: Timestamp::from_unix_seconds(10_000_000_000),
        state: AuthorityState::Staged,
    }
}

pub(crate) fn advance(name: &str, to: AuthorityState) -> Operation {
    Operation::MoveAuthority(id(name), to)
}

/// Creates a mesh with mTLS, an active builtin authority and two dataplanes.
pub(crate) async fn create_secure(store: &impl Store, name: &str) -> Written {
    let operations = vec![
        put(mesh_with(name, true, CaSpec::default())),
        add(name, "builtin"),
        advance("builtin", PREPARED),
        advance("builtin", ACTIVE),
        put(dataplane(name, "dp-1")),
        put(dataplane(name, "dp-2")),
        Operation::Secure(Posture::Strict),
    ];
    change(store, name, operations).await.unwrap()
}

pub(crate) fn dataplane_id(mesh: &str, name: &str) -> DataplaneId {
    DataplaneId {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

/// Evidence of a leaf that lives for another hour.
pub(crate) fn holds_leaf(mesh: &str, dataplane: &str, issuer: &str) -> Arc<ProxyEvidence> {
    let now = clock::now();
    Arc::new(ProxyEvidence {
        leaf_issuer: Some(id(issuer)),
        leaf_not_after: Some(now + Duration::from_hours(1)),
        trusts: vec![id(issuer)],
        ..ProxyEvidence::none(dataplane_id(mesh, dataplane), now)
    })
}

/// A connected proxy that asks for everything and has acknowledged these parts.
pub(crate) fn connected(dataplane: &str, acknowledged: &[Part], marks: &Marks) -> ProxyEvidence {
    let now = clock::now();
    let acknowledged = acknowledged.iter().map(|part| {
        let mark = marks.of(*part);
        (*part, Acknowledgement { mark, at: now })
    });
    ProxyEvidence {
        connected_since: Some(now),
        asks: Part::ALL.into(),
        offered: *marks,
        acknowledged: acknowledged.collect(),
        ..ProxyEvidence::none(dataplane_id("demo", dataplane), now)
    }
}

/// A transition that runs.
pub(crate) fn transition() -> Transition {
    Transition {
        from: "builtin authority 1".to_owned(),
        to: "root".to_owned(),
        revision: history("").revision,
        started: at(1),
        phase: Phase::Propagate,
        since: at(2),
        plaintext_since: Some(at(3)),
        approved: ["dp-1".parse().unwrap()].into(),
    }
}

pub(crate) fn history(line: &str) -> HistoryEntry {
    HistoryEntry {
        at: at(1),
        generation: Generation(0),
        mesh: "whatever".parse().unwrap(),
        revision: Some(
            "main@sha1:0123456789abcdef0123456789abcdef01234567"
                .parse()
                .unwrap(),
        ),
        steps: vec![line.to_owned()],
        gates: Vec::new(),
        ended: None,
    }
}
