//! What only stores do that outlive a process, or are shared by several.

use std::sync::Arc;
use std::time::Duration;

use windlass::model::{
    CaSpec, Generation, HumanDuration, Kind, Offline, Phase, Posture, Rules, SourceStatus, Strategy,
};
use windlass::store::{MeshWrite, Operation, Store, WriteError};

use super::samples::*;

pub(super) async fn a_store_that_is_opened_again_is_the_same<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    create_secure(&store, "demo").await;
    create_secure(&store, "gone").await;
    let write = MeshWrite {
        history: Some(history("made")),
        ..write(
            "other",
            Generation(0),
            vec![
                put(mesh("other")),
                put(provided("other", "root")),
                put(permission("other", "p")),
                add("other", "root"),
                advance("root", revoked()),
            ],
        )
    };
    store.write(&write).await.unwrap();
    let deletion = ["dp-1", "dp-2"].map(|name| delete("gone", Kind::Dataplane, name));
    let deletion = deletion
        .into_iter()
        .chain([delete("gone", Kind::Mesh, "gone")]);
    change(&store, "gone", deletion.collect()).await.unwrap();
    store
        .record_evidence(&[holds_leaf("demo", "dp-1", "builtin")])
        .await
        .unwrap();
    store
        .put_secret_if_absent("token", &sealed("token"))
        .await
        .unwrap();
    let status = SourceStatus {
        source: "default".parse().unwrap(),
        applied: history("").revision,
        standing: None,
    };
    store.put_source_status(&status).await.unwrap();
    let before = (
        store.load().await.unwrap(),
        store.evidence().await.unwrap(),
        store.history(None, 9).await.unwrap(),
        store.secrets("").await.unwrap(),
    );
    store.close().await;
    assert!(store.load().await.is_err());

    let store = make().await;
    let after = (
        store.load().await.unwrap(),
        store.evidence().await.unwrap(),
        store.history(None, 9).await.unwrap(),
        store.secrets("").await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(store.generation().await.unwrap(), Generation(4));
    assert_eq!(
        store.source_status(&status.source).await.unwrap(),
        Some(status)
    );
    assert_eq!(
        store.authority_key(&id("builtin")).await.unwrap(),
        Some(sealed("builtin"))
    );
    assert_eq!(store.authority_key(&id("root")).await.unwrap(), None);
}

pub(super) async fn how_a_mesh_stands_is_kept<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let rules = Rules {
        strategy: Strategy::DisableFirst,
        ack_timeout: HumanDuration::from(Duration::from_mins(7)),
        offline: Offline::Ignore,
        hold: Some(Phase::Retire),
    };
    let rotate = vec![
        Operation::Note(rules, Some(transition().into())),
        add("demo", "builtin-2"),
        advance("builtin-2", PREPARED),
        advance("builtin", retiring()),
        advance("builtin-2", ACTIVE),
        Operation::Drain,
        put(mesh("demo")),
        Operation::Secure(Posture::Encrypting),
    ];
    let written = change(&store, "demo", rotate).await.unwrap();
    let mesh = written.mesh.unwrap();
    let progress = &mesh.progress;
    assert_eq!(progress.posture, Posture::Encrypting);
    assert_eq!(progress.drained, progress.marks.leaf);
    assert_eq!(progress.transition, Some(transition()));
    store.close().await;
    let again = make().await.load().await.unwrap();
    assert_eq!(again.meshes["demo"], mesh);
}

pub(super) async fn two_that_share_a_store_see_each_other<S: Store>(make: impl AsyncFn() -> S) {
    let (one, two) = (make().await, make().await);
    change(&one, "demo", vec![put(mesh("demo"))]).await.unwrap();
    let seen = two.load().await.unwrap();
    assert_eq!(seen, one.load().await.unwrap());

    change(&two, "demo", vec![put(permission("demo", "p"))])
        .await
        .unwrap();
    let changes = one.changes_since(seen.generation).await.unwrap();
    assert_eq!(changes.meshes[0].resources.len(), 2);
    // What `one` knew of the mesh is old: it writes on top of what is stored.
    let written = change(&one, "demo", vec![put(permission("demo", "q"))])
        .await
        .unwrap();
    assert_eq!(written.mesh.unwrap().resources.len(), 3);
    assert_eq!(one.load().await.unwrap(), two.load().await.unwrap());

    let all = ["p", "q"].map(|name| delete("demo", Kind::TrafficPermission, name));
    let all = all.into_iter().chain([delete("demo", Kind::Mesh, "demo")]);
    change(&two, "demo", all.collect()).await.unwrap();
    assert!(one.load().await.unwrap().meshes.is_empty());
}

pub(super) async fn compare_and_set_holds_between_two_that_share_a_store<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let stores = [Arc::new(make().await), Arc::new(make().await)];
    let first = change(&*stores[0], "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let store = stores[number % 2].clone();
            let operations = vec![put(permission("demo", &format!("p-{number}")))];
            let write = write("demo", first.generation, operations);
            tokio::spawn(async move { store.write(&write).await })
        })
        .collect();
    let mut wins = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => wins += 1,
            Err(WriteError::Conflict { found, .. }) => assert_eq!(found, Generation(2)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(wins, 1);
}

pub(super) async fn what_was_written_is_what_another_one_reads<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    let name = |number: usize| format!("p-{number}");
    let puts = |range: std::ops::Range<usize>| range.map(|n| put(permission("demo", &name(n))));
    let deletes = |range: std::ops::Range<usize>| {
        range.map(|n| delete("demo", Kind::TrafficPermission, &name(n)))
    };
    let named = |stored: &str| {
        put(mesh_with(
            "demo",
            false,
            CaSpec::Provided {
                name: Some(stored.parse().unwrap()),
            },
        ))
    };
    let writes: Vec<Vec<Operation>> = vec![
        vec![put(mesh("demo")), put(provided("demo", "root"))],
        puts(0..1_234).collect(),
        puts(1_000..1_700)
            .chain([put(dataplane("demo", "dp"))])
            .collect(),
        deletes(10..1_200).chain(puts(15..20)).collect(),
        vec![add("demo", "root"), add("demo", "builtin")],
        vec![
            advance("root", PREPARED),
            advance("builtin", revoked()),
            named("root"),
        ],
        vec![
            advance("root", ACTIVE),
            Operation::ForgetAuthority(id("builtin")),
        ],
        deletes(0..2_000).collect(),
        vec![
            advance("root", retiring()),
            named("other"),
            put(dataplane("demo", "dp-2")),
        ],
    ];
    for (number, operations) in writes.into_iter().enumerate() {
        let written = change(&store, "demo", operations).await.unwrap();
        let read = make().await.load().await.unwrap();
        assert_eq!(read.meshes["demo"], written.mesh.unwrap(), "write {number}");
    }
}
