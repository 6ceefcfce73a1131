//! What a proxy asks for, proves and may hold, from its first stream to long
//! after its last.

use super::*;
use crate::model::{Marks, Part};
use crate::store::StoreError;
use crate::xds::fixtures::store_of_web;

fn parts<const N: usize>(parts: [Part; N]) -> Parts {
    parts.into_iter().collect()
}

fn all_at(mark: u64) -> Marks {
    Marks {
        bundle: mark,
        leaf: mark,
        inbounds: mark,
        outbounds: mark,
    }
}

fn send(stream: &mut Connection, secret: Resource) {
    stream.sends(secret.kind, &[secret.into()], at(1));
}

fn answer(stream: &mut Connection, secret: Resource) {
    stream.answers(secret.kind, &[secret.into()], at(1));
}

/// Sends a leaf that ends then.
fn give(stream: &mut Connection, not_after: Timestamp) {
    let leaf = crate::ca::Leaf {
        not_after,
        ..Arc::into_inner(crate::xds::fixtures::leaf("a")).unwrap()
    };
    send(stream, Resource::identity_cert(leaf.into()));
    answer(stream, id("a"));
}

fn acknowledged(board: &EvidenceBoard, part: Part) -> Option<(u64, Timestamp)> {
    let evidence = board.of(&dataplane("web")).unwrap();
    let known = evidence.acknowledged.get(&part);
    known.map(|known| (known.mark, known.at))
}

fn asked(board: &EvidenceBoard) -> Vec<Part> {
    let evidence = board.of(&dataplane("web")).unwrap();
    evidence.asks.iter().copied().collect()
}

#[test]
fn a_mark_rises_keeps_the_time_when_it_was_reached_and_never_falls() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    stream.asks(parts([Part::Bundle]), at(1));
    assert_eq!(acknowledged(&board, Part::Bundle), None);
    stream.proves(Part::Bundle, 0, at(2));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((0, at(2))));
    stream.proves(Part::Bundle, 0, at(3));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((0, at(2))));
    stream.proves(Part::Bundle, 7, at(4));
    stream.proves(Part::Bundle, 5, at(5));
    drop(stream);
    let mut later = connect(&board, dataplane("web"), at(6));
    later.asks(parts([Part::Bundle]), at(6));
    later.proves(Part::Bundle, 6, at(7));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((7, at(4))));
    assert_eq!(acknowledged(&board, Part::Leaf), None);
}

#[test]
fn a_proxy_proves_what_all_its_streams_that_ask_prove() {
    let board = board();
    let mut one = connect(&board, dataplane("web"), at(1));
    let mut two = connect(&board, dataplane("web"), at(1));
    let mut other = connect(&board, dataplane("web"), at(1));
    one.asks(parts([Part::Bundle]), at(1));
    two.asks(parts([Part::Bundle]), at(1));
    other.asks(parts([Part::Leaf]), at(1));
    one.proves(Part::Bundle, 3, at(2));
    assert_eq!(acknowledged(&board, Part::Bundle), None);
    two.proves(Part::Bundle, 2, at(3));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((2, at(3))));
    two.proves(Part::Bundle, 4, at(4));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((3, at(4))));
    one.proves(Part::Bundle, 5, at(5));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((4, at(5))));
    // What one that ended gave it counts until another takes its place.
    drop(two);
    one.proves(Part::Bundle, 6, at(6));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((4, at(5))));
    let mut three = connect(&board, dataplane("web"), at(7));
    three.asks(parts([Part::Bundle]), at(7));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((4, at(5))));
    three.proves(Part::Bundle, 7, at(8));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((6, at(8))));
    // One that broke and lags is waited for until that is noticed.
    three.proves(Part::Bundle, 8, at(9));
    drop(one);
    let (mark, _) = acknowledged(&board, Part::Bundle).unwrap();
    assert_eq!(mark, 8);
}

#[test]
fn a_proxy_that_never_asked_for_a_part_proves_nothing_of_it() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    stream.asks(parts([Part::Leaf]), at(1));
    stream.offered(all_at(3), at(1));
    stream.proves(Part::Leaf, 3, at(2));
    let evidence = board.of(&dataplane("web")).unwrap();
    assert!(!evidence.has_acknowledged(Part::Bundle, 0));
    assert_eq!(asked(&board), [Part::Leaf]);
    assert_eq!(evidence.offered, all_at(3));
}

