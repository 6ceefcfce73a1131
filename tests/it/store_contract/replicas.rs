//! What replicas that share a store tell each other.

use std::sync::Arc;
use std::time::Duration;

use windlass::model::{DataplaneId, Generation, Kind, ProxyEvidence};
use windlass::store::{EvidenceMark, Replica, SealedPlace, Store};

use super::samples::{
    at, change, create_secure, dataplane, dataplane_id, delete, history, id, mesh, permission, put,
    sealed, write,
};

/// What a replica knows of a proxy that it has had since then, or no longer has.
fn record(replica: &str, name: &str, since: Option<i64>, held_until: i64) -> Arc<ProxyEvidence> {
    Arc::new(ProxyEvidence {
        replica: Some(replica.into()),
        connected_since: since.map(at),
        held_until: Some(at(held_until)),
        ..ProxyEvidence::none(dataplane_id("demo", name), at(since.unwrap_or_default()))
    })
}

pub(super) async fn every_replica_keeps_what_it_knows<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let none = store.evidence_since(EvidenceMark(0)).await.unwrap();
    assert!(none.records.is_empty());
    let left = record("a", "dp-1", None, 90);
    let here = record("b", "dp-1", Some(5), 50);
    store
        .record_evidence(&[left.clone(), record("a", "dp-2", Some(1), 60)])
        .await
        .unwrap();
    let first = store.evidence_since(none.mark).await.unwrap();
    assert_eq!(first.records.len(), 2);
    assert!(first.mark > none.mark);
    store
        .record_evidence(std::slice::from_ref(&here))
        .await
        .unwrap();
    let second = store.evidence_since(first.mark).await.unwrap();
    assert_eq!(second.records, std::slice::from_ref(&here));

    // Whoever has it speaks for it; what it may hold counts from all.
    let dp_1 = dataplane_id("demo", "dp-1");
    let both = store.evidence().await.unwrap()[&dp_1].clone();
    assert_eq!(both.replica.as_deref(), Some("b"));
    assert_eq!(both.connected_since, Some(at(5)));
    assert_eq!(both.held_until, Some(at(90)));

    let of_a: [(DataplaneId, Arc<str>); 1] = [(dp_1.clone(), "a".into())];
    store.forget_evidence(&of_a).await.unwrap();
    store.forget_evidence(&of_a).await.unwrap();
    assert_eq!(store.evidence().await.unwrap()[&dp_1], here);
    let none = store.evidence_since(second.mark).await.unwrap();
    assert!(none.records.is_empty(), "{none:?}");

    // It goes with its Dataplane, whoever recorded it.
    let all = vec![delete("demo", Kind::Dataplane, "dp-1")];
    change(&store, "demo", all).await.unwrap();
    change(&store, "demo", vec![put(dataplane("demo", "dp-1"))])
        .await
        .unwrap();
    let kept = store.evidence_since(EvidenceMark(0)).await.unwrap();
    assert!(kept.records.iter().all(|it| it.dataplane != dp_1));
}

pub(super) async fn what_is_sealed_is_sealed_anew_once<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    create_secure(&store, "demo").await;
    store
        .put_secret_if_absent("token/1", &sealed("one"))
        .await
        .unwrap();
    let all = store.sealed().await.unwrap();
    let authority = SealedPlace::Authority {
        mesh: "demo".parse().unwrap(),
        id: id("builtin"),
    };
    let secret = SealedPlace::Secret("token/1".to_owned());
    assert_eq!(
        all,
        [
            (authority.clone(), sealed("builtin")),
            (secret.clone(), sealed("one"))
        ]
    );
    let before = store.generation().await.unwrap();
    let new = sealed("anew");
    for (place, old) in &all {
        assert!(store.reseal(place, old, &new).await.unwrap());
        assert!(!store.reseal(place, old, &new).await.unwrap(), "{place:?}");
    }
    let nowhere = SealedPlace::Secret("nothing".to_owned());
    assert!(!store.reseal(&nowhere, &new, &new).await.unwrap());
    assert_eq!(
        store.authority_key(&id("builtin")).await.unwrap(),
        Some(new.clone())
    );
    assert_eq!(
        store.secrets("token/").await.unwrap(),
        [("token/1".to_owned(), new)]
    );
    assert_eq!(store.generation().await.unwrap(), before);
}

