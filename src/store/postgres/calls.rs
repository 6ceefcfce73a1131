//! What the store is asked for, tried again where a connection was lost.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::again::Twice;
use super::topic::Topic;
use super::{PostgresStore, lead, read, write};
use crate::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, ProxyEvidence,
    SealedKey, SourceName, SourceStatus,
};
use crate::store::{
    Announced, Changes, EvidenceChanges, EvidenceMark, Leadership, MeshWrite, News, Reach, Replica,
    SealedPlace, Store, StoreError, WriteError, Written,
};

impl PostgresStore {
    async fn sealed_once(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        let mut transaction = self.begin_read("read what is sealed").await?;
        read::sealed(self.place(), &mut transaction).await
    }

    /// No turn is taken: it changes one row, and waits for who changes it.
    async fn reseal_once(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "seal a key anew";
        let begun = self.pool.begin().await;
        let mut transaction = begun.map_err(|error| self.place().failed(ACTION, error))?;
        let resealed = write::reseal(self.place(), &mut transaction, place, from, to).await?;
        self.commit(ACTION, transaction).await?;
        Ok(resealed)
    }

    async fn record_once(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        const ACTION: &str = "record evidence";
        let (mut transaction, mark) = self.begin_write(ACTION, Topic::Evidence).await?;
        write::evidence(self.place(), &mut transaction, evidence, mark).await?;
        self.commit(ACTION, transaction).await?;
        self.tell(Topic::Evidence);
        Ok(())
    }

    async fn forget_once(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        const ACTION: &str = "forget evidence";
        let begun = self.pool.begin().await;
        let mut transaction = begun.map_err(|error| self.place().failed(ACTION, error))?;
        // Its turn, as everyone who writes several rows has one: no two wait
        // for each other.
        sqlx::query("SELECT 1 FROM store FOR UPDATE")
            .execute(&mut *transaction)
            .await
            .map_err(|error| self.place().failed(ACTION, error))?;
        write::forget_evidence(self.place(), &mut transaction, of).await?;
        self.commit(ACTION, transaction).await
    }

    async fn evidence_once(&self) -> Result<Evidence, StoreError> {
        let mut transaction = self.begin_read("read evidence").await?;
        read::evidence(self.place(), &mut transaction, None).await
    }

    async fn evidence_since_once(
        &self,
        since: EvidenceMark,
    ) -> Result<EvidenceChanges, StoreError> {
        let mut transaction = self.begin_read("read evidence").await?;
        read::evidence_since(self.place(), &mut transaction, since).await
    }

    async fn put_status_once(&self, status: &SourceStatus) -> Result<(), StoreError> {
        const ACTION: &str = "keep the state of a source";
        let (mut transaction, _) = self.begin_write(ACTION, Topic::Sources).await?;
        sqlx::query(
            "INSERT INTO source (name, document) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET document = excluded.document",
        )
        .bind(status.source.as_str())
        .bind(self.place().encode(status)?)
        .execute(&mut *transaction)
        .await
        .map_err(|error| self.place().failed(ACTION, error))?;
        self.commit(ACTION, transaction).await?;
        self.tell(Topic::Sources);
        Ok(())
    }

    async fn ask_once(&self) -> Result<(), StoreError> {
        const ACTION: &str = "ask for a reconcile";
        let (transaction, _) = self.begin_write(ACTION, Topic::Sync).await?;
        self.commit(ACTION, transaction).await?;
        self.tell(Topic::Sync);
        Ok(())
    }

