//! The embedded store: one SQLite file with its write-ahead log.
//!
//! One connection writes, a few read. What is acknowledged outlives a power
//! loss (`synchronous = FULL`), and what is deleted is overwritten
//! (`secure_delete`, and a truncated log where a key was destroyed).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission;
use super::cache::Cache;
use super::difference::Difference;
use super::place::Place;
use super::{
    Announced, Changes, EvidenceChanges, EvidenceMark, Leadership, MeshWrite, News, Reach, Replica,
    SealedPlace, Store, StoreError, WriteError, Written,
};
use crate::clock;
use crate::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, MeshName, MeshState,
    ProxyEvidence, SealedKey, SourceName, SourceStatus,
};
use open::Access;

mod open;
mod place;
mod read;
#[cfg(test)]
mod tests;
mod write;

/// Keeps everything in one SQLite file.
pub struct SqliteStore {
    place: Place,
    writer: SqlitePool,
    readers: SqlitePool,
    cache: Cache,
    /// Whether the log may still hold a key that was destroyed.
    scrub: AtomicBool,
    /// What this process wrote; what others write is seen by who looks.
    news: watch::Sender<News>,
    reach: watch::Sender<Reach>,
    /// Held by who reconciles. The lock of the state folder keeps other
    /// processes out.
    lead: Arc<tokio::sync::Mutex<()>>,
}

