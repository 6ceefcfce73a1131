//! The store in a Kubernetes cluster: a ledger in the control plane's namespace,
//! and the resources as custom resources that everyone may look at.
//!
//! The ledger (`ledger`) is what is current: pages in ConfigMaps that never
//! change, sealed keys in Secrets, and one record at the head that every write
//! replaces by compare-and-set. The custom resources show what the ledger
//! holds; what someone else writes to them is carried over to it as a call of
//! the API is (`steward`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{
    Adopter, Announced, Changes, EvidenceChanges, EvidenceMark, Leadership, MeshWrite, News, Reach,
    Replica, SealedPlace, Store, StoreError, WriteError, Written,
};
use crate::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, MeshName, ProxyEvidence,
    SealedKey, SourceName, SourceStatus, combine,
};
use cluster::{Cluster, Fault};
use names::{NAME, hashed, part};
use tree::Tree;

pub use open::{Connection, KubernetesSettings, OpenError};
pub use schema::crds;
pub use submitted::{Submitted, mesh_owner};

mod blob;
mod cluster;
mod draft;
mod evidence;
mod follow;
mod form;
mod history;
mod keys;
mod lease;
mod ledger;
mod names;
mod news;
mod objects;
mod open;
mod read;
mod schema;
mod steward;
mod submitted;
mod sweep;
mod tree;
mod write;

/// How often a compare-and-set is tried again where others write, too.
const MAX_CONFLICTS: u32 = 100;

/// Keeps everything in a namespace of a Kubernetes cluster.
#[derive(Clone)]
pub struct KubernetesStore {
    cluster: Cluster,
    /// Held by who writes a mesh.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held by who records evidence.
    recording: Arc<tokio::sync::Mutex<()>>,
    /// The meshes as they were read or written last.
    cache: Arc<Mutex<HashMap<MeshName, Arc<Tree>>>>,
    pages: Arc<tokio::sync::Mutex<evidence::Pages>>,
    /// When the leases of replicas were first seen as they are.
    seen: Arc<tokio::sync::Mutex<BTreeMap<String, lease::Seen>>>,
    news: watch::Sender<News>,
    tasks: TaskTracker,
    adopter: Arc<OnceLock<Arc<dyn Adopter>>>,
}

impl KubernetesStore {
    /// The store in the namespace `namespace` of the cluster that `client`
    /// talks to, which errors call `server`. Nothing is asked of it yet.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime: it starts to listen.
    #[must_use]
    pub fn new(client: Client, namespace: &str, server: &str) -> Self {
        let store = Self {
            cluster: Cluster::new(client, namespace, server),
            turn: Arc::default(),
            recording: Arc::default(),
            cache: Arc::default(),
            pages: Arc::default(),
            seen: Arc::default(),
            news: watch::Sender::default(),
            tasks: TaskTracker::new(),
            adopter: Arc::default(),
        };
        store.listen();
        store
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }

    /// Puts a small record in the place of whatever there was.
    async fn put_record(
        &self,
        action: &'static str,
        name: &str,
        part: &str,
        of: &str,
        text: String,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_CONFLICTS {
            let found = self.cluster.get::<ConfigMap>(action, name).await?;
            let mut meta = names::meta(name, part, &[(NAME, of)]);
            if let Some(found) = found {
                meta.resource_version = found.metadata.resource_version;
            }
            let record = ConfigMap {
                metadata: meta,
                data: Some(BTreeMap::from([(RECORD.to_owned(), text.clone())])),
                ..ConfigMap::default()
            };
            match self.cluster.put(action, &record).await {
                Ok(_) => return Ok(()),
                Err(Fault::Conflict | Fault::Missing) => {}
                Err(fault) => return Err(fault.into_error(&self.cluster, action)),
            }
        }
        Err(Fault::Conflict.into_error(&self.cluster, action))
    }
}

/// Where a small record stands in its object.
const RECORD: &str = "record.json";

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubernetesStore({})", self.cluster.at())
    }
}

#[async_trait]
impl Store for KubernetesStore {
    async fn load(&self) -> Result<Current, StoreError> {
        self.read_all().await
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        let read = ledger::read_head(&self.cluster, "read the generation").await?;
        Ok(read.head.generation)
    }

    async fn changes_since(&self, since: Generation) -> Result<Changes, StoreError> {
        self.read_changes(since).await
    }

    async fn write(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        self.write_mesh(write).await
    }

    async fn authority_key(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        self.key_of(id).await
    }

    async fn put_secret_if_absent(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        let kept = self.keep_secret(name, secret).await?;
        self.tell(|news| news.secrets += 1);
        Ok(kept)
    }

    async fn secrets(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        self.find_secrets(prefix).await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), StoreError> {
        self.forget_secret(name).await?;
        self.tell(|news| news.secrets += 1);
        Ok(())
    }

    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        self.all_sealed().await
    }

    async fn reseal(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        self.seal_anew(place, from, to).await
    }

    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        self.keep_evidence(evidence).await
    }

    async fn forget_evidence(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        self.drop_evidence(of).await
    }

    async fn evidence(&self) -> Result<Evidence, StoreError> {
        let all = self.evidence_after(EvidenceMark(0)).await?;
        Ok(combine(all.records))
    }

    async fn evidence_since(&self, since: EvidenceMark) -> Result<EvidenceChanges, StoreError> {
        self.evidence_after(since).await
    }

    async fn history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        self.read_history(before, limit).await
    }

    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError> {
        const ACTION: &str = "keep the state of a source";
        let text = serde_json::to_string(status);
        let text = text.map_err(|error| self.cluster.failed(ACTION, error))?;
        let source = status.source.as_str();
        let name = hashed("source", &[source]);
        self.put_record(ACTION, &name, part::SOURCE, source, text)
            .await?;
        self.tell(|news| news.sources += 1);
        Ok(())
    }

    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        const ACTION: &str = "read the state of a source";
        let name = hashed("source", &[source.as_str()]);
        let Some(record) = self.cluster.get::<ConfigMap>(ACTION, &name).await? else {
            return Ok(None);
        };
        let text = record.data.as_ref().and_then(|data| data.get(RECORD));
        let status = serde_json::from_str(text.map_or("", String::as_str));
        let what = || format!("state of source {source}");
        status
            .map(Some)
            .map_err(|error| self.cluster.corrupt(what(), error))
    }

    fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    fn reach(&self) -> watch::Receiver<Reach> {
        self.cluster.reach()
    }

    async fn ask_for_sync(&self) -> Result<(), StoreError> {
        let nonce = self.cluster.nonce();
        self.put_record("ask for a reconcile", names::SYNC, part::SYNC, "", nonce)
            .await?;
        self.tell(|news| news.sync += 1);
        Ok(())
    }

    async fn lead(&self, replica: &str) -> Result<Leadership, StoreError> {
        self.become_leader(replica).await
    }

    async fn announce(&self, replica: &Replica) -> Result<(), StoreError> {
        self.put_replica(replica).await
    }

    async fn replicas(&self) -> Result<Vec<Announced>, StoreError> {
        self.list_replicas().await
    }

    async fn forget_replica(&self, name: &str) -> Result<(), StoreError> {
        self.delete_replica(name).await
    }

    fn adopt_with(&self, adopter: Arc<dyn Adopter>) {
        // Whoever came first stays.
        let _ = self.adopter.set(adopter);
    }

    async fn close(&self) {
        let _turn = self.turn.lock().await;
        let _recording = self.recording.lock().await;
        self.cluster.closed().cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
