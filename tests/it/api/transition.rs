//! Transitions seen and steered over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use windlass::model::{
    Acknowledgement, Authority, AuthorityState, CaSpec, DataplaneId, Evidence, Generation, Kind,
    Mesh, MeshName, Mtls, Nack, Offline, Origin, Part, Phase, Posture, ProxyEvidence, Resource,
    ResourceKey, Rules, StoredResource, Transition, TransitionSettings,
};
use windlass::store::memory::MemoryStore;
use windlass::store::{MeshWrite, Operation, Store};
use windlass::{ca, clock};

use super::control_plane::{Answer, ControlPlane, call, get};
use super::history_only::HistoryOnly;
use crate::store_contract::samples;

/// The dataplanes of the mesh that [`rolling`] is about.
pub(crate) const AWAITED: [&str; 4] = ["dp-away", "dp-blind", "dp-nack", "dp-silent"];

/// The servers and what they keep.
pub(crate) struct Scene {
    pub(crate) cp: ControlPlane,
    pub(crate) store: Arc<MemoryStore>,
}

/// A mesh `demo` on its way from one builtin authority to the next, for ten
/// minutes in `propagate`, where four proxies are awaited and one is not; and
/// a mesh `idle`.
pub(crate) fn rolling() -> ControlPlane {
    scene().cp
}

pub(crate) fn scene() -> Scene {
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    runtime.block_on(fill(&store));
    let current = runtime.block_on(store.load()).unwrap();
    let evidence = evidence();
    let cp = ControlPlane::over(
        runtime,
        current,
        store.clone(),
        Arc::new(HistoryOnly::default()),
        Arc::new(move || evidence.clone()),
    );
    Scene { cp, store }
}

async fn write(store: &MemoryStore, mesh: &str, operations: Vec<Operation>) -> Generation {
    let name: MeshName = mesh.parse().unwrap();
    let current = store.load().await.unwrap();
    let known = current.meshes.get(&name);
    let write = MeshWrite {
        mesh: name,
        expected: known.map_or(Generation(0), |state| state.generation),
        operations,
        history: None,
    };
    store.write(&write).await.unwrap().generation
}

fn put(ordinal: u32, hold: Option<Phase>) -> Operation {
    let resource = Resource::Mesh(Mesh {
        name: "demo".parse().unwrap(),
        mtls: Mtls {
            enabled: true,
            ca: CaSpec::Builtin {
                ordinal: Some(ordinal),
            },
            transition: hold.map(|hold| TransitionSettings {
                hold: Some(hold),
                ..TransitionSettings::default()
            }),
        },
    });
    Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
}

fn authority(ordinal: u32) -> (Authority, Operation) {
    let (authority, _) =
        ca::create_builtin(&"demo".parse().unwrap(), ordinal, clock::now()).unwrap();
    let add = Operation::AddAuthority(authority.clone(), samples::sealed("a key"));
    (authority, add)
}

fn transition() -> Transition {
    Transition {
        from: "builtin authority 1".to_owned(),
        to: "builtin authority 2".to_owned(),
        revision: None,
        started: clock::now() - Duration::from_mins(11),
        phase: Phase::Propagate,
        since: clock::now() - Duration::from_mins(10),
        plaintext_since: None,
        approved: [].into(),
    }
}

async fn fill(store: &MemoryStore) {
    write(store, "idle", vec![samples::put(samples::mesh("idle"))]).await;
    let (first, add_first) = authority(1);
    let to = |authority: &Authority, state| Operation::MoveAuthority(authority.id, state);
    let mut operations = vec![
        add_first,
        to(&first, AuthorityState::Prepared),
        to(&first, AuthorityState::Active),
        Operation::Secure(Posture::Strict),
        put(1, None),
    ];
    for name in AWAITED.iter().chain(&["dp-done"]) {
        operations.push(samples::put(samples::dataplane("demo", name)));
    }
    write(store, "demo", operations).await;
    let (second, add_second) = authority(2);
    let begin = vec![
        add_second,
        put(2, None),
        to(&second, AuthorityState::Prepared),
        Operation::Note(Rules::default(), Some(Box::new(transition()))),
    ];
    write(store, "demo", begin).await;
}

