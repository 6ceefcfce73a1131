//! Who waits for a leaf of another authority, and what it is told meanwhile.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::model::AuthorityId;
use crate::xds::resource::{Body, ResourceType};

/// One leaf per second, and the next in a second.
async fn slow() -> Case {
    let case = Case::with(Issuing {
        reissue_rate: NonZeroU32::MIN,
        ..Issuing::default()
    });
    case.index.leaves.turn().await;
    case
}

impl Case {
    /// Another authority of the mesh `one` signs; who signed before is trusted
    /// on.
    fn activate(&mut self, ordinal: u32) -> AuthorityId {
        let since = clock::now();
        let name: MeshName = "one".parse().unwrap();
        let (mut authority, key) = ca::create_builtin(&name, ordinal, since).unwrap();
        authority.state = AuthorityState::Active;
        let id = authority.id;
        let signer = Arc::new(Signer::new(&authority, &key).unwrap());
        self.state.send_modify(|serving| {
            Arc::make_mut(serving).signers.insert(id, signer);
        });
        self.change("one", |mesh| {
            for authority in mesh.authorities.values_mut() {
                authority.state = AuthorityState::Retiring { since };
            }
            mesh.authorities.insert(id, authority);
            mesh.progress.marks.leaf += 1;
            mesh.progress.marks.bundle += 1;
        });
        id
    }
}

/// What a proxy is told now: who signed its leaf, the marks of leaf and
/// bundle, and how many listeners.
fn told(stream: &Stream) -> (AuthorityId, u64, u64, usize) {
    let feed = stream.feed.borrow();
    let Feed::Ready(snapshot) = &*feed else {
        panic!("{feed:?}");
    };
    let secrets = snapshot.of(ResourceType::Secret).iter();
    let mut issuers = secrets.filter_map(|secret| match &secret.body {
        Body::Identity(leaf) => Some(leaf.issuer),
        _ => None,
    });
    let marks = snapshot.marks();
    let listeners = snapshot.of(ResourceType::Listener).len();
    (issuers.next().unwrap(), marks.leaf, marks.bundle, listeners)
}

