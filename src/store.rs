//! The store: what is current. One trait, one contract, several databases.
//!
//! A store keeps resources with their origin, authorities with their sealed
//! keys, other sealed secrets, evidence, history and the sources' progress. It
//! never sees a key in clear: [`encryption`] seals before and opens after.
//!
//! Every write of a mesh is one transaction that compares the mesh's
//! generation and passes [`admission`], from whomever it comes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

pub use error::{StoreError, WriteError};
pub use replicas::{Announced, Leadership, News, Reach, Replica};

use crate::model::{
    Authority, AuthorityId, AuthorityState, Current, DataplaneId, DesiredResource, Evidence,
    Generation, HistoryEntry, MeshName, MeshState, Posture, ProxyEvidence, ResourceKey, Rules,
    SealedKey, SourceName, SourceStatus, StoredResource, Transition,
};

/// One change inside a [`MeshWrite`]. Doing one twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates or replaces a resource. The key of a ProvidedCa is left out: it
    /// is kept with the authority.
    PutResource(StoredResource),
    /// Deletes a resource; nothing happens where it is gone.
    DeleteResource(ResourceKey),
    /// Adds an authority, staged, with its key.
    AddAuthority(Authority, SealedKey),
    /// Moves an authority on, or back to staged. Becoming revoked destroys its key.
    MoveAuthority(AuthorityId, AuthorityState),
    /// Forgets a revoked authority.
    ForgetAuthority(AuthorityId),
    /// Secures the connections of the mesh in another way, one posture at a time.
    Secure(Posture),
    /// Makes every connection end that was authenticated before.
    Drain,
    /// Notes how transitions are carried out, and the one that runs.
    Note(Rules, Option<Box<Transition>>),
}

/// What is written to one mesh in one transaction. Where no resource is left
/// after it, the mesh itself is gone with its authorities and their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshWrite {
    /// The mesh.
    pub mesh: MeshName,
    /// The generation that the writer has seen; 0 where the mesh is absent.
    pub expected: Generation,
    /// The changes, in order.
    pub operations: Vec<Operation>,
    /// What the history will say of it; the store sets its mesh and generation.
    pub history: Option<HistoryEntry>,
}

impl MeshWrite {
    /// The line that the history gets for this write, once it is done.
    fn history_at(&self, generation: Generation) -> Option<HistoryEntry> {
        self.history.clone().map(|entry| HistoryEntry {
            generation,
            mesh: self.mesh.clone(),
            ..entry
        })
    }
}

/// What a write left behind.
#[derive(Debug, Clone)]
pub struct Written {
    /// The store's generation, and the mesh's.
    pub generation: Generation,
    /// The mesh as it is now; `None` where it is gone.
    pub mesh: Option<Arc<MeshState>>,
}

/// What changed since a generation.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The store's generation now.
    pub generation: Generation,
    /// The meshes that were written since.
    pub meshes: Vec<Arc<MeshState>>,
    /// The names of all meshes that exist: what is missing here is gone.
    pub existing: Vec<MeshName>,
}

/// How often evidence has been recorded; 0 is before the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EvidenceMark(pub u64);

/// What was recorded of proxies since a mark.
#[derive(Debug, Clone, Default)]
pub struct EvidenceChanges {
    /// The mark now.
    pub mark: EvidenceMark,
    /// What each replica knows of each proxy, as far as it was recorded since.
    /// What went with its Dataplane is not told of: the mesh was written then.
    pub records: Vec<Arc<ProxyEvidence>>,
}

/// Where something is kept that is sealed to the store's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SealedPlace {
    /// The key of an authority.
    Authority {
        /// Its mesh.
        mesh: MeshName,
        /// Which.
        id: AuthorityId,
    },
    /// A secret of that name.
    Secret(String),
}

