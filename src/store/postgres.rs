//! The shared store: one Postgres database, for as many replicas as there are.
//!
//! Every write changes the one row of `store` first, so one follows another;
//! whoever sees a generation or a mark sees all that was written below it.
//! Reads of more than one row see one snapshot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

use super::admission;
use super::cache::Cache;
use super::difference::Difference;
use super::place::Place;
use super::rows::to_generation;
use super::{Changes, MeshWrite, StoreError, WriteError, Written};
use crate::clock;
use crate::model::{AuthorityId, Current, Evidence, Generation, MeshName, MeshState, SealedKey};
use listen::Ears;
use open::{Access, Connector};
use topic::Topic;

pub use settings::{ClientCertificate, Password, PostgresConfig, PostgresTls, TlsMode};

mod again;
mod bridge;
mod calls;
mod lead;
mod link;
mod listen;
mod open;
mod place;
mod read;
mod settings;
mod tls;
mod topic;
mod write;

/// "Wind": the advisory lock of who reconciles, beside the schema's name.
const LOCK_CLASS: i32 = 0x5769_6e64;

/// Keeps everything in one Postgres database.
pub struct PostgresStore {
    connector: Connector,
    pool: PgPool,
    cache: Cache,
    ears: Arc<Ears>,
    closed: CancellationToken,
}

