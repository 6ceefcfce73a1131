//! Calls of the API between commits: a call changes the one resource that it
//! names or nothing, and a commit leaves alone what calls own and it does not name.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use windlass::apply::{Applier, OpenedKeys};
use windlass::ca::Issuing;
use windlass::manifest;
use windlass::model::{
    Evidence, Kind, MeshName, MeshState, Origin, ResourceKey, StoredResource, Timestamp,
};
use windlass::plan::Circumstances;
use windlass::plan::{Blocked, Call, CallRefused, plan_call};
use windlass::store::Store;
use windlass::store::encryption::Vault;
use windlass::store::memory::MemoryStore;

use super::plan_apply::{Commit, commit, desired, reconcile};

#[derive(Debug, Clone)]
enum Event {
    Commit(Commit),
    Call(Call),
}

fn key(kind: Kind, name: &str) -> ResourceKey {
    let mesh: MeshName = "demo".parse().unwrap();
    match kind {
        Kind::Mesh => ResourceKey::mesh(&mesh),
        _ => ResourceKey {
            mesh,
            kind,
            name: name.parse().unwrap(),
        },
    }
}

/// Names and contents that commits use, too.
fn calls() -> impl Strategy<Value = Call> {
    (0..3_usize, 0..3_usize, prop::option::weighted(0.7, 0..4_usize)).prop_map(|(kind, n, value)| {
        let (kind, name) = [
            (Kind::Mesh, "demo".to_owned()),
            (Kind::TrafficPermission, format!("p-{n}")),
            (Kind::Dataplane, format!("dp-{n}")),
        ][kind]
            .clone();
        let resource = key(kind, &name);
        let after = value.map(|value| {
            let service = format!("a-{value}");
            let body = match kind {
                Kind::Mesh => json!({"mtls": {"enabled": value % 2 == 0,
                    "ca": if value < 3 { json!({"builtin": {}}) } else { json!({"provided": {"name": "root-0"}}) }}}),
                Kind::TrafficPermission => json!({"sources": [{"match": {"service": service}}],
                    "destinations": [{"match": {"service": "*"}}]}),
                _ => json!({"networking": {"address": "127.0.0.1",
                    "inbound": [{"port": 80, "tags": {"service": service}}]}}),
            };
            manifest::parse_resource(body.to_string().as_bytes(), &resource).unwrap()
        });
        Call { resource, after }
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        1 => commit().prop_map(Event::Commit),
        3 => calls().prop_map(Event::Call),
    ];
    prop::collection::vec(event, 1..24)
}

async fn demo(store: &MemoryStore) -> MeshState {
    let current = store.load().await.unwrap();
    let mesh = current.meshes.get("demo").cloned();
    mesh.map_or_else(
        || MeshState::absent("demo".parse().unwrap()),
        Arc::unwrap_or_clone,
    )
}

type Resources = BTreeMap<ResourceKey, Arc<StoredResource>>;

fn of_api(mesh: &MeshState) -> Resources {
    let own = |stored: &StoredResource| stored.origin == Origin::Api {};
    let resources = mesh.resources.iter().filter(|(_, stored)| own(stored));
    resources
        .map(|(key, stored)| (key.clone(), stored.clone()))
        .collect()
}

/// Makes the call, and once more: the second time there is nothing to do.
async fn make(store: &MemoryStore, vault: &Vault, call: &Call) -> Result<(), CallRefused> {
    let before = demo(store).await;
    let wanted = call.desired(&before, &Evidence::new())?;
    let plan = plan_call(
        &before,
        call,
        &wanted,
        Circumstances {
            evidence: &Evidence::new(),
            issuing: Issuing::default(),
            now: Timestamp::from_unix_seconds(1_780_000_000),
        },
    )?;
    if !plan.steps.is_empty() {
        let applier = Applier {
            evidence: &Evidence::new(),
            store,
            vault,
            keys: &OpenedKeys::new(),
            now: Timestamp::from_unix_seconds(1_780_000_000),
        };
        if let Err(error) = applier.apply(&plan, &before, &wanted).await {
            panic!("{}\n{plan:#?}", windlass::telemetry::chain(&error));
        }
    }
    let after = demo(store).await;
    let others = |mesh: &MeshState| -> Resources {
        let mut resources = mesh.resources.clone();
        resources.remove(&call.resource);
        resources
    };
    assert_eq!(others(&before), others(&after));
    if call.resource.kind != Kind::Mesh {
        assert_eq!(before.authorities, after.authorities);
    }
    let stored = after.resources.get(&call.resource);
    let expected = call
        .after
        .as_ref()
        .map(|after| Arc::new(StoredResource::new(after.resource.clone(), Origin::Api {})));
    assert_eq!(stored, expected.as_ref());
    if call.after.is_some() {
        let wanted = call.desired(&after, &Evidence::new())?;
        assert_eq!(
            plan_call(
                &after,
                call,
                &wanted,
                Circumstances {
                    evidence: &Evidence::new(),
                    issuing: Issuing::default(),
                    now: Timestamp::from_unix_seconds(1_780_000_000),
                }
            )?
            .steps,
            []
        );
    }
    Ok(())
}

/// Whether the mesh as it was justifies the refusal.
fn justifies(mesh: &MeshState, call: &Call, refused: &CallRefused) -> bool {
    let stored = mesh.resources.get(&call.resource);
    let enabled = mesh.mesh().is_some_and(|mesh| mesh.mtls.enabled);
    match refused {
        CallRefused::NoMesh { .. } => mesh.mesh().is_none(),
        CallRefused::NotFound { .. } => stored.is_none() && call.after.is_none(),
        CallRefused::OwnedByGit { .. } => stored.is_some_and(|s| s.origin != Origin::Api {}),
        CallRefused::Dependents { .. } => mesh.resources.len() > 1 && call.after.is_none(),
        CallRefused::CaChangeForbidden => enabled,
        // No root is in Git unless its Mesh is, too.
        CallRefused::NoCa => !enabled,
        other => panic!("{other:?}"),
    }
}

/// A commit that allows what a call allows already lets nobody in or out.
#[test]
fn the_plan_of_a_commit_counts_with_the_permissions_of_calls() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
        let commit = |permissions: &[&str]| {
            let permission = |name: &&str| {
                format!(
                    "type: TrafficPermission\nmesh: demo\nname: {name}\n\
                     sources: [{{match: {{service: a}}}}]\ndestinations: [{{match: {{service: b}}}}]\n"
                )
            };
            let mesh = "type: Mesh\nname: demo\nmtls: {enabled: true}\n".to_owned();
            let documents = [mesh].into_iter().chain(permissions.iter().map(permission));
            let text = documents.collect::<Vec<_>>().join("---\n");
            let files = [(Arc::from("demo.yaml"), text.into_bytes())];
            let mut manifest = manifest::parse(&files, "default".parse().unwrap());
            let revision = "main@sha1:0123456789abcdef0123456789abcdef01234567";
            manifest.set_revision(Some(revision.parse().unwrap()));
            manifest.desired().clone()
        };
        reconcile(&store, &vault, &commit(&["in-git"])).await;
        let resource = key(Kind::TrafficPermission, "by-call");
        let body = json!({"sources": [{"match": {"service": "a"}}],
            "destinations": [{"match": {"service": "b"}}]});
        let after = manifest::parse_resource(body.to_string().as_bytes(), &resource).unwrap();
        let call = Call {
            resource,
            after: Some(after),
        };
        make(&store, &vault, &call).await.unwrap();
        let current = store.load().await.unwrap();
        let now = Timestamp::from_unix_seconds(1_780_000_000);
        let plan = windlass::plan::plan(&current, &commit(&[]), Circumstances { evidence: &Evidence::new(), issuing: Issuing::default(), now });
        assert_eq!(plan.meshes[0].changes.len(), 1);
        assert_eq!(plan.meshes[0].authorization, []);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn calls_and_commits_keep_to_what_they_own(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
            for event in &events {
                let before = demo(&store).await;
                match event {
                    Event::Call(call) => if let Err(refused) = make(&store, &vault, call).await {
                        assert!(justifies(&before, call, &refused), "{refused:?}");
                        assert_eq!(demo(&store).await, before);
                    },
                    Event::Commit(commit) => {
                        let wanted = desired(commit);
                        let blocked = reconcile(&store, &vault, &wanted).await;
                        for reason in &blocked {
                            assert!(matches!(reason, Blocked::CaChangeForbidden | Blocked::OwnedByOthers { .. }), "{reason:?}");
                        }
                        let after = demo(&store).await;
                        let named = |key: &ResourceKey| wanted.meshes.get("demo").is_some_and(|mesh| mesh.resources.contains_key(key));
                        let mut kept = of_api(&before);
                        if blocked.is_empty() {
                            kept.retain(|key, _| !named(key));
                        }
                        assert_eq!(of_api(&after), kept);
                    }
                }
            }
        });
    }
}
