mod postures;
mod properties;
mod resources;

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    AuthorityState, Generation, MeshName, Origin, Posture, Progress, StoredResource,
};
use crate::xds::fixtures::changes::stored_authority;
use crate::xds::fixtures::{at, authority, bundle, leaf, secrets};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA};

fn mesh(posture: Posture, authorities: &[(&str, AuthorityState)]) -> MeshState {
    let name: MeshName = "demo".parse().unwrap();
    let mesh = serde_json::json!({
        "type": "Mesh", "name": "demo", "mtls": {"enabled": true, "ca": {"builtin": {}}},
    });
    let stored = StoredResource::new(serde_json::from_value(mesh).unwrap(), Origin::Api {});
    MeshState {
        name,
        generation: Generation(1),
        resources: BTreeMap::from([(stored.resource.key(), Arc::new(stored))]),
        authorities: authorities
            .iter()
            .map(|&(content, state)| (authority(content), stored_authority(content, state)))
            .collect(),
        progress: Progress {
            posture,
            ..Progress::default()
        },
    }
}

fn with_dataplane(mut mesh: MeshState, services: &[&str]) -> Arc<MeshState> {
    let inbound: Vec<_> = (1..)
        .zip(services)
        .map(|(port, service)| serde_json::json!({"port": port, "tags": {"service": service}}))
        .collect();
    let dataplane = serde_json::json!({
        "type": "Dataplane", "mesh": "demo", "name": "web",
        "networking": {"address": "127.0.0.1", "inbound": inbound},
    });
    let stored = StoredResource::new(serde_json::from_value(dataplane).unwrap(), Origin::Api {});
    mesh.resources
        .insert(stored.resource.key(), Arc::new(stored));
    Arc::new(mesh)
}

#[test]
fn a_bundle_holds_what_is_trusted_and_depends_on_nothing_else() {
    let since = at(1);
    let states = [
        ("a", AuthorityState::Staged),
        ("b", AuthorityState::Prepared),
        ("c", AuthorityState::Active),
        ("d", AuthorityState::Retiring { since }),
        ("e", AuthorityState::Revoked { at: since }),
    ];
    let bundle = TrustBundle::of(&mesh(Posture::Strict, &states)).unwrap();
    let mut expected: Vec<(AuthorityId, &str)> = ["b", "c", "d"]
        .map(|content| (authority(content), content))
        .into();
    expected.sort();
    let ids: Vec<_> = expected.iter().map(|(id, _)| *id).collect();
    let lines: Vec<_> = expected.iter().flat_map(|&(_, pem)| [pem, "\n"]).collect();
    assert_eq!(bundle.authorities, ids);
    assert_eq!(*bundle.pem, lines.concat());
    let later = [
        ("b", AuthorityState::Active),
        ("c", AuthorityState::Prepared),
        states[3],
    ];
    assert_eq!(
        TrustBundle::of(&mesh(Posture::Strict, &later)),
        Some(bundle)
    );
    assert_eq!(TrustBundle::of(&mesh(Posture::Strict, &states[..1])), None);
}

#[test]
fn the_leaf_names_the_first_of_the_sorted_services_and_the_active_authority() {
    let mesh = mesh(Posture::Strict, &[("a", AuthorityState::Active)]);
    let mesh = with_dataplane(mesh, &["web", "api", "web"]);
    let view = MeshView::of(&mesh).proxy(&"web".parse().unwrap()).unwrap();
    let leaf = view.leaf.unwrap();
    assert_eq!(leaf.identity.to_string(), "spiffe://demo/api");
    assert_eq!(leaf.issuer, authority("a"));
}

#[test]
fn a_mesh_without_mtls_has_no_secrets_for_anyone() {
    let mesh = mesh(Posture::Plaintext, &[("a", AuthorityState::Active)]);
    let mesh = with_dataplane(mesh, &["web"]);
    let view = MeshView::of(&mesh).proxy(&"web".parse().unwrap()).unwrap();
    assert!(view.bundle().is_none());
    assert_eq!(view.leaf, None);
}

#[test]
fn versions_are_of_name_and_content() {
    let version = |resource: Resource| resource.version;
    assert_eq!(
        version(Resource::mesh_ca(bundle("a"))),
        version(Resource::mesh_ca(bundle("a")))
    );
    assert_ne!(
        version(Resource::mesh_ca(bundle("a"))),
        version(Resource::mesh_ca(bundle("b")))
    );
    assert_ne!(
        version(Resource::mesh_ca(bundle("a"))),
        version(Resource::identity_cert(leaf("a")))
    );
}

#[test]
fn the_bundle_comes_before_the_leaf() {
    let names: Vec<_> = secrets("ca", "id")
        .of(ResourceType::Secret)
        .iter()
        .map(|resource| resource.name.to_string())
        .collect();
    assert_eq!(names, [MESH_CA, IDENTITY_CERT]);
}

#[test]
fn a_snapshot_prints_no_key() {
    let printed = format!("{:#?}", secrets("ca", "id"));
    assert!(printed.contains("REDACTED"));
    assert!(!printed.contains("the key of"));
}
