use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::{MAX_MESSAGE, MAX_REJECTED};
use super::*;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::xds::fixtures::{at, authority, bundle, dataplane, leaf};
use crate::xds::resource::Resource;
use crate::xds::snapshot::Snapshot;

mod insight;
mod marks;
mod replicas;

const DAY: Duration = Duration::from_hours(24);

fn ca(content: &str) -> Resource {
    Resource::mesh_ca(bundle(content))
}

fn id(content: &str) -> Resource {
    Resource::identity_cert(leaf(content))
}

fn board() -> Arc<EvidenceBoard> {
    Arc::default()
}

/// What a store has kept of that.
fn kept(evidence: Evidence) -> EvidenceChanges {
    EvidenceChanges {
        mark: EvidenceMark(1),
        records: evidence.into_values().collect(),
    }
}

fn connect(board: &Arc<EvidenceBoard>, dataplane: DataplaneId, now: Timestamp) -> Connection {
    board.connect(dataplane, at(1000), now)
}

#[test]
fn a_proxy_is_connected_from_its_first_stream_to_the_end_of_its_last() {
    let board = board();
    let web = dataplane("web");
    let one = connect(&board, web.clone(), at(1));
    let two = connect(&board, web.clone(), at(2));
    let since = || board.of(&web).unwrap().connected_since;
    assert_eq!(since(), Some(at(1)));
    drop(one);
    assert_eq!(since(), Some(at(1)));
    drop(two);
    assert_eq!(since(), None);
}

#[test]
fn each_secret_is_evidence_of_its_own() {
    let board = board();
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    assert!(stream.accepted(&ca("a"), at(2)));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.trusts, [authority("a")]);
    assert_eq!(evidence.leaf_issuer, None);
    assert!(stream.accepted(&id("b"), at(3)));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.bundle, Some(bundle("a").id));
    assert_eq!(evidence.leaf_issuer, Some(authority("b")));
    assert_eq!(evidence.leaf_not_after, Some(at(1000)));
    assert_eq!(evidence.seen, at(3));
}

#[test]
fn the_ack_of_rejected_bytes_proves_nothing_on_any_stream_until_others_were_accepted() {
    let board = board();
    let web = dataplane("web");
    let one = connect(&board, web.clone(), at(1));
    one.accepted(&ca("a"), at(2));
    one.rejected(&ca("b"), "no", at(3));
    let two = connect(&board, web.clone(), at(4));
    assert_eq!(two.distrusted(), BTreeSet::from(["mesh_ca".to_owned()]));
    assert!(!two.accepted(&ca("b"), at(5)));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.bundle, Some(bundle("a").id), "it still holds that");
    assert_eq!(evidence.last_nack.clone().unwrap().message, "no");

    assert!(two.accepted(&ca("c"), at(6)));
    assert_eq!(board.of(&web).unwrap().last_nack, None);
    assert!(two.distrusted().is_empty());
    assert!(two.accepted(&ca("b"), at(7)));
}

#[test]
fn the_other_secret_stays_rejected_when_one_is_healed() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    stream.rejected(&ca("a"), "no", at(2));
    stream.rejected(&id("a"), "no, for the first's sake", at(3));
    stream.rejected(&ca("b"), "no", at(4));
    assert!(stream.accepted(&id("b"), at(5)));
    assert!(!stream.accepted(&ca("a"), at(6)));
    assert_eq!(stream.distrusted(), BTreeSet::from(["mesh_ca".to_owned()]));
    let nack = board.of(&dataplane("web")).unwrap().last_nack.clone();
    assert_eq!(nack.map(|nack| nack.resource), Some("mesh_ca".to_owned()));
}

#[test]
fn only_an_accepted_secret_beside_a_rejected_one_mends() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    let mut mended = stream.mended();
    let mut mends = || {
        let changed = mended.has_changed().unwrap();
        mended.mark_unchanged();
        changed
    };
    stream.accepted(&ca("a"), at(2));
    assert!(!mends(), "nothing is rejected");
    stream.rejected(&id("a"), "no", at(3));
    assert!(!mends(), "that would be a spin");
    stream.accepted(&ca("b"), at(4));
    assert!(mends());
    stream.accepted(&id("b"), at(5));
    assert!(!mends(), "all is accepted");
}