impl SqliteStore {
    /// Opens the database at `path`. Where there is none it is made, with its
    /// folder, for this user alone; where it is an older version's, it is brought
    /// up to date in one transaction.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be made or opened, is locked, damaged,
    /// another program's or a newer version's.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        open::open(path, Access::Write { pages: None }).await
    }

    /// Opens the database at `path` to look at it, perhaps while another process
    /// writes: nothing is made or brought up to date, and writing fails.
    ///
    /// # Errors
    ///
    /// Fails as [`SqliteStore::open`] does, and where there is no database or
    /// an older version's.
    pub async fn open_for_reading(path: &Path) -> Result<Self, StoreError> {
        open::open(path, Access::Read).await
    }

    async fn begin_read(
        &self,
        action: &'static str,
    ) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.readers.begin().await;
        begun.map_err(|error| self.place.failed(action, error))
    }

    /// Begins a transaction that holds the write lock from the start, so that
    /// what it reads is still so when it writes.
    async fn begin_write(
        &self,
        action: &'static str,
    ) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| self.place.failed(action, error))
    }

    async fn commit(
        &self,
        action: &'static str,
        transaction: Transaction<'static, Sqlite>,
    ) -> Result<(), StoreError> {
        let committed = transaction.commit().await;
        committed.map_err(|error| self.place.failed(action, error))
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }

    /// The mesh at `generation`, which its row has in this transaction.
    async fn mesh_at(
        &self,
        connection: &mut SqliteConnection,
        name: &MeshName,
        generation: Generation,
    ) -> Result<Arc<MeshState>, StoreError> {
        if let Some(known) = self.cache.get(name, generation) {
            return Ok(known);
        }
        let mesh = read::mesh(&self.place, connection, name, generation).await?;
        let mesh = Arc::new(mesh);
        self.cache.remember(&mesh);
        Ok(mesh)
    }

    /// Empties the log where it may still hold a key that was destroyed. What
    /// cannot be done now is done after the next write, or at the next start.
    async fn scrub(&self) {
        if self.scrub.load(Ordering::Acquire) && open::empty_log(&self.writer).await {
            self.scrub.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqliteStore({})", self.place)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Current, StoreError> {
        let mut transaction = self.begin_read("read everything").await?;
        let generation = read::generation(&self.place, &mut transaction).await?;
        let mut current = Current {
            generation,
            ..Current::default()
        };
        for (name, generation) in read::meshes(&self.place, &mut transaction).await? {
            let mesh = self.mesh_at(&mut transaction, &name, generation).await?;
            current.meshes.insert(name, mesh);
        }
        self.cache
            .retain(generation, |name| current.meshes.contains_key(name));
        Ok(current)
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        let connection = self.readers.acquire().await;
        let mut connection =
            connection.map_err(|error| self.place.failed("read the generation", error))?;
        read::generation(&self.place, &mut connection).await
    }

    async fn changes_since(&self, since: Generation) -> Result<Changes, StoreError> {
        let mut transaction = self.begin_read("read what changed").await?;
        let generation = read::generation(&self.place, &mut transaction).await?;
        let mut changes = Changes {
            generation,
            ..Changes::default()
        };
        for (name, generation) in read::meshes(&self.place, &mut transaction).await? {
            if generation > since {
                let mesh = self.mesh_at(&mut transaction, &name, generation).await?;
                changes.meshes.push(mesh);
            }
            changes.existing.push(name);
        }
        Ok(changes)
    }

    async fn write(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        const ACTION: &str = "write a mesh";
        let name = &write.mesh;
        let mut transaction = self.begin_write(ACTION).await?;
        let found = read::mesh_generation(&self.place, &mut transaction, name).await?;
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
            read::evidence(&self.place, &mut transaction, Some(name)).await?
        } else {
            Evidence::new()
        };
        let generation = write::next_generation(&self.place, &mut transaction).await?;
        let admitted = admission::decide(&current, write, &evidence, generation, clock::now());
        let admitted = admitted.map_err(|source| WriteError::Refused {
            mesh: name.clone(),
            source,
        })?;

        let difference = Difference::between(&current, &admitted, write);
        let exists = !admitted.next.resources.is_empty();
        let scrub = difference.destroys_keys() || (!exists && !current.authorities.is_empty());
        let mut rows = write::Rows::new(&self.place, &mut transaction, name);
        if exists {
            rows.write(generation, &admitted.next.progress, &difference)
                .await?;
        } else {
            rows.delete_all().await?;
        }
        rows.append_history(write.history_at(generation)).await?;
        drop(difference);
        if scrub {
            self.scrub.store(true, Ordering::Release);
        }
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
        self.tell(|news| news.meshes += 1);
        self.scrub().await;
        Ok(Written {
            generation,
            mesh: next,
        })
    }

    async fn authority_key(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        let key: Result<Option<(Vec<u8>,)>, _> =
            sqlx::query_as("SELECT key FROM authority WHERE id = ? AND key IS NOT NULL LIMIT 1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await;
        let key = key.map_err(|error| self.place.failed("read a key", error))?;
        Ok(key.map(|(key,)| SealedKey(key)))
    }

    async fn put_secret_if_absent(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        const ACTION: &str = "keep a secret";
        let mut transaction = self.begin_write(ACTION).await?;
        write::secret(&mut transaction, name, secret)
            .await
            .map_err(|error| self.place.failed(ACTION, error))?;
        let (kept,): (Vec<u8>,) = sqlx::query_as("SELECT value FROM secret WHERE name = ?")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await
            .map_err(|error| self.place.failed(ACTION, error))?;
        self.commit(ACTION, transaction).await?;
        self.tell(|news| news.secrets += 1);
        Ok(SealedKey(kept))
    }

    async fn secrets(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        let rows: Result<Vec<(String, Vec<u8>)>, _> = sqlx::query_as(
            "SELECT name, value FROM secret WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
        )
        .bind(prefix)
        .fetch_all(&self.readers)
        .await;
        let rows = rows.map_err(|error| self.place.failed("read secrets", error))?;
        let secrets = rows.into_iter();
        Ok(secrets
            .map(|(name, value)| (name, SealedKey(value)))
            .collect())
    }

    async fn delete_secret(&self, name: &str) -> Result<(), StoreError> {
        const ACTION: &str = "forget a secret";
        let mut transaction = self.begin_write(ACTION).await?;
        sqlx::query("DELETE FROM secret WHERE name = ?")
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.place.failed(ACTION, error))?;
        self.scrub.store(true, Ordering::Release);
        self.commit(ACTION, transaction).await?;
        self.tell(|news| news.secrets += 1);
        self.scrub().await;
        Ok(())
    }

    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        let mut transaction = self.begin_read("read what is sealed").await?;
        read::sealed(&self.place, &mut transaction).await
    }

    async fn reseal(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "seal a key anew";
        let mut transaction = self.begin_write(ACTION).await?;
        let resealed = write::reseal(&self.place, &mut transaction, place, from, to).await?;
        self.scrub.store(true, Ordering::Release);
        self.commit(ACTION, transaction).await?;
        self.scrub().await;
        Ok(resealed)
    }

    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        const ACTION: &str = "record evidence";
        if evidence.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin_write(ACTION).await?;
        write::evidence(&self.place, &mut transaction, evidence).await?;
        self.commit(ACTION, transaction).await?;
        self.tell(|news| news.evidence += 1);
        Ok(())
    }

    async fn forget_evidence(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        const ACTION: &str = "forget evidence";
        let mut transaction = self.begin_write(ACTION).await?;
        for (dataplane, replica) in of {
            sqlx::query("DELETE FROM evidence WHERE mesh = ? AND name = ? AND replica = ?")
                .bind(dataplane.mesh.as_str())
                .bind(dataplane.name.as_str())
                .bind(&**replica)
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.place.failed(ACTION, error))?;
        }
        self.commit(ACTION, transaction).await
    }

    async fn evidence(&self) -> Result<Evidence, StoreError> {
        let mut transaction = self.begin_read("read evidence").await?;
        read::evidence(&self.place, &mut transaction, None).await
    }

    async fn evidence_since(&self, since: EvidenceMark) -> Result<EvidenceChanges, StoreError> {
        let mut transaction = self.begin_read("read evidence").await?;
        read::evidence_since(&self.place, &mut transaction, since).await
    }

    async fn history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut transaction = self.begin_read("read the history").await?;
        read::history(&self.place, &mut transaction, before, limit).await
    }

    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError> {
        const ACTION: &str = "keep the state of a source";
        let mut transaction = self.begin_write(ACTION).await?;
        write::source_status(&self.place, &mut transaction, status).await?;
        self.commit(ACTION, transaction).await?;
        self.tell(|news| news.sources += 1);
        Ok(())
    }

    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        let mut transaction = self.begin_read("read the state of a source").await?;
        read::source_status(&self.place, &mut transaction, source).await
    }

    fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    async fn ask_for_sync(&self) -> Result<(), StoreError> {
        self.tell(|news| news.sync += 1);
        Ok(())
    }

    async fn lead(&self, _: &str) -> Result<Leadership, StoreError> {
        let held = Arc::clone(&self.lead).lock_owned().await;
        Ok(Leadership::new(CancellationToken::new(), held))
    }

    async fn announce(&self, replica: &Replica) -> Result<(), StoreError> {
        const ACTION: &str = "announce a replica";
        let mut transaction = self.begin_write(ACTION).await?;
        write::replica(&self.place, &mut transaction, replica, clock::now()).await?;
        self.commit(ACTION, transaction).await
    }

    async fn replicas(&self) -> Result<Vec<Announced>, StoreError> {
        let mut transaction = self.begin_read("read the replicas").await?;
        read::replicas(&self.place, &mut transaction, clock::now()).await
    }

    async fn forget_replica(&self, name: &str) -> Result<(), StoreError> {
        const ACTION: &str = "forget a replica";
        let mut transaction = self.begin_write(ACTION).await?;
        sqlx::query("DELETE FROM replica WHERE name = ?")
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.place.failed(ACTION, error))?;
        self.commit(ACTION, transaction).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