/// Where Windlass keeps what is current.
///
/// Every call may be dropped before it is done: the store is whole, and a
/// write is done or is not, perhaps a moment after it was dropped.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Everything, in one consistent snapshot.
    async fn load(&self) -> Result<Current, StoreError>;

    /// The generation now. Cheap: it is asked on every poll.
    async fn generation(&self) -> Result<Generation, StoreError>;

    /// The meshes that were written after `since`, in one consistent snapshot.
    async fn changes_since(&self, since: Generation) -> Result<Changes, StoreError>;

    /// Writes one mesh: all of it, or nothing. A write that is done raises the
    /// generation, even where it changes nothing.
    async fn write(&self, write: &MeshWrite) -> Result<Written, WriteError>;

    /// The sealed key of an authority; `None` once it is destroyed. Where
    /// several meshes share a certificate they share its key, too.
    async fn authority_key(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError>;

    /// Keeps a secret under `name` unless there is one, and returns the one
    /// that is kept: of several writers, all get the first one's.
    async fn put_secret_if_absent(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError>;

    /// The secrets whose names start with `prefix`, in the order of their names.
    async fn secrets(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError>;

    /// Forgets a secret; nothing happens where there is none.
    async fn delete_secret(&self, name: &str) -> Result<(), StoreError>;

    /// Everything that is sealed, in the order of its places.
    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError>;

    /// Puts `to` in the place of `from`, which is the same sealed anew; whether
    /// `from` was still there. No generation rises: nothing is other than before.
    async fn reseal(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError>;

    /// Keeps what a replica knows of proxies, in place of what that same replica
    /// ([`ProxyEvidence::replica`]) knew of them before. Not part of a mesh's
    /// generation. It goes with its Dataplane, and is not kept where there is none.
    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError>;

    /// Forgets what these replicas knew of these proxies.
    async fn forget_evidence(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError>;

    /// What every known proxy has acknowledged, over all replicas.
    async fn evidence(&self) -> Result<Evidence, StoreError>;

    /// What was recorded after `since`; all of it from mark 0. Nothing that was
    /// recorded before the mark that comes with it is missing.
    async fn evidence_since(&self, since: EvidenceMark) -> Result<EvidenceChanges, StoreError>;

    /// The newest `limit` entries of the history below the generation `before`,
    /// newest first.
    async fn history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Keeps how far a source has come.
    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError>;

    /// How far a source has come.
    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError>;

    /// Counts what may have changed, by whomever.
    fn news(&self) -> watch::Receiver<News>;

    /// Whether the store answers.
    fn reach(&self) -> watch::Receiver<Reach>;

    /// Asks the replica that reconciles to do so now.
    async fn ask_for_sync(&self) -> Result<(), StoreError>;

    /// Waits until no other replica reconciles, and keeps it so.
    async fn lead(&self, replica: &str) -> Result<Leadership, StoreError>;

    /// Tells the other replicas that this one lives; again and again.
    async fn announce(&self, replica: &Replica) -> Result<(), StoreError>;

    /// The replicas that announced themselves, in the order of their names.
    async fn replicas(&self) -> Result<Vec<Announced>, StoreError>;

    /// Forgets a replica; nothing happens where there is none.
    async fn forget_replica(&self, name: &str) -> Result<(), StoreError>;

    /// Where others can write resources past Windlass, what they wrote goes this
    /// way from now on, while this replica leads. Elsewhere nobody can.
    fn adopt_with(&self, _: Arc<dyn Adopter>) {}

    /// Waits for writes in progress and closes. Later calls fail.
    async fn close(&self);
}

/// Carries over what someone wrote past Windlass, as a call of the API: under
/// the same rules, or not at all.
#[async_trait]
pub trait Adopter: fmt::Debug + Send + Sync {
    /// Makes the resource `key` what `after` says; `None` deletes it.
    ///
    /// # Errors
    ///
    /// Fails with what is wrong with it, or why it cannot be done now.
    async fn adopt(
        &self,
        key: &ResourceKey,
        after: Option<Arc<DesiredResource>>,
    ) -> Result<(), NotAdopted>;
}

/// What someone wrote past Windlass and is not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdopted {
    /// It breaks a rule: what is wrong, a line each.
    Refused(Vec<String>),
    /// It may go better later.
    Later(String),
}

pub mod admission;
mod cache;
mod difference;
pub mod encryption;
mod error;
pub mod kubernetes;
pub mod memory;
mod place;
pub mod postgres;
pub mod rekey;
mod replicas;
mod rows;
pub mod sqlite;
