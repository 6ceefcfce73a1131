//! What cannot be seen from outside: a disk that is full, a lock that is held.

use sqlx::Connection as _;

use super::*;
use crate::model::{CaSpec, Mesh, Mtls, Origin, Resource, StoredResource, TrafficPermission};
use crate::store::Operation;

fn put(resource: Resource) -> Operation {
    Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
}

fn write(expected: Generation, permissions: u32) -> MeshWrite {
    let mesh = put(Resource::Mesh(Mesh {
        name: "demo".parse().unwrap(),
        mtls: Mtls {
            enabled: false,
            ca: CaSpec::default(),
            transition: None,
        },
    }));
    let permissions = (0..permissions).map(|number| {
        put(Resource::TrafficPermission(TrafficPermission {
            mesh: "demo".parse().unwrap(),
            name: format!("p-{number}").parse().unwrap(),
            namespace: None,
            sources: Vec::new(),
            destinations: Vec::new(),
        }))
    });
    MeshWrite {
        mesh: "demo".parse().unwrap(),
        expected,
        operations: [mesh].into_iter().chain(permissions).collect(),
        history: None,
    }
}

fn failed(result: Result<Written, WriteError>) -> StoreError {
    match result {
        Err(WriteError::Store(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_a_write_and_takes_the_next_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let access = Access::Write { pages: Some(60) };
    let store = open::open(&folder.path().join("windlass.db"), access)
        .await
        .unwrap();
    let first = store.write(&write(Generation(0), 10)).await.unwrap();
    for _ in 0..3 {
        let error = failed(store.write(&write(first.generation, 5_000)).await);
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("make room"), "{error}");
        assert_eq!(
            store.load().await.unwrap().meshes["demo"],
            first.mesh.clone().unwrap()
        );
    }
    let next = store.write(&write(first.generation, 11)).await.unwrap();
    assert_eq!(next.mesh.unwrap().resources.len(), 12);
}

#[tokio::test]
async fn a_connection_whose_transaction_was_ended_for_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("windlass.db"))
        .await
        .unwrap();
    let mut transaction = store.begin_write("test").await.unwrap();
    // As SQLite does by itself where a disk is full.
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    store.write(&write(Generation(0), 1)).await.unwrap();
}

#[tokio::test]
async fn a_read_only_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("windlass.db"))
        .await
        .unwrap();
    let mut connection = store.writer.acquire().await.unwrap();
    sqlx::raw_sql("PRAGMA query_only = ON")
        .execute(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    let error = failed(store.write(&write(Generation(0), 1)).await);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(store.load().await.unwrap().meshes.is_empty());
}

#[tokio::test]
async fn a_lock_that_another_process_holds_says_so_and_readers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let mut connection = store.writer.acquire().await.unwrap();
    sqlx::raw_sql("PRAGMA busy_timeout = 10")
        .execute(&mut *connection)
        .await
        .unwrap();
    drop(connection);

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let lock = other.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let error = failed(store.write(&write(Generation(0), 1)).await);
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(store.load().await.unwrap().meshes.is_empty());
    lock.rollback().await.unwrap();
    store.write(&write(Generation(0), 1)).await.unwrap();
}

#[tokio::test]
async fn a_key_that_could_not_be_scrubbed_is_scrubbed_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let mut connection = store.writer.acquire().await.unwrap();
    sqlx::raw_sql("PRAGMA busy_timeout = 10")
        .execute(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    let secret = SealedKey(b"sealed, and to be forgotten".to_vec());
    store.put_secret_if_absent("token", &secret).await.unwrap();
    let on_disk = || {
        let log = std::fs::read(path.with_extension("db-wal")).unwrap();
        let bytes = [std::fs::read(&path).unwrap(), log].concat();
        bytes
            .windows(secret.0.len())
            .any(|window| window == secret.0)
    };
    // Someone still reads what was there before.
    let mut reader = store.begin_read("test").await.unwrap();
    read::generation(&store.place, &mut reader).await.unwrap();
    store.delete_secret("token").await.unwrap();
    assert!(on_disk());
    reader.rollback().await.unwrap();
    store.write(&write(Generation(0), 1)).await.unwrap();
    assert!(!on_disk());
}