#[test]
fn what_is_offered_is_what_every_stream_is_told() {
    let board = board();
    let mut one = connect(&board, dataplane("web"), at(1));
    let mut two = connect(&board, dataplane("web"), at(1));
    one.offered(all_at(2), at(2));
    let offered = || board.of(&dataplane("web")).unwrap().offered;
    assert_eq!(offered(), Marks::default(), "the other is not there yet");
    two.offered(all_at(3), at(3));
    assert_eq!(offered(), all_at(2));
    let three = connect(&board, dataplane("web"), at(4));
    assert_eq!(offered(), all_at(2), "it will be told nothing older");
    drop((one, three));
    assert_eq!(offered(), all_at(3));
}

#[test]
fn what_a_proxy_drops_it_no_longer_asks_for() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    stream.asks(parts([Part::Bundle, Part::Leaf]), at(1));
    stream.asks(parts([Part::Leaf]), at(2));
    assert_eq!(asked(&board), [Part::Leaf]);
}

#[test]
fn who_comes_back_still_asks_for_what_it_has_not_asked_for_again() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    stream.asks(parts(Part::ALL), at(1));
    stream.offered(all_at(1), at(1));
    give(&mut stream, at(10_000));
    drop(stream);
    let mut again = connect(&board, dataplane("web"), at(10));
    again.asks(parts([Part::Outbounds]), at(10));
    assert_eq!(asked(&board), Part::ALL, "the rest is on its way");
    again.asks(parts([Part::Inbounds, Part::Outbounds]), at(11));
    board.settle(at(69));
    assert_eq!(asked(&board), Part::ALL, "it may take a while");
    board.settle(at(70));
    assert_eq!(asked(&board), Part::ALL, "it may hold what makes it ask");
    again.proves(Part::Inbounds, 1, at(71));
    again.proves(Part::Outbounds, 1, at(71));
    board.settle(at(72));
    assert_eq!(asked(&board), [Part::Inbounds, Part::Outbounds]);
}

#[test]
fn who_comes_back_and_drops_a_part_does_not_ask_for_it() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    stream.asks(parts([Part::Bundle, Part::Leaf]), at(1));
    drop(stream);
    let mut again = connect(&board, dataplane("web"), at(10));
    again.asks(parts([Part::Bundle, Part::Leaf]), at(10));
    again.asks(parts([]), at(11));
    assert!(asked(&board).is_empty());
}

#[test]
fn a_stream_that_broke_is_asked_about_until_no_leaf_is_good() {
    let board = board();
    let mut bundles = connect(&board, dataplane("web"), at(1));
    let mut leaves = connect(&board, dataplane("web"), at(1));
    bundles.asks(parts([Part::Bundle]), at(1));
    leaves.asks(parts([Part::Leaf]), at(1));
    let now = crate::clock::now();
    give(&mut leaves, now + 2 * SETTLING);
    drop(leaves);
    board.settle(now + SETTLING + Duration::from_secs(9));
    assert_eq!(asked(&board), [Part::Bundle, Part::Leaf]);
    board.settle(now + 2 * SETTLING);
    assert_eq!(asked(&board), [Part::Bundle]);
}

#[test]
fn who_has_left_may_hold_the_longest_leaf_that_it_was_sent() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    let known = || board.of(&dataplane("web")).unwrap();
    assert_eq!((known().left, known().held_until), (None, None));
    give(&mut stream, at(5000));
    give(&mut stream, at(4000));
    stream.accepted(&id("a"), at(2));
    assert_eq!(known().left, None);
    drop(stream);
    assert!(known().left.is_some());
    assert_eq!(known().held_until, Some(at(5000)));
    let again = connect(&board, dataplane("web"), at(3));
    assert_eq!(known().left, None);
    drop(again);
    assert_eq!(known().held_until, Some(at(5000)), "it may still");
}

