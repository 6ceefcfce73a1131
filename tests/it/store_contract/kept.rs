//! What is kept beside the meshes: secrets, evidence, history, sources.

use std::sync::Arc;

use windlass::model::{Generation, Kind, ProxyEvidence, Resource, SourceStatus};
use windlass::store::{MeshWrite, Store};

use super::samples::*;

pub(super) async fn of_several_secrets_of_one_name_all_get_the_first<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = Arc::new(make().await);
    let writers: Vec<_> = (0..16)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let secret = sealed(&format!("{number}"));
                store
                    .put_secret_if_absent("token/1", &secret)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let kept = store
        .put_secret_if_absent("token/1", &sealed("late"))
        .await
        .unwrap();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), kept);
    }
    let secrets = store.secrets("").await.unwrap();
    assert_eq!(secrets, [("token/1".to_owned(), kept)]);
}

pub(super) async fn secrets_are_found_by_prefix_and_forgotten<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    for name in ["token/b", "token/a", "tokens", "xds", "t%", "ü/1"] {
        store
            .put_secret_if_absent(name, &sealed(name))
            .await
            .unwrap();
    }
    let names = async |prefix| -> Vec<String> {
        let secrets = store.secrets(prefix).await.unwrap();
        for (name, secret) in &secrets {
            assert_eq!(*secret, sealed(name));
        }
        secrets.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names("token/").await, ["token/a", "token/b"]);
    assert_eq!(names("t%").await, ["t%"]);
    assert_eq!(names("ü").await, ["ü/1"]);
    assert_eq!(names("T").await, [""; 0]);
    assert_eq!(names("").await.len(), 6);
    for _ in 0..2 {
        store.delete_secret("token/a").await.unwrap();
        assert_eq!(names("token/").await, ["token/b"]);
    }
    let again = store
        .put_secret_if_absent("token/a", &sealed("token/a"))
        .await;
    assert_eq!(again.unwrap(), sealed("token/a"));
}

pub(super) async fn evidence_is_replaced_and_goes_with_its_dataplane<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let generation = store.generation().await.unwrap();
    let first = holds_leaf("demo", "dp-1", "builtin");
    let second = holds_leaf("demo", "dp-2", "builtin");
    let nobody = holds_leaf("demo", "dp-9", "builtin");
    let nowhere = holds_leaf("other", "dp-1", "builtin");
    let all = [first.clone(), second.clone(), nobody, nowhere];
    store.record_evidence(&all).await.unwrap();
    store.record_evidence(&[]).await.unwrap();
    let evidence = store.evidence().await.unwrap();
    assert_eq!(
        evidence.into_values().collect::<Vec<_>>(),
        [first.clone(), second]
    );

    let newer = holds_leaf("demo", "dp-2", "another");
    store
        .record_evidence(std::slice::from_ref(&newer))
        .await
        .unwrap();
    // A Dataplane that is only written again keeps its evidence.
    let Resource::Dataplane(mut moved) = dataplane("demo", "dp-2") else {
        unreachable!("it is a Dataplane")
    };
    moved.networking.address = "127.0.0.9".parse().unwrap();
    let rewrite = vec![put(Resource::Dataplane(moved))];
    assert_eq!(store.generation().await.unwrap(), generation);
    change(&store, "demo", rewrite).await.unwrap();
    change(
        &store,
        "demo",
        vec![delete("demo", Kind::Dataplane, "dp-1")],
    )
    .await
    .unwrap();
    let evidence = store.evidence().await.unwrap();
    assert_eq!(evidence.into_values().collect::<Vec<_>>(), [newer]);
    // Nor does it come back with a Dataplane of the same name.
    change(&store, "demo", vec![put(dataplane("demo", "dp-1"))])
        .await
        .unwrap();
    assert_eq!(store.evidence().await.unwrap().len(), 1);
}

pub(super) async fn evidence_of_many_proxies_is_kept_as_it_is<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let names: Vec<String> = (0..1203).map(|number| format!("dp-{number:04}")).collect();
    let put_all = std::iter::once(put(mesh("demo")))
        .chain(names.iter().map(|name| put(dataplane("demo", name))));
    change(&store, "demo", put_all.collect()).await.unwrap();
    let mut all: Vec<_> = (names.iter())
        .map(|name| {
            Arc::new(ProxyEvidence {
                replica: Some(format!("the replica of {name}").into()),
                token_expires_at: Some(at(5)),
                refused: ["listener".to_owned()].into(),
                versions: [("cluster".to_owned(), name.clone())].into(),
                ..(*holds_leaf("demo", name, "builtin")).clone()
            })
        })
        .collect();
    // Of two values for one proxy, the last holds.
    let first = ProxyEvidence {
        replica: all[0].replica.clone(),
        ..ProxyEvidence::none(dataplane_id("demo", "dp-0000"), at(1))
    };
    store
        .record_evidence(&[&[first.into()], &*all].concat())
        .await
        .unwrap();
    let kept: Vec<_> = store.evidence().await.unwrap().into_values().collect();
    assert!(kept == all);

    let newer = Arc::make_mut(&mut all[700]);
    newer.versions.clear();
    newer.refused.clear();
    store.record_evidence(&all[699..]).await.unwrap();
    let kept: Vec<_> = store.evidence().await.unwrap().into_values().collect();
    assert!(kept == all);
}

pub(super) async fn the_history_is_told_newest_first<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    for (number, mesh_name) in (1..).zip(["a", "b", "a", "a"]) {
        let current = store.load().await.unwrap();
        let expected = current.meshes.get(mesh_name).map(|mesh| mesh.generation);
        let operation = if number == 4 {
            delete(mesh_name, Kind::Mesh, mesh_name)
        } else {
            put(mesh(mesh_name))
        };
        let write = MeshWrite {
            history: (number != 2).then(|| history(&format!("step {number}"))),
            ..write(mesh_name, expected.unwrap_or_default(), vec![operation])
        };
        store.write(&write).await.unwrap();
    }
    let entries = store.history(None, 10).await.unwrap();
    let told: Vec<(u64, &str, &str)> = entries
        .iter()
        .map(|entry| (entry.generation.0, entry.mesh.as_str(), &*entry.steps[0]))
        .collect();
    assert_eq!(
        told,
        [(4, "a", "step 4"), (3, "a", "step 3"), (1, "a", "step 1")]
    );
    let mut expected = history("step 4");
    expected.mesh = "a".parse().unwrap();
    expected.generation = Generation(4);
    assert_eq!(entries[0], expected);
    assert_eq!(store.history(None, 2).await.unwrap(), entries[..2]);
    assert!(store.history(None, 0).await.unwrap().is_empty());
}

pub(super) async fn the_state_of_a_source_is_kept<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let name = "default".parse().unwrap();
    assert_eq!(store.source_status(&name).await.unwrap(), None);
    for applied in [None, history("").revision, None] {
        let status = SourceStatus {
            source: name.clone(),
            applied,
            standing: None,
        };
        store.put_source_status(&status).await.unwrap();
        assert_eq!(store.source_status(&name).await.unwrap(), Some(status));
    }
    assert_eq!(
        store
            .source_status(&"other".parse().unwrap())
            .await
            .unwrap(),
        None
    );
}
