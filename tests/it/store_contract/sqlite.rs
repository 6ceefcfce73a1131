//! What only the embedded store has: a file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;
use windlass::model::Kind;
use windlass::model::{Posture, PrivateKey};
use windlass::store::encryption::Vault;
use windlass::store::sqlite::SqliteStore;
use windlass::store::{Operation, Store, StoreError, WriteError};
use zeroize::Zeroizing;

use super::samples::*;

fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("windlass.db");
    (folder, path)
}

async fn refused(path: &Path) -> StoreError {
    let error = SqliteStore::open(path).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    error
}

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Every byte that is on the disk: the database, its log and its index.
fn on_disk(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn the_file_and_its_log_are_for_their_owner_alone() {
    let (folder, _) = scratch();
    let path = folder.path().join("a/b/windlass.db");
    let store = SqliteStore::open(&path).await.unwrap();
    change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let files: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_kill() {
    let (folder, path) = scratch();
    let store = SqliteStore::open(&path).await.unwrap();
    create_secure(&store, "demo").await;
    store
        .record_evidence(&[holds_leaf("demo", "dp-1", "builtin")])
        .await
        .unwrap();
    // The files as a kill leaves them: the log is not copied back.
    let copy = tempfile::tempdir().unwrap();
    for name in ["windlass.db", "windlass.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let killed = SqliteStore::open(&copy.path().join("windlass.db"))
        .await
        .unwrap();
    assert_eq!(killed.load().await.unwrap(), store.load().await.unwrap());
    assert_eq!(
        killed.evidence().await.unwrap(),
        store.evidence().await.unwrap()
    );

    // Cut anywhere, the log loses its last transactions and nothing else.
    let log = std::fs::read(folder.path().join("windlass.db-wal")).unwrap();
    for length in (0..log.len()).step_by(log.len() / 40 + 1) {
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("windlass.db");
        std::fs::copy(folder.path().join("windlass.db"), &path).unwrap();
        std::fs::write(copy.path().join("windlass.db-wal"), &log[..length]).unwrap();
        let cut = SqliteStore::open(&path)
            .await
            .unwrap()
            .load()
            .await
            .unwrap();
        if let Some(mesh) = cut.meshes.get("demo") {
            assert_eq!((mesh.resources.len(), mesh.authorities.len()), (3, 1));
        }
    }
}

#[tokio::test]
async fn no_key_is_in_clear_on_the_disk() {
    let (folder, path) = scratch();
    let store = SqliteStore::open(&path).await.unwrap();
    let vault = Vault::open_or_create(&folder.path().join("identity.txt")).unwrap();
    let secret = "-----BEGIN PRIVATE KEY-----\nTOP SECRET\n";
    let key = vault
        .seal(&PrivateKey::new(Zeroizing::new(secret.to_owned())))
        .unwrap();
    let add = Operation::AddAuthority(authority("demo", "root"), key.clone());
    change(&store, "demo", vec![put(mesh("demo")), add])
        .await
        .unwrap();
    store.put_secret_if_absent("token", &key).await.unwrap();
    store.close().await;
    let bytes = on_disk(folder.path());
    assert!(holds(&bytes, b"age-encryption.org/v1"));
    assert!(!holds(&bytes, b"TOP SECRET") && !holds(&bytes, b"PRIVATE KEY-----"));

    let store = SqliteStore::open(&path).await.unwrap();
    let stored = store.authority_key(&id("root")).await.unwrap().unwrap();
    assert_eq!(vault.unseal(&stored).unwrap().expose(), secret);
}

#[tokio::test]
async fn a_destroyed_key_is_not_on_the_disk_any_more() {
    let (folder, path) = scratch();
    let store = SqliteStore::open(&path).await.unwrap();
    let operations = vec![
        put(mesh("demo")),
        add("demo", "first-root"),
        add("demo", "second-root"),
        put(mesh("demo")),
    ];
    change(&store, "demo", operations).await.unwrap();
    store
        .put_secret_if_absent("token", &sealed("third-root"))
        .await
        .unwrap();
    let there = |name: &str| holds(&on_disk(folder.path()), &sealed(name).0);
    assert!(there("first-root") && there("second-root") && there("third-root"));
    change(&store, "demo", vec![advance("first-root", revoked())])
        .await
        .unwrap();
    assert!(!there("first-root") && there("second-root"));
    change(&store, "demo", vec![delete("demo", Kind::Mesh, "demo")])
        .await
        .unwrap();
    assert!(!there("second-root") && there("third-root"));
    store.delete_secret("token").await.unwrap();
    assert!(!there("third-root"));
}

#[tokio::test]
async fn a_damaged_file_is_told_from_an_unreadable_row() {
    let (_folder, path) = scratch();
    std::fs::write(
        &path,
        "this is no database, but long enough to look like one",
    )
    .unwrap();
    assert!(matches!(refused(&path).await, StoreError::Damaged { .. }));
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("this is no database")
    );

    std::fs::remove_file(&path).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let many = (0..200).map(|number| put(permission("demo", &format!("p-{number}"))));
    let operations = [put(mesh("demo"))].into_iter().chain(many).collect();
    change(&store, "demo", operations).await.unwrap();
    store.close().await;
    let whole = std::fs::read(&path).unwrap();

    let mut connection = raw(&path).await;
    execute(
        &mut connection,
        "UPDATE resource SET universal = '{}' WHERE name = 'p-7'",
    )
    .await;
    connection.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let error = store.load().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("TrafficPermission p-7 of mesh demo"),
        "{error}"
    );
    store.close().await;

    let mut broken = whole;
    broken[4096..].fill(0xa5);
    std::fs::write(&path, broken).unwrap();
    let error = match SqliteStore::open(&path).await {
        Ok(store) => store.load().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let (_folder, path) = scratch();
    SqliteStore::open(&path).await.unwrap().close().await;
    let mut connection = raw(&path).await;
    execute(&mut connection, "PRAGMA user_version = 77").await;
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path).await;
    assert!(
        matches!(error, StoreError::Newer { found: 77, .. }),
        "{error:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_mesh_of_the_first_schema_stands_as_it_says() {
    let (_folder, path) = scratch();
    let store = SqliteStore::open(&path).await.unwrap();
    create_secure(&store, "secure").await;
    let plain = vec![put(mesh("plain"))];
    change(&store, "plain", plain).await.unwrap();
    store.close().await;
    let mut connection = raw(&path).await;
    let first = "ALTER TABLE mesh DROP COLUMN progress; \
        ALTER TABLE store DROP COLUMN evidence; \
        DROP TABLE replica; \
        DROP TABLE evidence; \
        CREATE TABLE evidence (mesh TEXT, kind TEXT DEFAULT 'Dataplane', name TEXT, document TEXT); \
        INSERT INTO evidence VALUES ('secure', 'Dataplane', 'dp-1', \
        '{\"dataplane\": {\"mesh\": \"secure\", \"name\": \"dp-1\"}, \"connectedSince\": null, \
          \"replica\": \"cp-1\", \"seen\": \"2026-11-28T00:00:00Z\", \"bundle\": null, \
          \"leafIssuer\": null, \"leafNotAfter\": null, \"lastNack\": null}'); \
        PRAGMA user_version = 1";
    execute(&mut connection, first).await;
    connection.close().await.unwrap();

    let store = SqliteStore::open(&path).await.unwrap();
    let current = store.load().await.unwrap();
    let posture = |mesh: &str| current.meshes[mesh].progress.posture;
    assert_eq!(posture("secure"), Posture::Strict);
    assert_eq!(posture("plain"), Posture::Plaintext);
    let evidence = store.evidence().await.unwrap();
    let replicas: Vec<_> = evidence.values().map(|it| it.replica.as_deref()).collect();
    assert_eq!(replicas, [Some("cp-1")]);
    // It goes on from there.
    let disable = vec![put(mesh("secure")), Operation::Secure(Posture::Encrypting)];
    change(&store, "secure", disable).await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let (_folder, path) = scratch();
    let mut connection = raw(&path).await;
    execute(&mut connection, "CREATE TABLE theirs (id INTEGER)").await;
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path).await;
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let (_folder, path) = scratch();
    std::fs::write(&path, "a file").unwrap();
    let error = refused(&path.join("windlass.db")).await;
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    let error = refused(path.parent().unwrap()).await;
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn two_that_open_a_new_store_at_once_both_get_it() {
    let (_folder, path) = scratch();
    let opening: Vec<_> = (0..6)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { SqliteStore::open(&path).await.unwrap() })
        })
        .collect();
    for (number, store) in opening.into_iter().enumerate() {
        let store = store.await.unwrap();
        let name = format!("mesh-{number}");
        change(&store, &name, vec![put(mesh(&name))]).await.unwrap();
        assert_eq!(store.load().await.unwrap().meshes.len(), number + 1);
    }
}

#[tokio::test]
async fn a_store_that_is_only_looked_at_is_not_made_and_not_written() {
    let (_folder, path) = scratch();
    let missing = SqliteStore::open_for_reading(&path).await.unwrap_err();
    assert!(matches!(missing, StoreError::Open { .. }), "{missing:?}");
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    let empty = SqliteStore::open_for_reading(&path).await.unwrap_err();
    assert!(
        matches!(empty, StoreError::Older { found: 0, .. }),
        "{empty:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"");

    let store = SqliteStore::open(&path).await.unwrap();
    let first = change(&store, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let looking = SqliteStore::open_for_reading(&path).await.unwrap();
    assert_eq!(looking.load().await.unwrap(), store.load().await.unwrap());
    let write = write("demo", first.generation, vec![put(permission("demo", "p"))]);
    let error = looking.write(&write).await.unwrap_err();
    assert!(
        matches!(error, WriteError::Store(StoreError::ReadOnly { .. })),
        "{error:?}"
    );
    store.write(&write).await.unwrap();
    assert_eq!(looking.load().await.unwrap(), store.load().await.unwrap());
}