    async fn announce_once(&self, replica: &Replica) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO replica (name, seen, document) VALUES ($1, clock_timestamp(), $2) \
             ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, document = excluded.document",
        )
        .bind(&*replica.name)
        .bind(self.place().encode(replica)?)
        .execute(&self.pool)
        .await
        .map_err(|error| self.place().failed("announce a replica", error))?;
        Ok(())
    }

    async fn forget_replica_once(&self, name: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM replica WHERE name = $1")
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(|error| self.place().failed("forget a replica", error))?;
        Ok(())
    }

    async fn generation_once(&self) -> Result<Generation, StoreError> {
        let mut connection = self.acquire("read the generation").await?;
        read::generation(self.place(), &mut connection).await
    }

    async fn history_once(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut connection = self.acquire("read the history").await?;
        read::history(self.place(), &mut connection, before, limit).await
    }

    async fn status_once(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        let mut connection = self.acquire("read the state of a source").await?;
        read::source_status(self.place(), &mut connection, source).await
    }

    async fn replicas_once(&self) -> Result<Vec<Announced>, StoreError> {
        let mut connection = self.acquire("read the replicas").await?;
        read::replicas(self.place(), &mut connection).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self) -> Result<Current, StoreError> {
        self.again(Twice::IsOnce, "read everything", || self.load_once())
            .await
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        self.again(Twice::IsOnce, "read the generation", || {
            self.generation_once()
        })
        .await
    }

    async fn changes_since(&self, since: Generation) -> Result<Changes, StoreError> {
        self.again(Twice::IsOnce, "read what changed", || {
            self.changes_once(since)
        })
        .await
    }

    async fn write(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        // Where it was done and nobody knows, doing it again is a conflict: the
        // caller hears of the one or of the other, and looks.
        self.again(Twice::IsNot, "write a mesh", || self.write_once(write))
            .await
    }

    async fn authority_key(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        self.again(Twice::IsOnce, "read a key", || self.key_once(id))
            .await
    }

    async fn put_secret_if_absent(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        self.again(Twice::IsOnce, "keep a secret", || {
            self.put_secret_once(name, secret)
        })
        .await
    }

    async fn secrets(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        self.again(Twice::IsOnce, "read secrets", || self.secrets_once(prefix))
            .await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), StoreError> {
        self.again(Twice::IsOnce, "forget a secret", || {
            self.delete_secret_once(name)
        })
        .await
    }

    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        self.again(Twice::IsOnce, "read what is sealed", || self.sealed_once())
            .await
    }

    async fn reseal(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        self.again(Twice::IsNot, "seal a key anew", || {
            self.reseal_once(place, from, to)
        })
        .await
    }

    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        if evidence.is_empty() {
            return Ok(());
        }
        self.again(Twice::IsOnce, "record evidence", || {
            self.record_once(evidence)
        })
        .await
    }

    async fn forget_evidence(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        if of.is_empty() {
            return Ok(());
        }
        self.again(Twice::IsOnce, "forget evidence", || self.forget_once(of))
            .await
    }

    async fn evidence(&self) -> Result<Evidence, StoreError> {
        self.again(Twice::IsOnce, "read evidence", || self.evidence_once())
            .await
    }

    async fn evidence_since(&self, since: EvidenceMark) -> Result<EvidenceChanges, StoreError> {
        self.again(Twice::IsOnce, "read evidence", || {
            self.evidence_since_once(since)
        })
        .await
    }

    async fn history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.again(Twice::IsOnce, "read the history", || {
            self.history_once(before, limit)
        })
        .await
    }

    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError> {
        self.again(Twice::IsOnce, "keep the state of a source", || {
            self.put_status_once(status)
        })
        .await
    }

    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        self.again(Twice::IsOnce, "read the state of a source", || {
            self.status_once(source)
        })
        .await
    }

    fn news(&self) -> watch::Receiver<News> {
        self.ears.news.subscribe()
    }

    fn reach(&self) -> watch::Receiver<Reach> {
        self.ears.reach.subscribe()
    }

    async fn ask_for_sync(&self) -> Result<(), StoreError> {
        self.again(Twice::IsOnce, "ask for a reconcile", || self.ask_once())
            .await
    }

    async fn lead(&self, replica: &str) -> Result<Leadership, StoreError> {
        let leading = lead::lead(&self.connector, replica, &self.closed);
        let led = self.closed.run_until_cancelled(leading).await;
        led.ok_or_else(|| self.place().failed("lead", sqlx::Error::PoolClosed))
    }

    async fn announce(&self, replica: &Replica) -> Result<(), StoreError> {
        self.again(Twice::IsOnce, "announce a replica", || {
            self.announce_once(replica)
        })
        .await
    }

    async fn replicas(&self) -> Result<Vec<Announced>, StoreError> {
        self.again(Twice::IsOnce, "read the replicas", || self.replicas_once())
            .await
    }

    async fn forget_replica(&self, name: &str) -> Result<(), StoreError> {
        self.again(Twice::IsOnce, "forget a replica", || {
            self.forget_replica_once(name)
        })
        .await
    }

    async fn close(&self) {
        self.closed.cancel();
        self.pool.close().await;
    }
}