#[test]
fn what_was_rejected_has_an_edition_that_was_not_however_often() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    let snapshot = Snapshot::new([ca("a"), id("a")]);
    assert!(stream.untried(&snapshot).is_empty());
    let mut last = ca("a");
    for _ in 0..3 * MAX_REJECTED {
        stream.rejected(&last, "no", at(2));
        let untried = stream.untried(&snapshot);
        assert_eq!(untried.len(), 1, "the leaf was not rejected");
        let next = ca("a").edition(untried[&ca("a").version]);
        assert_ne!(next.version, last.version);
        last = next;
    }
    stream.accepted(&last, at(3));
    assert!(stream.untried(&snapshot).is_empty());
}

#[test]
fn what_was_rejected_is_known_after_a_restart() {
    let first = board();
    let web = dataplane("web");
    let stream = connect(&first, web.clone(), at(1));
    stream.rejected(&ca("a"), "no", at(2));
    let json = serde_json::to_string(&first.of(&web).unwrap()).unwrap();
    let evidence = serde_json::from_str(&json).unwrap();
    let second = Arc::new(EvidenceBoard::restore(
        kept([(web.clone(), evidence)].into()),
        "",
        DAY,
        at(3),
    ));
    assert_eq!(second.of(&web).unwrap().connected_since, None);
    let stream = connect(&second, web, at(3));
    assert!(!stream.accepted(&ca("a"), at(4)));
}

#[test]
fn messages_and_rejections_are_bounded() {
    let board = board();
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    for number in 0..100 {
        stream.rejected(&ca(&number.to_string()), &"ü".repeat(10_000), at(2));
    }
    let evidence = board.of(&web).unwrap();
    assert_eq!(
        evidence.last_nack.clone().unwrap().message.len(),
        MAX_MESSAGE
    );
    assert_eq!(evidence.rejected["mesh_ca"].len(), MAX_REJECTED);
    assert!(!stream.accepted(&ca("99"), at(3)));
}

#[test]
fn who_is_gone_is_forgotten_once_it_has_left() {
    let board = board();
    let (web, idle, here) = (dataplane("web"), dataplane("idle"), dataplane("here"));
    connect(&board, web.clone(), at(1)).accepted(&id("a"), at(1));
    drop(connect(&board, idle.clone(), at(1)));
    let stream = connect(&board, here.clone(), at(1));
    board.forget_gone(|id| *id == idle);
    assert!(board.of(&web).is_none(), "its leaf is of no account");
    assert!(board.of(&idle).is_some(), "it exists");
    assert!(board.of(&here).is_some(), "it is connected");
    board.forget(&here);
    assert!(board.of(&here).unwrap().connected_since.is_some());
    drop(stream);
    board.forget(&here);
    assert!(board.of(&here).is_none());
}

#[test]
fn every_change_is_announced() {
    let board = board();
    let changes = board.subscribe();
    let announced = |what: &str| {
        assert!(changes.has_changed().unwrap(), "{what}");
        board.subscribe()
    };
    let stream = connect(&board, dataplane("web"), at(1));
    let changes = announced("connected");
    stream.accepted(&ca("a"), at(2));
    assert!(changes.has_changed().unwrap());
    let changes = board.subscribe();
    stream.rejected(&ca("b"), "no", at(3));
    assert!(changes.has_changed().unwrap());
    let changes = board.subscribe();
    drop(stream);
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn what_the_store_refused_is_written_later_and_nothing_twice() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    let folder = tempfile::tempdir().unwrap();
    let closed = SqliteStore::open(&folder.path().join("test.db"))
        .await
        .unwrap();
    closed.close().await;
    assert!(board.flush(&closed).await.is_err());
    let is_unsaved = |entry: &&Entry| entry.unsaved != Unsaved::Nothing;
    let unsaved = || board.lock().values().filter(is_unsaved).count();
    assert_eq!(unsaved(), 1);
    let store = MemoryStore::new();
    board.flush(&store).await.unwrap();
    assert_eq!(unsaved(), 0);
    stream.accepted(&ca("a"), at(2));
    assert_eq!(unsaved(), 1);
}
