//! Writing meshes: compare-and-set, atomicity, what changed.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use windlass::model::{Generation, Kind, MeshName, Origin, Resource, StoredResource};
use windlass::store::{MeshWrite, Operation, Store, WriteError};

use super::samples::*;

pub(super) async fn a_mesh_is_created_updated_and_deleted<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    assert_eq!(store.generation().await.unwrap(), Generation(0));
    assert!(store.load().await.unwrap().meshes.is_empty());

    let create = vec![put(mesh("demo")), put(permission("demo", "p"))];
    let created = change(&store, "demo", create).await.unwrap();
    assert_eq!(created.generation, Generation(1));
    let state = created.mesh.unwrap();
    assert_eq!(state.generation, created.generation);
    assert_eq!(state.resources.len(), 2);
    assert_eq!(store.load().await.unwrap().meshes["demo"], state);

    let update = vec![
        put(dataplane("demo", "dp")),
        delete("demo", Kind::TrafficPermission, "p"),
    ];
    let updated = change(&store, "demo", update).await.unwrap();
    assert_eq!(updated.generation, Generation(2));
    let current = store.load().await.unwrap();
    assert_eq!(current.generation, updated.generation);
    assert_eq!(current.meshes["demo"], updated.mesh.unwrap());
    let keys: Vec<String> = current.meshes["demo"]
        .resources
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!(keys, ["Mesh/demo", "demo/Dataplane/dp"]);

    let deletion = vec![
        delete("demo", Kind::Dataplane, "dp"),
        delete("demo", Kind::Mesh, "demo"),
    ];
    let deleted = change(&store, "demo", deletion).await.unwrap();
    assert!(deleted.mesh.is_none());
    assert_eq!(store.generation().await.unwrap(), Generation(3));
    assert!(store.load().await.unwrap().meshes.is_empty());
}

pub(super) async fn every_kind_of_resource_comes_back_as_it_was_written<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    let origin = Origin::Source {
        source: "default".parse().unwrap(),
        file: "demo/ü.yaml".into(),
        revision: history("").revision.unwrap(),
    };
    let resources = [
        mesh("demo"),
        provided("demo", "root"),
        permission("demo", "p"),
        dataplane("demo", "dp"),
    ];
    let mut stored: Vec<StoredResource> = resources
        .into_iter()
        .map(|resource| StoredResource::new(resource, origin.clone()))
        .collect();
    let operations = stored.iter().cloned().map(Operation::PutResource);
    // A key that a writer forgot to take out.
    let operations = operations.map(|operation| match operation {
        Operation::PutResource(StoredResource {
            resource: Resource::ProvidedCa(mut ca),
            digest,
            origin,
        }) => {
            ca.key.push_str("-----BEGIN AGE ENCRYPTED FILE-----");
            Operation::PutResource(StoredResource {
                resource: Resource::ProvidedCa(ca),
                digest,
                origin,
            })
        }
        operation => operation,
    });
    let written = change(&store, "demo", operations.collect()).await.unwrap();
    stored.sort_by_key(|stored| stored.resource.key());
    for mesh in [
        written.mesh.unwrap(),
        store.load().await.unwrap().meshes["demo"].clone(),
    ] {
        let found: Vec<StoredResource> = mesh.resources.values().map(|r| (**r).clone()).collect();
        assert_eq!(found, stored);
    }
}