pub(super) async fn one_leads_at_a_time<S: Store>(make: impl AsyncFn() -> S) {
    let store = Arc::new(make().await);
    let first = store.lead("a").await.unwrap();
    assert!(!first.is_lost());
    let second = tokio::spawn({
        let store = store.clone();
        async move { store.lead("b").await.unwrap() }
    });
    // There is nothing to wait for but time: that nothing happens.
    let waited = tokio::time::timeout(Duration::from_millis(300), first.lost()).await;
    assert!(waited.is_err(), "the first lost it");
    assert!(!second.is_finished(), "both lead");
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(30), second);
    let second = second.await.expect("the second leads").unwrap();
    assert!(!second.is_lost());
}

pub(super) async fn replicas_see_each_other<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let replica = |name: &str, run: &str| Replica {
        name: name.into(),
        run: run.into(),
        since: at(1),
        recipients: vec!["age1…".to_owned()],
        leads: name == "a",
    };
    assert!(store.replicas().await.unwrap().is_empty());
    for (name, run) in [("b", "1"), ("a", "1"), ("a", "2")] {
        store.announce(&replica(name, run)).await.unwrap();
    }
    let seen = store.replicas().await.unwrap();
    let who: Vec<_> = seen.iter().map(|it| it.replica.clone()).collect();
    assert_eq!(who, [replica("a", "2"), replica("b", "1")]);
    assert!(seen.iter().all(|it| it.ago < Duration::from_secs(30)));
    store.forget_replica("a").await.unwrap();
    store.forget_replica("a").await.unwrap();
    assert_eq!(store.replicas().await.unwrap().len(), 1);
}

pub(super) async fn what_is_written_is_news<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let mut news = store.news();
    let mut seen = *news.borrow_and_update();
    let mut changed = async |what: &str, moved: fn(&windlass::store::News) -> u64| {
        let wait = tokio::time::timeout(Duration::from_secs(30), async {
            while moved(&news.borrow_and_update()) == moved(&seen) {
                news.changed().await.expect("the store is open");
            }
        });
        assert!(wait.await.is_ok(), "{what} is no news");
        seen = *news.borrow();
    };
    create_secure(&store, "demo").await;
    changed("a write", |it| it.meshes).await;
    store
        .record_evidence(&[record("a", "dp-1", Some(1), 9)])
        .await
        .unwrap();
    changed("evidence", |it| it.evidence).await;
    store
        .put_secret_if_absent("token/1", &sealed("one"))
        .await
        .unwrap();
    changed("a secret", |it| it.secrets).await;
    let status = windlass::model::SourceStatus {
        source: "default".parse().unwrap(),
        applied: None,
        standing: None,
    };
    store.put_source_status(&status).await.unwrap();
    changed("the state of a source", |it| it.sources).await;
    store.ask_for_sync().await.unwrap();
    changed("a call for a reconcile", |it| it.sync).await;
}

pub(super) async fn the_history_is_read_in_pages<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    for number in 1..=5 {
        let expected = Generation(number);
        let operation = put(permission("demo", &format!("p-{number}")));
        let write = windlass::store::MeshWrite {
            history: Some(history(&format!("step {number}"))),
            ..write("demo", expected, vec![operation])
        };
        store.write(&write).await.unwrap();
    }
    let (mut before, mut told) = (None, Vec::new());
    loop {
        let page = store.history(before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.generation);
        told.extend(page.into_iter().map(|entry| entry.generation.0));
    }
    assert_eq!(told, [6, 5, 4, 3, 2]);
}
