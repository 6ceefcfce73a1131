mod pacing;
mod waking;

use std::collections::BTreeMap;

use prometheus_client::metrics::gauge::Gauge;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use crate::ca::{self, Issuing, LeafKey};
use crate::clock;
use crate::model::{AuthorityState, Current, Generation, Posture};
use crate::xds::fixtures::changes::put;

/// A mesh with one authority and the dataplanes `web` and `api`.
fn mesh(name: &str) -> (MeshState, Signer) {
    let mesh_name: MeshName = name.parse().unwrap();
    let mut state = MeshState::absent(mesh_name.clone());
    let (mut authority, key) = ca::create_builtin(&mesh_name, 1, clock::now()).unwrap();
    authority.state = AuthorityState::Active;
    state.progress.posture = Posture::Strict;
    let signer = Signer::new(&authority, &key).unwrap();
    state.authorities.insert(authority.id, authority);
    put(
        &mut state,
        serde_json::json!({
            "type": "Mesh", "name": name, "mtls": {"enabled": true, "ca": {"builtin": {}}},
        }),
    );
    for dataplane in ["web", "api"] {
        put_dataplane(&mut state, dataplane, dataplane);
    }
    (state, signer)
}

fn put_dataplane(state: &mut MeshState, name: &str, service: &str) {
    let mesh = state.name.clone();
    put(
        state,
        serde_json::json!({
            "type": "Dataplane", "mesh": mesh, "name": name, "networking": {
                "address": "127.0.0.1", "inbound": [{"port": 1, "tags": {"service": service}}],
            },
        }),
    );
}

struct Case {
    index: Index,
    state: watch::Sender<Arc<Serving>>,
    current: BTreeMap<MeshName, Arc<MeshState>>,
    /// How many wait for another leaf.
    waiting: Gauge,
}

impl Case {
    fn new() -> Self {
        Self::with(Issuing::default())
    }

    fn with(issuing: Issuing) -> Self {
        let (one, first) = mesh("one");
        let (two, second) = mesh("two");
        let case = Self::issuing([one, two], issuing);
        case.state.send_modify(|serving| {
            let signers = [first, second].map(|signer| (signer.id(), Arc::new(signer)));
            Arc::make_mut(serving).signers.extend(signers);
        });
        case
    }

    /// These meshes, and nobody to sign.
    fn of<const N: usize>(meshes: [MeshState; N]) -> Self {
        Self::issuing(meshes, Issuing::default())
    }

    fn issuing<const N: usize>(meshes: [MeshState; N], issuing: Issuing) -> Self {
        let meshes = meshes.map(|mesh| (mesh.name.clone(), Arc::new(mesh)));
        let current = BTreeMap::from(meshes);
        let serving = Serving {
            current: Arc::new(Current {
                generation: Generation(1),
                meshes: current.clone(),
            }),
            ..Serving::default()
        };
        let (state, watch) = watch::channel(Arc::new(serving));
        let rng = StdRng::seed_from_u64(1);
        let waiting = Gauge::default();
        let leaves = LeafCache::new(issuing, LeafKey::EcP256, rng, waiting.clone());
        let index = Index::new(watch, Arc::new(leaves), Arc::default());
        Self {
            index,
            state,
            current,
            waiting,
        }
    }

    /// Publishes a changed mesh and lets the index follow.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut MeshState)) {
        let mesh = self.current.get_mut(name).unwrap();
        change(Arc::make_mut(mesh));
        self.publish();
    }

    fn publish(&self) {
        let signers = self.state.borrow().signers.clone();
        let current = Arc::new(Current {
            generation: Generation(2),
            meshes: self.current.clone(),
        });
        self.state
            .send_replace(Arc::new(Serving { current, signers }));
        let serving = self.state.borrow().clone();
        self.index.lock().follow(&serving);
    }

    /// A stream that has seen its first snapshot.
    async fn stream(&self, mesh: &str, name: &str) -> Stream {
        let subscription = self.index.subscribe(&id(mesh, name)).unwrap();
        let mut feed = subscription.feed();
        let ready = |feed: &Feed| matches!(feed, Feed::Ready(_));
        feed.wait_for(ready).await.unwrap();
        let targets = subscription.0.targets.subscribe();
        Stream {
            subscription,
            feed,
            targets,
        }
    }
}

struct Stream {
    subscription: Subscription,
    feed: watch::Receiver<Feed>,
    /// What its feeder is told.
    targets: watch::Receiver<Target>,
}

impl Stream {
    fn was_woken(&self) -> bool {
        self.targets.has_changed().unwrap()
    }
}