pub(super) async fn a_write_to_a_stale_generation_conflicts<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let conflict = async |expected, operations| {
        let write = write("demo", Generation(expected), operations);
        match store.write(&write).await {
            Err(WriteError::Conflict { found, .. }) => found.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(conflict(1, vec![put(mesh("demo"))]).await, 0);
    change(&store, "other", vec![put(mesh("other"))])
        .await
        .unwrap();
    change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    change(&store, "demo", vec![put(permission("demo", "p"))])
        .await
        .unwrap();
    for stale in [0, 1, 2, 4] {
        assert_eq!(conflict(stale, vec![put(dataplane("demo", "dp"))]).await, 3);
    }
    let deletion = vec![
        delete("demo", Kind::TrafficPermission, "p"),
        delete("demo", Kind::Mesh, "demo"),
    ];
    change(&store, "demo", deletion).await.unwrap();
    assert_eq!(conflict(3, vec![put(mesh("demo"))]).await, 0);
    assert_eq!(store.generation().await.unwrap(), Generation(4));
}

pub(super) async fn of_several_writers_to_one_mesh_exactly_one_wins<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = Arc::new(make().await);
    let first = change(&*store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let writers: Vec<_> = (0..16)
        .map(|number| {
            let operations = vec![put(permission("demo", &format!("p-{number}")))];
            let write = write("demo", first.generation, operations);
            let store = store.clone();
            tokio::spawn(async move { store.write(&write).await })
        })
        .collect();
    let mut wins = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(written) => wins.push(written),
            Err(WriteError::Conflict { found, .. }) => assert_eq!(found, Generation(2)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(wins.len(), 1);
    let current = store.load().await.unwrap();
    assert_eq!(current.meshes["demo"], wins[0].mesh.clone().unwrap());
    assert_eq!(current.generation, Generation(2));
}

pub(super) async fn writers_to_different_meshes_all_win<S: Store>(make: impl AsyncFn() -> S) {
    let store = Arc::new(make().await);
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("mesh-{number}");
                let mut generations = vec![Generation(0)];
                for _ in 0..5 {
                    let expected = *generations.last().unwrap();
                    let operations = vec![put(mesh(&name))];
                    let written = store
                        .write(&write(&name, expected, operations))
                        .await
                        .unwrap();
                    assert_eq!(written.mesh.unwrap().generation, written.generation);
                    assert!(written.generation > expected);
                    generations.push(written.generation);
                }
                generations.split_off(1)
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for writer in writers {
        all.extend(writer.await.unwrap());
    }
    assert_eq!(all, (1..=40).map(Generation).collect());
    assert_eq!(store.generation().await.unwrap(), Generation(40));
}

pub(super) async fn changes_since_names_what_was_written_and_what_is_gone<S: Store>(
    make: impl AsyncFn() -> S,
) {
    let store = make().await;
    let empty = store.changes_since(Generation(0)).await.unwrap();
    assert!(empty.meshes.is_empty() && empty.existing.is_empty());
    for name in ["a", "b", "c"] {
        change(&store, name, vec![put(mesh(name))]).await.unwrap();
    }
    let names = |changes: &windlass::store::Changes| -> (Vec<String>, Vec<String>) {
        let text = |name: &MeshName| name.to_string();
        (
            changes.meshes.iter().map(|mesh| text(&mesh.name)).collect(),
            changes.existing.iter().map(text).collect(),
        )
    };
    let of = |list: &[&str]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };

    let changes = store.changes_since(Generation(1)).await.unwrap();
    assert_eq!(changes.generation, Generation(3));
    assert_eq!(names(&changes), (of(&["b", "c"]), of(&["a", "b", "c"])));

    change(&store, "b", vec![delete("b", Kind::Mesh, "b")])
        .await
        .unwrap();
    change(&store, "a", vec![put(permission("a", "p"))])
        .await
        .unwrap();
    let changes = store.changes_since(Generation(3)).await.unwrap();
    assert_eq!(changes.generation, Generation(5));
    assert_eq!(names(&changes), (of(&["a"]), of(&["a", "c"])));
    assert_eq!(changes.meshes[0], store.load().await.unwrap().meshes["a"]);

    let changes = store.changes_since(Generation(5)).await.unwrap();
    assert_eq!(names(&changes), (of(&[]), of(&["a", "c"])));
}

pub(super) async fn a_refused_write_leaves_nothing<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    create_secure(&store, "demo").await;
    let before = store.load().await.unwrap();
    let refused = [
        (
            "demo",
            vec![put(permission("demo", "p")), put(permission("other", "p"))],
        ),
        (
            "demo",
            vec![add("demo", "builtin-2"), advance("builtin-2", ACTIVE)],
        ),
        (
            "demo",
            vec![
                put(permission("demo", "p")),
                delete("demo", Kind::Mesh, "demo"),
            ],
        ),
        ("new", vec![put(dataplane("new", "dp"))]),
        ("new", vec![add("new", "builtin-3")]),
    ];
    for (mesh, operations) in refused {
        let expected = before.meshes.get(mesh).map(|mesh| mesh.generation);
        let write = MeshWrite {
            history: Some(history("refused")),
            ..write(mesh, expected.unwrap_or_default(), operations)
        };
        let error = store.write(&write).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused { .. }), "{error:?}");
    }
    assert_eq!(store.load().await.unwrap(), before);
    assert_eq!(store.generation().await.unwrap(), before.generation);
    assert!(store.history(None, 9).await.unwrap().is_empty());
    for name in ["builtin-2", "builtin-3"] {
        assert_eq!(store.authority_key(&id(name)).await.unwrap(), None);
    }
}