fn evidence() -> Evidence {
    let now = clock::now();
    let known = |mark| Acknowledgement {
        mark,
        at: now - Duration::from_mins(9),
    };
    let mut all = BTreeMap::new();
    for name in AWAITED.iter().chain(&["dp-done"]) {
        let id = DataplaneId {
            mesh: "demo".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let mut proxy = ProxyEvidence::none(id.clone(), now);
        proxy.connected_since = Some(now - Duration::from_hours(1));
        proxy.asks = Part::ALL.into();
        proxy.leaf_not_after = Some(now + Duration::from_hours(12));
        // All is known at its newest mark, but for the bundle.
        proxy.acknowledged = Part::ALL.map(|part| (part, known(u64::MAX))).into();
        proxy.acknowledged.insert(Part::Bundle, known(1));
        match *name {
            "dp-away" => {
                proxy.connected_since = None;
                proxy.left = Some(now - Duration::from_hours(1));
            }
            "dp-blind" => proxy.asks = [Part::Leaf].into(),
            "dp-nack" => {
                proxy.last_nack = Some(Nack {
                    at: now - Duration::from_mins(10),
                    resource: "mesh_ca".to_owned(),
                    message: "bell \u{7} bad certificate".to_owned(),
                });
            }
            "dp-done" => {
                proxy.acknowledged.insert(Part::Bundle, known(u64::MAX));
            }
            _ => {}
        }
        all.insert(id, Arc::new(proxy));
    }
    all
}

fn approve(cp: &ControlPlane, mesh: &str, names: &Value) -> Answer {
    let body = json!({"dataplanes": names}).to_string();
    let path = format!("/meshes/{mesh}/transition/approve");
    call(cp.api, "POST", &path, "", &body)
}

fn running(cp: &ControlPlane) -> Value {
    get(cp.api, "/meshes/demo/transition").json()
}

fn ids(names: &[&str]) -> Value {
    names.iter().map(|name| format!("demo/{name}")).collect()
}

#[test]
fn the_status_has_the_pinned_fields_of_a_transition_and_says_why_it_waits() {
    let scene = scene();
    let status = get(scene.cp.api, "/status").json();
    let mesh = &status["meshes"][0];
    let found = &mesh["transition"];
    assert_eq!(mesh["posture"], "strict");
    for (field, expected) in [
        ("from", json!("builtin authority 1")),
        ("to", json!("builtin authority 2")),
        ("strategy", json!("rolling")),
        ("phase", json!("propagate")),
        ("awaiting", ids(&AWAITED)),
        ("stalled", json!(true)),
        ("held", json!(false)),
        ("approved", json!([])),
    ] {
        assert_eq!(found[field], expected, "{field}: {found}");
    }
    let reasons = found["awaited"].as_array().unwrap().iter();
    let reasons: Vec<_> = reasons.map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["away", "neverAsked", "rejected", "silent"]);
    let words = found["awaited"][2]["message"].as_str().unwrap();
    assert!(words.ends_with("bad certificate"), "{words}");
    let gate = &found["gate"];
    assert_eq!((&gate["proxies"], &gate["done"]), (&json!(5), &json!(1)));
    assert_eq!(gate["before"], "activate");
    assert_eq!(running(&scene.cp)["awaiting"], found["awaiting"]);
    // None runs there: no answer is one, too.
    assert_eq!(status["meshes"][1]["transition"], Value::Null);
    let idle = get(scene.cp.api, "/meshes/idle/transition");
    assert_eq!((idle.status, &*idle.body), (200, "null"));
    assert_eq!(get(scene.cp.api, "/meshes/none/transition").status, 404);
}