fn id(mesh: &str, name: &str) -> DataplaneId {
    DataplaneId {
        mesh: mesh.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

#[tokio::test]
async fn only_the_proxies_whose_view_changed_are_woken() {
    let mut case = Case::new();
    let web = case.stream("one", "web").await;
    let api = case.stream("one", "api").await;
    let other = case.stream("two", "web").await;
    case.publish();
    case.change("one", |mesh| put_dataplane(mesh, "third", "third"));
    for stream in [&web, &api, &other] {
        assert!(!stream.was_woken());
    }
    case.change("one", |mesh| put_dataplane(mesh, "web", "shop"));
    assert!(web.was_woken());
    assert!(!api.was_woken());
    assert!(!other.was_woken());
}

#[tokio::test]
async fn a_bundle_is_made_once_for_all_proxies_of_a_mesh() {
    let mut case = Case::new();
    let web = case.stream("one", "web").await;
    let api = case.stream("one", "api").await;
    case.change("one", |mesh| {
        let (mut authority, _) = ca::create_builtin(&mesh.name, 2, clock::now()).unwrap();
        authority.state = AuthorityState::Prepared;
        mesh.authorities.insert(authority.id, authority);
    });
    let bundle = |stream: &Stream| match &*stream.targets.borrow() {
        Target::Serve { view, .. } => view.mesh_ca.clone().unwrap(),
        Target::Gone => panic!("gone"),
    };
    assert!(Arc::ptr_eq(&bundle(&web), &bundle(&api)));
    assert_eq!(bundle(&web).bundle().unwrap().authorities.len(), 2);
}

#[tokio::test]
async fn a_deleted_dataplane_is_gone_and_may_come_back() {
    let mut case = Case::new();
    let mut stream = case.stream("one", "web").await;
    let key = crate::model::ResourceKey {
        mesh: "one".parse().unwrap(),
        kind: crate::model::Kind::Dataplane,
        name: "web".parse().unwrap(),
    };
    case.change("one", |mesh| drop(mesh.resources.remove(&key)));
    let gone = |feed: &Feed| matches!(feed, Feed::Gone);
    stream.feed.wait_for(gone).await.unwrap();
    assert!(case.index.subscribe(&id("one", "web")).is_err());
    case.change("one", |mesh| put_dataplane(mesh, "web", "web"));
    case.stream("one", "web").await;
    assert!(
        matches!(*stream.feed.borrow(), Feed::Gone),
        "the old stream has ended"
    );
}

#[tokio::test]
async fn a_proxy_leaves_with_its_last_stream() {
    let case = Case::new();
    let one = case.stream("one", "web").await;
    let two = case.stream("one", "web").await;
    let mut feed = one.feed.clone();
    assert!(Arc::ptr_eq(&one.subscription.0, &two.subscription.0));
    drop(one);
    assert!(feed.has_changed().is_ok());
    drop(two);
    assert!(
        feed.changed().await.is_err(),
        "the feeder goes on for nobody"
    );
}

#[tokio::test]
async fn a_stream_sees_a_state_that_was_published_just_before() {
    let mut case = Case::new();
    let mesh = case.current.get_mut("one").unwrap();
    put_dataplane(Arc::make_mut(mesh), "new", "new");
    let signers = case.state.borrow().signers.clone();
    let current = Arc::new(Current {
        generation: Generation(2),
        meshes: case.current.clone(),
    });
    case.state
        .send_replace(Arc::new(Serving { current, signers }));
    assert!(case.index.knows(&id("one", "new")));
    case.stream("one", "new").await;
}

#[tokio::test]
async fn without_the_key_of_its_new_authority_a_proxy_keeps_what_is_still_trusted() {
    let mut case = Case::new();
    let mut stream = case.stream("one", "web").await;
    let count = |feed: &Feed| match feed {
        Feed::Ready(snapshot) => snapshot
            .of(crate::xds::resource::ResourceType::Secret)
            .len(),
        _ => 0,
    };
    assert_eq!(count(&stream.feed.borrow_and_update()), 2);
    let since = clock::now();
    case.change("one", |mesh| {
        for authority in mesh.authorities.values_mut() {
            authority.state = AuthorityState::Retiring { since };
        }
        let (mut authority, _) = ca::create_builtin(&mesh.name, 2, since).unwrap();
        authority.state = AuthorityState::Active;
        mesh.authorities.insert(authority.id, authority);
    });
    stream.feed.changed().await.unwrap();
    assert_eq!(count(&stream.feed.borrow_and_update()), 2);
    case.change("one", |mesh| {
        mesh.authorities
            .retain(|_, authority| authority.state == AuthorityState::Active);
    });
    stream.feed.changed().await.unwrap();
    assert_eq!(
        count(&stream.feed.borrow_and_update()),
        1,
        "nobody trusts the old leaf"
    );
}
