//! Proxies that nobody was there for, and records that are gone unnoticed.

use super::*;
use crate::follow::Follower;
use crate::model::{Kind, ResourceKey};
use crate::state::Publisher;
use crate::store::encryption::Vault;
use crate::store::{MeshWrite, Operation};

#[tokio::test]
async fn who_had_nowhere_to_come_back_to_was_not_away() {
    let site = Site::of(2).await;
    let recorded = ProxyEvidence {
        replica: Some(name(0).into()),
        left: Some(at(10)),
        held_until: Some(at(900)),
        ..ProxyEvidence::none(dataplane("web"), at(10))
    };
    let recorded = Arc::new(recorded);
    let record = std::slice::from_ref(&recorded);
    site.store.record_evidence(record).await.unwrap();
    let changes = || site.store.evidence_since(EvidenceMark(0));
    let away = |board: &EvidenceBoard| board.of(&dataplane("web")).unwrap().away_since();

    // It is started again: since then it can be come back to.
    let again = EvidenceBoard::restore(changes().await.unwrap(), &name(0), DAY, at(500));
    assert_eq!(away(&again), Some(at(500)));
    // The leaf of who left earlier has ended; nothing waits for it.
    let late = EvidenceBoard::restore(changes().await.unwrap(), &name(0), DAY, at(1_000));
    assert_eq!(away(&late), Some(at(10)));

    // Another one starts, and the first does not: it sees it so, and leaves the
    // record of the other as it is.
    let other = EvidenceBoard::restore(changes().await.unwrap(), &name(1), DAY, at(500));
    assert_eq!(away(&other), Some(at(500)));
    for board in [&other, &site.boards[1]] {
        board.reload(&site.store, at(600)).await.unwrap();
        board.flush(&site.store).await.unwrap();
    }
    assert_eq!(site.stored().await.away_since(), Some(at(10)));
    assert_eq!(away(&other), Some(at(500)));
    assert_eq!(away(&site.boards[1]), Some(at(10)), "it was there before");
    let _stream = connect(&site.boards[0], dataplane("web"), at(700));
    assert_eq!(away(&site.boards[0]), None);
}

#[tokio::test]
async fn a_dataplane_that_was_deleted_and_is_back_unnoticed_is_on_record_again() {
    let site = Site::of(2).await;
    let mut stream = site.connect(1).await;
    prove(&mut stream, Part::Bundle, 7);
    site.exchange().await;
    let store = Arc::new(site.store);
    let publisher = Arc::new(Publisher::new(store.clone(), Arc::new(Vault::none())));
    let current = Arc::new(store.load().await.unwrap());
    let board = Arc::clone(&site.boards[1]);
    let mut follower = Follower::new(store.clone(), publisher, Some(board.clone()), current);

    let web = ResourceKey {
        mesh: "demo".parse().unwrap(),
        kind: Kind::Dataplane,
        name: "web".parse().unwrap(),
    };
    let before = follower.current().meshes[&web.mesh].clone();
    let stored = before.resources[&web].as_ref().clone();
    let write = async |operation: Operation| {
        let expected = store.load().await.unwrap().meshes[&web.mesh].generation;
        let write = MeshWrite {
            mesh: web.mesh.clone(),
            expected,
            operations: vec![operation],
            history: None,
        };
        store.write(&write).await.unwrap();
    };
    write(Operation::DeleteResource(web.clone())).await;
    write(Operation::PutResource(stored)).await;
    assert!(store.evidence().await.unwrap().is_empty());

    // The replica sees both at once: nothing differs.
    follower.refresh().await.unwrap();
    let after = follower.current().meshes[&web.mesh].clone();
    assert_eq!(after.resources, before.resources);
    // By the time that it is served, the proxy is in the store again.
    let evidence = store.evidence().await.unwrap();
    let known = &evidence[&dataplane("web")];
    assert!(known.connected_since.is_some());
    assert_eq!(mark(known, Part::Bundle), Some(7));
    // And it is welcomed like one that has come.
    assert_eq!(stream.on_record(), None);
    assert!(!board.arrivals().is_empty());
    board.flush(&*store).await.unwrap();
    assert!(stream.on_record().is_some());

    // What is deleted and stays away needs no look.
    write(Operation::DeleteResource(web.clone())).await;
    follower.refresh().await.unwrap();
    assert!(stream.on_record().is_some());
}