#[test]
fn who_is_approved_is_awaited_no_longer_and_the_history_says_so() {
    let scene = scene();
    let answer = approve(&scene.cp, "demo", &json!(["dp-nack", "dp-away"]));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({"approved": ids(&["dp-nack", "dp-away"])})
    );
    // It is served when it is answered.
    let found = running(&scene.cp);
    assert_eq!(found["awaiting"], ids(&["dp-blind", "dp-silent"]));
    assert_eq!(found["approved"], ids(&["dp-away", "dp-nack"]));
    let newest = get(scene.cp.api, "/history").json()["items"][0].clone();
    assert_eq!(
        newest["steps"],
        json!(["approved going on without demo/dp-nack, demo/dp-away"])
    );
    assert_eq!(
        (&newest["mesh"], &newest["revision"]),
        (&json!("demo"), &Value::Null)
    );
    // Again is no new write.
    let generation = newest["generation"].clone();
    assert_eq!(approve(&scene.cp, "demo", &json!(["dp-nack"])).status, 200);
    let again = get(scene.cp.api, "/history").json()["items"][0].clone();
    assert_eq!(again["generation"], generation);
}

#[test]
fn nobody_is_approved_who_is_not_awaited_and_who_is_gets_named() {
    let scene = scene();
    let before = running(&scene.cp);
    let answer = approve(&scene.cp, "demo", &json!(["dp-nack", "dp-done", "none"]));
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["title"]),
        (409, &json!("Could not approve"))
    );
    let awaited = "awaited now: demo/dp-away, demo/dp-blind, demo/dp-nack, demo/dp-silent";
    assert_eq!(body["details"], awaited);
    let causes = json!([
        {"field": "dataplanes[1]", "message": "demo/dp-done is not awaited"},
        {"field": "dataplanes[2]", "message": "demo/none is not awaited"}]);
    assert_eq!(body["causes"], causes);
    for names in [
        json!([]),
        Value::Null,
        json!("dp-nack"),
        json!(["No Name"]),
        json!([7]),
    ] {
        let answer = approve(&scene.cp, "demo", &names);
        assert_eq!(answer.status, 400, "{names}: {answer:?}");
        let field = answer.json()["causes"][0]["field"].clone();
        assert!(field.as_str().unwrap().starts_with("dataplanes"), "{field}");
    }
    for (mesh, status) in [("none", 404), ("No%20Name", 404), ("idle", 409)] {
        let answer = approve(&scene.cp, mesh, &json!(["dp-nack"]));
        assert_eq!(answer.status, status, "{mesh}: {answer:?}");
    }
    let none = approve(&scene.cp, "idle", &json!(["dp"])).json();
    assert_eq!(none["details"], "no transition runs in mesh idle");
    assert_eq!(running(&scene.cp)["approved"], before["approved"]);
}

#[test]
fn hold_is_lifted_by_no_approval_and_the_answer_says_so() {
    let scene = scene();
    let held = Rules {
        hold: Some(Phase::Activate),
        ..Rules::default()
    };
    let note = Operation::Note(held, Some(Box::new(transition())));
    scene
        .cp
        .runtime
        .block_on(write(&scene.store, "demo", vec![note]));
    let answer = approve(&scene.cp, "demo", &json!(AWAITED));
    let hint = answer.json()["hint"].clone();
    assert!(
        hint.as_str().unwrap().contains("`mtls.transition.hold`"),
        "{answer:?}"
    );
    let found = running(&scene.cp);
    assert_eq!(
        (&found["held"], &found["stalled"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(found["awaiting"], json!([]));
    let first = "`hold: activate` to be removed, and every proxy to acknowledge the trust bundle";
    assert_eq!(found["gate"]["waitsFor"], first);
    assert_eq!(found["steps"][0]["waitsFor"], first);
    let nobody = approve(&scene.cp, "demo", &json!(["dp-done"]));
    let details = nobody.json()["details"].clone();
    let details = details.as_str().unwrap();
    assert!(
        details.starts_with("nobody is awaited now; mesh demo is held"),
        "{details}"
    );
}

#[test]
fn offline_is_ignored_where_the_mesh_says_so() {
    let scene = scene();
    let lenient = Rules {
        offline: Offline::Ignore,
        ..Rules::default()
    };
    let note = Operation::Note(lenient, Some(Box::new(transition())));
    scene
        .cp
        .runtime
        .block_on(write(&scene.store, "demo", vec![note]));
    // What others write is served when something is written here.
    assert_eq!(approve(&scene.cp, "demo", &json!(["dp-nack"])).status, 200);
    assert_eq!(
        running(&scene.cp)["awaiting"],
        ids(&["dp-blind", "dp-silent"])
    );
}

#[test]
fn approvals_land_beside_writes_of_others() {
    let scene = &scene();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for number in 0..20 {
                let name = format!("new-{number}");
                // Conflicts are this writer's own to try again.
                loop {
                    let store = scene.store.clone();
                    let current = scene.cp.runtime.block_on(store.load()).unwrap();
                    let write = MeshWrite {
                        mesh: "demo".parse().unwrap(),
                        expected: current.meshes["demo"].generation,
                        operations: vec![samples::put(samples::dataplane("demo", &name))],
                        history: None,
                    };
                    if scene.cp.runtime.block_on(store.write(&write)).is_ok() {
                        break;
                    }
                }
            }
        });
        let approvals: Vec<_> = AWAITED
            .iter()
            .map(|name| scope.spawn(move || approve(&scene.cp, "demo", &json!([name])).status))
            .collect();
        for approval in approvals {
            assert_eq!(approval.join().unwrap(), 200);
        }
        writer.join().unwrap();
    });
    let current = scene.cp.runtime.block_on(scene.store.load()).unwrap();
    let demo = &current.meshes["demo"];
    let approved = &demo.progress.transition.as_ref().unwrap().approved;
    assert_eq!(approved.len(), AWAITED.len());
    let key = |name: &str| ResourceKey {
        mesh: "demo".parse().unwrap(),
        kind: Kind::Dataplane,
        name: name.parse().unwrap(),
    };
    assert!(demo.resources.contains_key(&key("new-19")));
}