#[test]
fn what_was_restored_as_connected_has_left_and_may_hold_a_leaf() {
    let first = board();
    let (web, idle) = (dataplane("web"), dataplane("idle"));
    let mut stream = connect(&first, web.clone(), at(1));
    stream.asks(parts([Part::Leaf]), at(1));
    stream.proves(Part::Leaf, 4, at(2));
    drop(connect(&first, idle.clone(), at(1)));
    let before = first.snapshot();
    let second = EvidenceBoard::restore(kept(before.clone()), "", DAY, at(100));
    assert_eq!(second.of(&idle), Some(before[&idle].clone()));
    let restored = second.of(&web).unwrap();
    assert_eq!(restored.connected_since, None);
    assert_eq!(restored.left, Some(at(100)));
    assert_eq!(restored.held_until, Some(at(100) + DAY));
    assert!(restored.has_acknowledged(Part::Leaf, 4));
    assert_eq!(restored.asks, [Part::Leaf].into());

    give(&mut stream, at(1_000_000));
    let third = EvidenceBoard::restore(kept(first.snapshot()), "", DAY, at(100));
    let held_until = third.of(&web).unwrap().held_until;
    assert_eq!(held_until, Some(at(1_000_000)), "it is known to be longer");
}

#[tokio::test]
async fn a_proxy_that_left_in_plaintext_is_waited_for_when_mtls_is_enabled() {
    use crate::transition::{Gate, Witness};
    let current = store_of_web().await.load().await.unwrap();
    let mesh = current.meshes.values().next().unwrap();
    let now = crate::clock::now();
    for (asks, is_awaited) in [
        (parts([Part::Inbounds, Part::Outbounds]), true),
        (parts([Part::Bundle]), false),
    ] {
        let board = board();
        let mut stream = connect(&board, dataplane("web"), now);
        stream.asks(asks, now);
        stream.offered(all_at(1), now);
        for part in Part::ALL {
            stream.proves(part, 1, now);
        }
        drop(stream);
        let witness = Witness {
            mesh,
            evidence: &board.snapshot(),
            rules: &crate::model::Rules::default(),
            approved: None,
            now: crate::clock::now(),
        };
        // It goes on in plaintext, and accepts nothing else.
        let awaited = witness.awaited(Gate::SECURED, &all_at(2));
        assert_eq!(!awaited.is_empty(), is_awaited);
        let later = Witness {
            now: crate::clock::now() + DAY,
            ..witness
        };
        assert_eq!(later.awaited(Gate::SECURED, &all_at(2)), []);
    }
}

#[test]
fn a_deleted_dataplane_is_forgotten_and_one_under_its_name_begins_anew() {
    let board = board();
    let mut old = connect(&board, dataplane("web"), at(1));
    old.asks(parts([Part::Bundle]), at(1));
    old.offered(all_at(9), at(1));
    old.proves(Part::Bundle, 9, at(1));
    old.is_gone();
    let known = board.of(&dataplane("web")).unwrap();
    assert!(known.acknowledged.is_empty() && known.asks.is_empty());
    assert_eq!(known.offered, Marks::default());

    let mut new = connect(&board, dataplane("web"), at(2));
    new.asks(parts([Part::Bundle]), at(2));
    old.proves(Part::Bundle, 10, at(3));
    assert_eq!(acknowledged(&board, Part::Bundle), None);
    new.proves(Part::Bundle, 1, at(4));
    assert_eq!(acknowledged(&board, Part::Bundle), Some((1, at(4))));
    drop(old);
    drop(new);
    board.forget_gone(|_| false);
    assert!(board.of(&dataplane("web")).is_none());
}

#[test]
fn a_secret_that_was_never_answered_proves_nothing_when_the_next_stream_accepts_it() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    send(&mut stream, ca("a"));
    send(&mut stream, id("a"));
    answer(&mut stream, id("a"));
    drop(stream);
    let again = connect(&board, dataplane("web"), at(2));
    assert_eq!(again.distrusted(), BTreeSet::from(["mesh_ca".to_owned()]));
    let snapshot = Snapshot::new([ca("a"), id("a")]);
    assert!(
        again.untried(&snapshot).is_empty(),
        "it may never have got it"
    );
    assert!(!again.accepted(&ca("a"), at(3)));
    let edition = again.untried(&snapshot)[&ca("a").version];
    assert!(again.accepted(&ca("a").edition(edition), at(4)));
    assert!(again.accepted(&id("a"), at(4)), "that one was answered");
    assert_eq!(board.of(&dataplane("web")).unwrap().last_nack, None);
    assert!(again.distrusted().is_empty());
}

