//! A store of which the API may ask for the history alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;
use windlass::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, ProxyEvidence,
    SealedKey, SourceName, SourceStatus,
};
use windlass::store::{
    Announced, Changes, EvidenceChanges, EvidenceMark, Leadership, MeshWrite, News, Reach, Replica,
    SealedPlace, Store, StoreError, WriteError, Written,
};

use super::control_plane::{COMMIT, now};

/// The part of a store that the API asks.
#[derive(Debug, Default)]
pub(crate) struct HistoryOnly {
    pub(crate) broken: AtomicBool,
    pub(crate) asked_for_sync: AtomicBool,
    pub(crate) last_limit: AtomicUsize,
}

#[async_trait]
impl Store for HistoryOnly {
    async fn history(
        &self,
        _: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.last_limit.store(limit, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Database {
                action: "read the history",
                at: "a test".to_owned(),
                source: "the secret reason".into(),
            });
        }
        Ok(vec![HistoryEntry {
            at: now(),
            generation: Generation(7),
            mesh: "default".parse().unwrap(),
            revision: Some(format!("main@sha1:{COMMIT}").parse().unwrap()),
            steps: vec!["enable mTLS".to_owned(), "bell \u{7} rung".to_owned()],
            gates: Vec::new(),
            ended: None,
        }])
    }

    async fn load(&self) -> Result<Current, StoreError> {
        not_asked()
    }
    async fn generation(&self) -> Result<Generation, StoreError> {
        not_asked()
    }
    async fn changes_since(&self, _: Generation) -> Result<Changes, StoreError> {
        not_asked()
    }
    async fn write(&self, _: &MeshWrite) -> Result<Written, WriteError> {
        not_asked()
    }
    async fn authority_key(&self, _: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        not_asked()
    }
    async fn put_secret_if_absent(&self, _: &str, _: &SealedKey) -> Result<SealedKey, StoreError> {
        not_asked()
    }
    async fn secrets(&self, _: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        not_asked()
    }
    async fn delete_secret(&self, _: &str) -> Result<(), StoreError> {
        not_asked()
    }
    async fn record_evidence(&self, _: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        not_asked()
    }
    async fn evidence(&self) -> Result<Evidence, StoreError> {
        not_asked()
    }
    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        not_asked()
    }
    async fn reseal(
        &self,
        _: &SealedPlace,
        _: &SealedKey,
        _: &SealedKey,
    ) -> Result<bool, StoreError> {
        not_asked()
    }
    async fn forget_evidence(&self, _: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        not_asked()
    }
    async fn evidence_since(&self, _: EvidenceMark) -> Result<EvidenceChanges, StoreError> {
        not_asked()
    }
    fn news(&self) -> watch::Receiver<News> {
        watch::Sender::default().subscribe()
    }
    fn reach(&self) -> watch::Receiver<Reach> {
        watch::Sender::default().subscribe()
    }
    async fn ask_for_sync(&self) -> Result<(), StoreError> {
        self.asked_for_sync.store(true, Ordering::SeqCst);
        Ok(())
    }
    async fn lead(&self, _: &str) -> Result<Leadership, StoreError> {
        not_asked()
    }
    async fn announce(&self, _: &Replica) -> Result<(), StoreError> {
        not_asked()
    }
    async fn replicas(&self) -> Result<Vec<Announced>, StoreError> {
        not_asked()
    }
    async fn forget_replica(&self, _: &str) -> Result<(), StoreError> {
        not_asked()
    }
    async fn put_source_status(&self, _: &SourceStatus) -> Result<(), StoreError> {
        not_asked()
    }
    async fn source_status(&self, _: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        not_asked()
    }
    async fn close(&self) {}
}

fn not_asked() -> ! {
    panic!("the API asks the store for the history alone")
}