#[test]
fn metrics_tell_of_a_transition_and_forget_a_mesh_that_is_gone() {
    let scene = scene();
    let scrape = || get(scene.cp.diagnostics, "/metrics").body;
    let value = |text: &str, name: &str| -> Option<i64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let value = line.rsplit(' ').next()?;
        // Seconds may have a fraction.
        value.strip_suffix(".0").unwrap_or(value).parse().ok()
    };
    let text = scrape();
    for (name, expected) in [
        (
            "windlass_transition_phase{mesh=\"demo\",phase=\"propagate\"}",
            1,
        ),
        ("windlass_transition_awaited_proxies{mesh=\"demo\"}", 4),
        ("windlass_transition_awaited_proxies{mesh=\"idle\"}", 0),
        ("windlass_transition_stalled_seconds{mesh=\"idle\"}", 0),
        ("windlass_transition_held{mesh=\"demo\"}", 0),
        ("windlass_transition_plaintext_seconds{mesh=\"demo\"}", 0),
        ("windlass_mesh_posture{mesh=\"demo\",posture=\"strict\"}", 1),
        (
            "windlass_mesh_posture{mesh=\"idle\",posture=\"plaintext\"}",
            1,
        ),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name}: {text}");
    }
    let stalled = value(&text, "windlass_transition_stalled_seconds{mesh=\"demo\"}").unwrap();
    assert!((300..360).contains(&stalled), "{stalled}");
    let now = clock::now().unix_seconds();
    let leaf = value(
        &text,
        "windlass_leaf_not_after_timestamp_seconds{mesh=\"demo\"}",
    )
    .unwrap();
    assert!(
        (now + 11 * 3600..=now + 12 * 3600).contains(&leaf),
        "{leaf}"
    );
    let authorities = "windlass_authority_not_after_timestamp_seconds{mesh=\"demo\"";
    let count = |text: &str, name: &str| text.lines().filter(|it| it.starts_with(name)).count();
    assert_eq!(count(&text, authorities), 2);
    assert!(!text.contains("phase=\"propagate\",mesh=\"idle\""));

    let gone = vec![samples::delete("idle", Kind::Mesh, "idle")];
    scene.cp.runtime.block_on(write(&scene.store, "idle", gone));
    assert_eq!(approve(&scene.cp, "demo", &json!(["dp-nack"])).status, 200);
    let text = scrape();
    assert!(!text.contains("mesh=\"idle\""), "{text}");
    assert_eq!(
        value(&text, "windlass_transition_awaited_proxies{mesh=\"demo\"}"),
        Some(3)
    );
}