#[test]
fn a_stream_that_is_not_known_to_have_broken_leaves_the_same_doubt() {
    let board = board();
    let mut broken = connect(&board, dataplane("web"), at(1));
    let mut other = connect(&board, dataplane("web"), at(1));
    send(&mut broken, ca("a"));
    assert_eq!(other.distrusted(), BTreeSet::from(["mesh_ca".to_owned()]));
    send(&mut other, ca("a"));
    answer(&mut other, ca("a"));
    assert!(!other.accepted(&ca("a"), at(3)));
    drop(broken);
}

#[test]
fn after_a_crash_the_bundle_is_doubted_unless_it_is_the_one_that_was_acknowledged() {
    let first = board();
    let mut stream = connect(&first, dataplane("web"), at(1));
    stream.asks(parts([Part::Bundle]), at(1));
    stream.proves(Part::Bundle, 3, at(1));
    for (mark, doubted) in [(3, false), (4, true)] {
        let second = Arc::new(EvidenceBoard::restore(
            kept(first.snapshot()),
            "",
            DAY,
            at(9),
        ));
        let mut mesh = crate::model::MeshState::absent("demo".parse().unwrap());
        mesh.progress.marks.bundle = mark;
        second.compare(&Current {
            meshes: [(mesh.name.clone(), mesh.into())].into(),
            ..Current::default()
        });
        let again = connect(&second, dataplane("web"), at(10));
        assert_eq!(again.distrusted().contains("mesh_ca"), doubted);
        assert!(!again.distrusted().contains("identity_cert"));
    }
}

#[test]
fn each_new_thing_is_announced_and_nothing_twice() {
    let board = board();
    let mut stream = connect(&board, dataplane("web"), at(1));
    let mut changes = board.subscribe();
    let mut announced = || {
        let is_new = changes.has_changed().unwrap();
        changes.mark_unchanged();
        is_new
    };
    stream.asks(parts([Part::Leaf]), at(1));
    assert!(announced());
    stream.asks(parts([Part::Leaf]), at(2));
    assert!(!announced());
    stream.offered(all_at(1), at(2));
    assert!(announced());
    stream.proves(Part::Leaf, 1, at(3));
    assert!(announced());
    stream.proves(Part::Leaf, 1, at(4));
    assert!(!announced());
    give(&mut stream, at(100));
    assert!(announced());
    give(&mut stream, at(100));
    assert!(!announced());
    stream.drains(Some(10));
    assert!(announced());
    stream.drains(Some(10));
    assert!(!announced());
}

#[tokio::test]
async fn the_store_has_what_is_decided_by() -> Result<(), StoreError> {
    let (board, store) = (board(), store_of_web().await);
    let mut stream = connect(&board, dataplane("web"), at(1));
    assert_eq!(stream.on_record(), None);
    board.flush_evidence(&store).await?;
    assert_eq!(stream.on_record(), None, "it is not welcomed yet");
    board.record(false, &store, None).await?;
    assert_eq!(stream.on_record(), Some(store.generation().await?));
    let steps: [&dyn Fn(&mut Connection); 5] = [
        &|it| it.asks(parts([Part::Leaf]), at(2)),
        &|it| it.offered(all_at(1), at(2)),
        &|it| give(it, at(100)),
        &|it| it.drains(Some(10)),
        &|it| it.proves(Part::Leaf, 1, at(3)),
    ];
    for step in steps {
        step(&mut stream);
        board.flush_evidence(&store).await?;
        let known = board.of(&dataplane("web")).unwrap();
        let stored = store.evidence().await?[&dataplane("web")].clone();
        assert_eq!(known, stored);
        let json = serde_json::to_string(&*known).unwrap();
        assert_eq!(*known, serde_json::from_str(&json).unwrap());
    }
    drop(stream);
    let again = connect(&board, dataplane("web"), at(5));
    assert_eq!(again.on_record(), None, "the store has the one before");
    Ok(())
}