impl PostgresStore {
    /// Opens the database. Where it is empty or an older version's, it is
    /// brought up to date in one transaction, by one of those that start.
    ///
    /// # Errors
    ///
    /// Fails where the server cannot be reached in the mode that is set, and
    /// where the database is another program's or a newer version's.
    pub async fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        Self::open_within(config, config.connection_timeout).await
    }

    /// The same of a server that may take so long to be there: it may be started
    /// at the same time. One that refuses is not waited for.
    ///
    /// # Errors
    ///
    /// Fails as [`PostgresStore::open`] does.
    pub async fn open_within(
        config: &PostgresConfig,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(config, Access::Write, patience).await?;
        if config.is_exposed() {
            tracing::warn!(
                store = %store.place(),
                "the connection to the store is not encrypted; set store.postgres.tls.mode"
            );
        }
        let ears = Arc::clone(&store.ears);
        let listening = listen::run(store.connector.clone(), ears);
        tokio::spawn(store.closed.clone().run_until_cancelled_owned(listening));
        Ok(store)
    }

    /// Opens the database to look at it: nothing is made or brought up to date,
    /// writing fails, and nothing is told of changes.
    ///
    /// # Errors
    ///
    /// Fails as [`PostgresStore::open`] does, and where there is no store or an
    /// older version's.
    pub async fn open_for_reading(config: &PostgresConfig) -> Result<Self, StoreError> {
        Self::connect(config, Access::Read, config.connection_timeout).await
    }

    async fn connect(
        config: &PostgresConfig,
        access: Access,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let connector = Connector::new(config, access)?;
        connector.prepare(patience).await?;
        Ok(Self {
            pool: connector.pool("windlass", config.max_open_connections),
            connector,
            cache: Cache::default(),
            ears: Ears::new(),
            closed: CancellationToken::new(),
        })
    }

    fn place(&self) -> &Place {
        &self.connector.place
    }

    async fn acquire(&self, action: &'static str) -> Result<PoolConnection<Postgres>, StoreError> {
        let connection = self.pool.acquire().await;
        connection.map_err(|error| self.place().failed(action, error))
    }

    /// Begins a transaction that sees one snapshot.
    async fn begin_read(
        &self,
        action: &'static str,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let begun = self.pool.begin_with(statement).await;
        begun.map_err(|error| self.place().failed(action, error))
    }

    /// Begins a transaction that has its turn among all that write: what it
    /// reads is still so when it is committed. With it comes what `topic` counts.
    async fn begin_write(
        &self,
        action: &'static str,
        topic: Topic,
    ) -> Result<(Transaction<'static, Postgres>, i64), StoreError> {
        let begun = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await;
        let mut transaction = begun.map_err(|error| self.place().failed(action, error))?;
        let count = write::raise(self.place(), &mut transaction, topic).await?;
        Ok((transaction, count))
    }

    async fn commit(
        &self,
        action: &'static str,
        transaction: Transaction<'static, Postgres>,
    ) -> Result<(), StoreError> {
        let committed = transaction.commit().await;
        committed.map_err(|error| match self.place().failed(action, error) {
            StoreError::Unreachable {
                at,
                problem,
                source,
            } => StoreError::Uncertain {
                action,
                at,
                source: source.unwrap_or_else(|| problem.into()),
            },
            error => error,
        })
    }

    fn tell(&self, topic: Topic) {
        self.ears.news.send_modify(|news| topic.tell(news));
    }

    /// The mesh at `generation`, which its row has in this transaction.
    async fn mesh_at(
        &self,
        connection: &mut PgConnection,
        name: &MeshName,
        generation: Generation,
    ) -> Result<Arc<MeshState>, StoreError> {
        if let Some(known) = self.cache.get(name, generation) {
            return Ok(known);
        }
        let mesh = read::mesh(self.place(), connection, name, generation).await?;
        let mesh = Arc::new(mesh);
        self.cache.remember(&mesh);
        Ok(mesh)
    }

    async fn load_once(&self) -> Result<Current, StoreError> {
        let mut transaction = self.begin_read("read everything").await?;
        let generation = read::generation(self.place(), &mut transaction).await?;
        let mut current = Current {
            generation,
            ..Current::default()
        };
        for (name, generation) in read::meshes(self.place(), &mut transaction).await? {
            let mesh = self.mesh_at(&mut transaction, &name, generation).await?;
            current.meshes.insert(name, mesh);
        }
        self.cache
            .retain(generation, |name| current.meshes.contains_key(name));
        Ok(current)
    }

    async fn changes_once(&self, since: Generation) -> Result<Changes, StoreError> {
        let mut transaction = self.begin_read("read what changed").await?;
        let generation = read::generation(self.place(), &mut transaction).await?;
        let mut changes = Changes {
            generation,
            ..Changes::default()
        };
        for (name, generation) in read::meshes(self.place(), &mut transaction).await? {
            if generation > since {
                let mesh = self.mesh_at(&mut transaction, &name, generation).await?;
                changes.meshes.push(mesh);
            }
            changes.existing.push(name);
        }
        Ok(changes)
    }

    async fn write_once(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        const ACTION: &str = "write a mesh";
        let (name, place) = (&write.mesh, self.place());
        let (mut transaction, generation) = self.begin_write(ACTION, Topic::Meshes).await?;
        let generation = to_generation(place, generation)?;
        let found = read::mesh_generation(place, &mut transaction, name).await?;
        if found != write.expected {
            return Err(WriteError::Conflict {
                mesh: name.clone(),
                expected: write.expected,
                found,
            });
        }
        let current = match found {
            Generation(0) => Arc::new(MeshState::absent(name.clone())),
            found => self.mesh_at(&mut transaction, name, found).await?,
        };
        let evidence = if admission::needs_evidence(write) {
            read::evidence(place, &mut transaction, Some(name)).await?
        } else {
            Evidence::new()
        };
        let admitted = admission::decide(&current, write, &evidence, generation, clock::now());
        let admitted = admitted.map_err(|source| WriteError::Refused {
            mesh: name.clone(),
            source,
        })?;

        let difference = Difference::between(&current, &admitted, write);
        let exists = !admitted.next.resources.is_empty();
        let mut rows = write::Rows {
            place,
            connection: &mut transaction,
            mesh: name,
        };
        if exists {
            rows.write(generation, &admitted.next.progress, &difference)
                .await?;
        } else {
            rows.delete_all().await?;
        }
        rows.append_history(write.history_at(generation)).await?;
        drop(difference);
        self.commit(ACTION, transaction).await?;

        let next = exists.then(|| {
            Arc::new(MeshState {
                generation,
                ..admitted.next
            })
        });
        match &next {
            Some(next) => self.cache.remember(next),
            None => self.cache.forget(name),
        }
        self.tell(Topic::Meshes);
        Ok(Written {
            generation,
            mesh: next,
        })
    }

    async fn key_once(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        let key: Result<Option<(Vec<u8>,)>, _> =
            sqlx::query_as("SELECT key FROM authority WHERE id = $1 AND key IS NOT NULL LIMIT 1")
                .bind(id.to_string())
                .fetch_optional(&self.pool)
                .await;
        let key = key.map_err(|error| self.place().failed("read a key", error))?;
        Ok(key.map(|(key,)| SealedKey(key)))
    }

    async fn put_secret_once(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        const ACTION: &str = "keep a secret";
        let failed = |error| self.place().failed(ACTION, error);
        let (mut transaction, _) = self.begin_write(ACTION, Topic::Secrets).await?;
        sqlx::query("INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(&*secret.0)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        let (kept,): (Vec<u8>,) = sqlx::query_as("SELECT value FROM secret WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        self.commit(ACTION, transaction).await?;
        self.tell(Topic::Secrets);
        Ok(SealedKey(kept))
    }

    async fn secrets_once(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        let rows: Result<Vec<(String, Vec<u8>)>, _> = sqlx::query_as(
            "SELECT name, value FROM secret WHERE starts_with(name, $1) ORDER BY name",
        )
        .bind(prefix)
        .fetch_all(&self.pool)
        .await;
        let rows = rows.map_err(|error| self.place().failed("read secrets", error))?;
        let secrets = rows.into_iter();
        Ok(secrets
            .map(|(name, value)| (name, SealedKey(value)))
            .collect())
    }

    async fn delete_secret_once(&self, name: &str) -> Result<(), StoreError> {
        const ACTION: &str = "forget a secret";
        let (mut transaction, _) = self.begin_write(ACTION, Topic::Secrets).await?;
        sqlx::query("DELETE FROM secret WHERE name = $1")
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.place().failed(ACTION, error))?;
        self.commit(ACTION, transaction).await?;
        self.tell(Topic::Secrets);
        Ok(())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.connector.place)
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}
