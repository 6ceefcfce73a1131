//! A process that ends between any two requests leaves a whole store.

use windlass::model::{Generation, Kind, MeshState};
use windlass::store::kubernetes::KubernetesStore;
use windlass::store::{MeshWrite, Store, WriteError, Written};

use super::Site;
use crate::store_contract::kubernetes::NAMESPACE;
use crate::store_contract::samples::{
    add, advance, delete, history, id, mesh, permission, put, revoked, sealed, write,
};
use crate::support::dying::dying;

/// Creates a mesh with an authority.
fn create(name: &str) -> MeshWrite {
    let permissions = (0..300).map(|number| put(permission(name, &format!("p-{number}"))));
    let more = [put(mesh(name)), add(name, name)];
    MeshWrite {
        history: Some(history("create")),
        ..write(
            name,
            Generation(0),
            more.into_iter().chain(permissions).collect(),
        )
    }
}

/// Changes some of it, and destroys the authority's key.
fn change(name: &str, expected: Generation) -> MeshWrite {
    let operations = vec![
        put(permission(name, "q")),
        delete(name, Kind::TrafficPermission, "p-1"),
        advance(name, revoked()),
    ];
    MeshWrite {
        history: Some(history("change")),
        ..write(name, expected, operations)
    }
}

/// How far the two writes have come, of which each is done whole or not at all.
async fn progress(store: &KubernetesStore, name: &str) -> (u32, Generation) {
    let current = store.load().await.unwrap();
    let key = store.authority_key(&id(name)).await.unwrap();
    let entries = store.history(None, 1_000).await.unwrap();
    let told: Vec<&str> = (entries.iter().rev())
        .filter(|entry| entry.mesh.as_str() == name)
        .map(|entry| &*entry.steps[0])
        .collect();
    // No generation is told of twice, none is left out.
    let generations: Vec<u64> = entries.iter().map(|entry| entry.generation.0).collect();
    let all: Vec<u64> = (1..=current.generation.0).rev().collect();
    assert_eq!(generations, all);
    let count = |mesh: &MeshState, name: &str| {
        let named = |key: &&windlass::model::ResourceKey| key.name.as_str() == name;
        mesh.resources.keys().filter(named).count()
    };
    let Some(mesh) = current.meshes.get(name) else {
        assert_eq!((key, told), (None, vec![]));
        return (0, Generation(0));
    };
    assert_eq!(mesh.resources.len(), 301);
    if count(mesh, "q") == 0 {
        assert_eq!(count(mesh, "p-1"), 1);
        assert_eq!((key, told), (Some(sealed(name)), vec!["create"]));
        (1, mesh.generation)
    } else {
        assert_eq!(count(mesh, "p-1"), 0);
        assert_eq!((key, told), (None, vec!["create", "change"]));
        (2, mesh.generation)
    }
}

/// Does what is left to do of the two writes.
async fn finish(store: &KubernetesStore, name: &str) -> Result<(), WriteError> {
    let (mut done, mut generation) = progress(store, name).await;
    while done < 2 {
        let next = match done {
            0 => create(name),
            _ => change(name, generation),
        };
        let Written { generation: at, .. } = store.write(&next).await?;
        (done, generation) = (done + 1, at);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_cut_off_anywhere_is_done_or_not() {
    let site = Site::new().await;
    let client = site.cluster.client().await;
    let healthy = site.another().await;
    let mut seen = std::collections::BTreeSet::new();
    for reaches in [false, true] {
        for requests in 0.. {
            let name = format!("mesh-{requests}-{reaches}");
            let mortal = dying(client.clone(), requests, reaches);
            let mortal = KubernetesStore::new(mortal, NAMESPACE, "a client that dies");
            let first = mortal.write(&create(&name)).await;
            let second = match &first {
                Ok(written) => Some(mortal.write(&change(&name, written.generation)).await),
                Err(_) => None,
            };
            let (done, _) = progress(&healthy, &name).await;
            seen.insert(done);
            let told = u32::from(first.is_ok()) + u32::from(matches!(second, Some(Ok(_))));
            assert!(done >= told, "what was acknowledged is lost");
            finish(&healthy, &name).await.unwrap();
            assert_eq!(progress(&site.another().await, &name).await.0, 2);
            mortal.close().await;
            if told == 2 {
                break;
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
}