pub(super) async fn what_is_done_twice_is_done_once<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let operations = [
        put(mesh("demo")),
        put(permission("demo", "p")),
        add("demo", "builtin"),
        advance("builtin", PREPARED),
        put(permission("demo", "q")),
        delete("demo", Kind::TrafficPermission, "q"),
        advance("builtin", revoked()),
        Operation::ForgetAuthority(id("builtin")),
    ];
    for operation in operations {
        let once = change(&store, "demo", vec![operation.clone()])
            .await
            .unwrap();
        let twice = change(&store, "demo", vec![operation; 2]).await.unwrap();
        let (once, twice) = (once.mesh.unwrap(), twice.mesh.unwrap());
        assert_eq!(once.resources, twice.resources);
        assert_eq!(once.authorities, twice.authorities);
        assert_eq!(store.load().await.unwrap().meshes["demo"], twice);
    }
    // Another key for an authority that is there is not taken.
    change(&store, "demo", vec![add("demo", "root")])
        .await
        .unwrap();
    let other = Operation::AddAuthority(authority("demo", "root"), sealed("another"));
    change(&store, "demo", vec![other]).await.unwrap();
    let kept = store.authority_key(&id("root")).await.unwrap();
    assert_eq!(kept, Some(sealed("root")));
}

pub(super) async fn a_large_write_is_kept_whole<S: Store>(make: impl AsyncFn() -> S) {
    const COUNT: usize = 1_234;
    let store = make().await;
    let name = |number: usize| format!("p-{number}");
    let mut operations = vec![put(mesh("demo"))];
    operations.extend((0..COUNT).map(|number| put(permission("demo", &name(number)))));
    let written = change(&store, "demo", operations)
        .await
        .unwrap()
        .mesh
        .unwrap();
    assert_eq!(written.resources.len(), COUNT + 1);
    assert_eq!(store.load().await.unwrap().meshes["demo"], written);

    let most = (0..COUNT - 3).map(|n| delete("demo", Kind::TrafficPermission, &name(n)));
    let written = change(&store, "demo", most.collect())
        .await
        .unwrap()
        .mesh
        .unwrap();
    assert_eq!(written.resources.len(), 4);
    assert_eq!(store.load().await.unwrap().meshes["demo"], written);
}

pub(super) async fn what_did_not_change_is_shared<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    change(&store, "other", vec![put(mesh("other"))])
        .await
        .unwrap();
    let create = vec![put(mesh("demo")), put(permission("demo", "p"))];
    change(&store, "demo", create).await.unwrap();
    let before = store.load().await.unwrap();
    let update = vec![put(dataplane("demo", "dp")), put(permission("demo", "p"))];
    let after = change(&store, "demo", update).await.unwrap().mesh.unwrap();
    let loaded = store.load().await.unwrap();
    assert!(Arc::ptr_eq(
        &before.meshes["other"],
        &loaded.meshes["other"]
    ));
    assert!(Arc::ptr_eq(&after, &loaded.meshes["demo"]));
    for (key, resource) in &before.meshes["demo"].resources {
        assert!(Arc::ptr_eq(resource, &after.resources[key]), "{key}");
    }
}

pub(super) async fn a_dropped_call_leaves_a_whole_store<S: Store>(make: impl AsyncFn() -> S) {
    let store = make().await;
    for waits in 0.. {
        let name = format!("mesh-{waits}");
        let operations = vec![
            put(mesh(&name)),
            add(&name, "root"),
            put(permission(&name, "p")),
            put(permission(&name, "q")),
        ];
        let write = write(&name, Generation(0), operations);
        // Dropped when it has waited `waits` times.
        let done = {
            let mut future = store.write(&write);
            let mut waited = 0;
            poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if waited == waits => Poll::Ready(None),
                Poll::Pending => {
                    waited += 1;
                    Poll::Pending
                }
            })
            .await
        };
        let whole = async || {
            let current = store.load().await.unwrap();
            if let Some(mesh) = current.meshes.get(name.as_str()) {
                assert_eq!((mesh.resources.len(), mesh.authorities.len()), (3, 1));
            }
        };
        whole().await;
        // It may still be done; what comes after it goes on from there.
        while let Err(error) = change(&store, &name, vec![put(mesh(&name))]).await {
            assert!(matches!(error, WriteError::Conflict { .. }), "{error:?}");
            whole().await;
        }
        if let Some(done) = done {
            done.unwrap();
            break;
        }
    }
    let generation = store.generation().await.unwrap();
    assert_eq!(store.load().await.unwrap().generation, generation);
}