/// Waits until a proxy is told what is under these marks, at most a minute.
async fn wait_for(stream: &mut Stream, leaf: u64, bundle: u64) {
    let is_told = |feed: &Feed| {
        matches!(feed, Feed::Ready(snapshot)
            if snapshot.marks().leaf == leaf && snapshot.marks().bundle == bundle)
    };
    let told = stream.feed.wait_for(is_told);
    let waited = tokio::time::timeout(Duration::from_mins(1), told).await;
    drop(waited.expect("to be told in time").unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_everything_else_at_once_and_keeps_its_place() {
    let mut case = slow().await;
    let mut web = case.stream("one", "web").await;
    let (old, ..) = told(&web);
    let start = Instant::now();
    let new = case.activate(2);
    wait_for(&mut web, 0, 1).await;
    assert_eq!(told(&web), (old, 0, 1, 1));
    // Half a second later there is an outbound.
    tokio::time::advance(Duration::from_millis(500)).await;
    case.change("one", |mesh| {
        put(
            mesh,
            serde_json::json!({
                "type": "Dataplane", "mesh": "one", "name": "web", "networking": {
                    "address": "127.0.0.1", "inbound": [{"port": 1, "tags": {"service": "web"}}],
                    "outbound": [{"port": 2, "service": "api"}],
                },
            }),
        );
        mesh.progress.marks.bundle += 1;
    });
    wait_for(&mut web, 0, 2).await;
    assert_eq!(told(&web), (old, 0, 2, 2));
    assert_eq!(case.waiting.get(), 1);
    assert_eq!(start.elapsed().as_millis(), 500);
    wait_for(&mut web, 1, 2).await;
    assert_eq!(told(&web), (new, 1, 2, 2));
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(case.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_after_the_other_and_two_activations_make_one_leaf() {
    let mut case = slow().await;
    let mut web = case.stream("one", "web").await;
    let mut api = case.stream("one", "api").await;
    let start = Instant::now();
    case.activate(2);
    wait_for(&mut web, 0, 1).await;
    wait_for(&mut api, 0, 1).await;
    let newest = case.activate(3);
    let (one, other) = tokio::join!(
        async {
            wait_for(&mut web, 2, 2).await;
            start.elapsed().as_secs()
        },
        async {
            wait_for(&mut api, 2, 2).await;
            start.elapsed().as_secs()
        }
    );
    assert_eq!(one.min(other), 1);
    assert_eq!(one.max(other), 2);
    assert_eq!((told(&web).0, told(&api).0), (newest, newest));
    // The next turn is the third: nobody took one for what is over.
    case.index.leaves.turn().await;
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(case.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_do_with_its_leaf_does_not_wait() {
    let mut case = slow().await;
    let mut web = case.stream("one", "web").await;
    let mut api = case.stream("one", "api").await;
    let start = Instant::now();
    case.activate(2);
    wait_for(&mut web, 0, 1).await;
    wait_for(&mut api, 0, 1).await;
    // Another identity.
    case.change("one", |mesh| put_dataplane(mesh, "web", "shop"));
    wait_for(&mut web, 1, 1).await;
    // A first leaf.
    case.change("one", |mesh| put_dataplane(mesh, "new", "new"));
    assert_eq!(told(&case.stream("one", "new").await).1, 1);
    // An issuer that nobody trusts any more.
    case.change("one", |mesh| {
        mesh.authorities
            .retain(|_, authority| authority.state == AuthorityState::Active);
        mesh.progress.marks.bundle += 1;
    });
    wait_for(&mut api, 1, 2).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(case.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_is_given_its_old_leaf_and_waits_on() {
    let mut case = slow().await;
    let web = case.stream("one", "web").await;
    let (old, ..) = told(&web);
    case.activate(2);
    drop(web);
    let mut web = case.stream("one", "web").await;
    assert_eq!(told(&web), (old, 0, 1, 1));
    wait_for(&mut web, 1, 1).await;
    drop(web);
    while case.waiting.get() != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_feeder_that_ends_gives_its_place_up() {
    let mut case = slow().await;
    let mut web = case.stream("one", "web").await;
    case.activate(2);
    wait_for(&mut web, 0, 1).await;
    while case.waiting.get() != 1 {
        tokio::task::yield_now().await;
    }
    drop(web);
    while case.waiting.get() != 0 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    case.index.leaves.turn().await;
    assert_eq!(start.elapsed().as_secs(), 1);
}

/// Notes that `web` has acknowledged a leaf of this mark, and has left again.
fn acknowledge(case: &Case, mark: u64) {
    let now = clock::now();
    let board = &case.index.evidence;
    let mut elsewhere = board.connect(id("one", "web"), now + Duration::from_hours(1), now);
    elsewhere.asks([Part::Leaf].into_iter().collect(), now);
    elsewhere.proves(Part::Leaf, mark, now);
}

#[tokio::test(start_paused = true)]
async fn who_has_acknowledged_a_newer_leaf_elsewhere_is_given_no_older_one() {
    let mut case = slow().await;
    let web = case.stream("one", "web").await;
    let new = case.activate(2);
    drop(web);
    acknowledge(&case, 1);
    let start = Instant::now();
    // What it is told first of all is the new one.
    let web = case.stream("one", "web").await;
    assert_eq!(told(&web), (new, 1, 1, 1));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(case.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_older_leaf_is_better_than_none_where_no_newer_one_can_be_issued() {
    let mut case = slow().await;
    let web = case.stream("one", "web").await;
    let (old, ..) = told(&web);
    let new = case.activate(2);
    drop(web);
    acknowledge(&case, 1);
    // The key of the one that signs now does not open here.
    let mut signer = None;
    case.state.send_modify(|serving| {
        signer = Arc::make_mut(serving).signers.remove(&new);
    });
    let mut web = case.stream("one", "web").await;
    assert_eq!(told(&web), (old, 0, 1, 1));
    // Once it does, nothing is waited for.
    case.state.send_modify(|serving| {
        let signers = &mut Arc::make_mut(serving).signers;
        signers.insert(new, signer.take().unwrap());
    });
    let start = Instant::now();
    case.publish();
    wait_for(&mut web, 1, 1).await;
    assert_eq!(told(&web), (new, 1, 1, 1));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_too_late_of_a_newer_leaf_makes_it_wait_no_longer() {
    let mut case = slow().await;
    let mut web = case.stream("one", "web").await;
    let new = case.activate(2);
    wait_for(&mut web, 0, 1).await;
    let marks = |stream: &Stream| match &*stream.feed.borrow() {
        Feed::Ready(snapshot) => snapshot.marks(),
        other => panic!("{other:?}"),
    };
    let has_reached = |stream: &Stream| {
        let generation = Generation(2);
        case.index
            .has_reached(generation, &id("one", "web"), marks(stream))
    };
    assert!(has_reached(&web), "the one before is as good");
    acknowledge(&case, 1);
    let start = Instant::now();
    assert!(!has_reached(&web), "no longer");
    wait_for(&mut web, 1, 1).await;
    assert_eq!(told(&web), (new, 1, 1, 1));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(has_reached(&web));
    // Marks of an earlier mesh of that name are no reason to wait.
    acknowledge(&case, 9);
    assert!(has_reached(&web));
}
