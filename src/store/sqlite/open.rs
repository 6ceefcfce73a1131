//! Opening: the file, its connections and its schema.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::watch;

use super::{Place, SqliteStore};
use crate::store::StoreError;
use crate::store::cache::Cache;

/// "Wind": marks the file as Windlass's (`PRAGMA application_id`).
const APPLICATION: i64 = 0x5769_6e64;
/// The schemas, oldest first. `PRAGMA user_version` counts those that are in place.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/sqlite/0001_first.sql"),
    include_str!("../migrations/sqlite/0002_progress.sql"),
    include_str!("../migrations/sqlite/0003_replicas.sql"),
];
/// How long a lock of another process is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection, which is for other calls.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many connections read.
const READERS: u32 = 4;

/// What an opened store is for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Reading alone: nothing is made or brought up to date.
    Read,
    /// Reading and writing.
    Write {
        /// To how many pages of 4 KiB the file may grow, where that is limited.
        pages: Option<u32>,
    },
}

/// Opens the store at `path`.
pub(super) async fn open(path: &Path, access: Access) -> Result<SqliteStore, StoreError> {
    let place = super::place::at(path);
    let found = match access {
        Access::Read => path.metadata().map(drop),
        Access::Write { .. } => create(path),
    };
    found.map_err(|error| StoreError::open(place.as_str(), error))?;

    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(LOCK_TIMEOUT)
        .foreign_keys(true)
        .pragma("synchronous", "FULL")
        .pragma("secure_delete", "ON");
    let reading = options.clone().pragma("query_only", "ON");
    let writing = match access {
        Access::Read => reading.clone(),
        Access::Write { pages: None } => options,
        Access::Write { pages: Some(pages) } => options.pragma("max_page_count", pages.to_string()),
    };
    let writer = pool(1).connect_lazy_with(writing);
    let readers = pool(READERS).connect_lazy_with(reading);

    let mut connection = writer
        .acquire()
        .await
        .map_err(|error| place.failed("open the database", error))?;
    match access {
        Access::Read => require_schema(&place, &mut connection).await?,
        Access::Write { .. } => prepare(&place, &mut connection).await?,
    }
    drop(connection);
    if let Access::Write { .. } = access {
        // Should a process have been killed before it emptied the log.
        empty_log(&writer).await;
    }
    Ok(SqliteStore {
        place,
        writer,
        readers,
        cache: Cache::default(),
        scrub: AtomicBool::new(false),
        news: watch::Sender::default(),
        reach: watch::Sender::default(),
        lead: Arc::default(),
    })
}

/// Makes the file, so that SQLite finds one that nobody else may read; its log
/// gets the same mode.
fn create(path: &Path) -> io::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn pool(connections: u32) -> PoolOptions<Sqlite> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut SqliteConnection, _| {
            Box::pin(async move {
                // After it has done what is still queued, a rollback perhaps. SQLite
                // itself ends a transaction on a full disk; the connection then
                // still counts it, and is replaced.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
}

/// Checks whose database it is, and brings its schema up to date.
async fn prepare(place: &Place, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let known = newest();
    // Before anything is written to what may be someone else's.
    let found = schema(place, connection).await?;
    let failed = |action| move |error| place.failed(action, error);
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut *connection)
        .await
        .map_err(failed("set up the log"))?;
    if found == known {
        return Ok(());
    }

    let action = "bring the schema up to date";
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed(action))?;
    // Again, under the lock: another process may have been faster.
    let found = schema(place, &mut transaction).await?;
    for migration in MIGRATIONS
        .into_iter()
        .skip(usize::try_from(found).unwrap_or(0))
    {
        sqlx::raw_sql(migration)
            .execute(&mut *transaction)
            .await
            .map_err(failed(action))?;
    }
    for (pragma, value) in [("application_id", APPLICATION), ("user_version", known)] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA {pragma} = {value}")))
            .execute(&mut *transaction)
            .await
            .map_err(failed(action))?;
    }
    transaction.commit().await.map_err(failed(action))
}

/// Fails where the schema is not the newest one.
async fn require_schema(
    place: &Place,
    connection: &mut SqliteConnection,
) -> Result<(), StoreError> {
    let (found, known) = (schema(place, connection).await?, newest());
    if found == known {
        return Ok(());
    }
    Err(StoreError::Older {
        at: place.as_str().to_owned(),
        found,
        known,
    })
}

/// The newest schema.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// How many migrations are in place. Fails on what is not Windlass's, or newer.
async fn schema(place: &Place, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row: Result<(i64, i64, i64), _> = sqlx::query_as(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) \
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(connection)
    .await;
    let (application, found, objects) =
        row.map_err(|error| place.failed("read the schema", error))?;
    let known = newest();
    let at = || place.as_str().to_owned();
    match (application, found) {
        (APPLICATION, 1..) if found > known => Err(StoreError::Newer {
            at: at(),
            found,
            known,
        }),
        (APPLICATION, 1..) => Ok(found),
        (0, 0) if objects == 0 => Ok(0),
        _ => Err(StoreError::Foreign { at: at() }),
    }
}

/// Copies the write-ahead log into the database and empties it; tells whether
/// that was possible, which it is not while someone reads an older state.
pub(super) async fn empty_log(writer: &SqlitePool) -> bool {
    let row: Result<(i64, i64, i64), _> = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(writer)
        .await;
    matches!(row, Ok((0, _, _)))
}
