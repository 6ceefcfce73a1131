//! Serves what the store holds: takes in what anyone writes, and publishes it.
//!
//! Every replica follows the store all the time; the one that reconciles does so
//! between its own writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock;
use crate::model::{Current, MeshName, MeshState};
use crate::state::{self, Publisher};
use crate::store::{Store, StoreError};
use crate::xds::evidence::EvidenceBoard;

/// The one that publishes.
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    /// What proxies have acknowledged.
    evidence: Option<Arc<EvidenceBoard>>,
    current: Arc<Current>,
    /// Whether some authority could not be made ready to sign, which may pass.
    unusable: bool,
}

impl Follower {
    /// A follower that has seen the store as `current`; with what proxies have
    /// acknowledged, where it is kept.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        evidence: Option<Arc<EvidenceBoard>>,
        current: Arc<Current>,
    ) -> Self {
        Self {
            store,
            publisher,
            evidence,
            current,
            unusable: true,
        }
    }

    /// What it has seen last.
    #[must_use]
    pub fn current(&self) -> &Arc<Current> {
        &self.current
    }

    /// Serves what was written since the last look, and returns the meshes that
    /// were; `None` where nothing was.
    ///
    /// # Errors
    ///
    /// Fails when the store does; what was last seen stays.
    pub async fn refresh(&mut self) -> Result<Option<BTreeSet<MeshName>>, StoreError> {
        let generation = self.store.generation().await?;
        if generation == self.current.generation {
            if self.unusable {
                self.serve(Arc::clone(&self.current)).await;
            }
            return Ok(None);
        }
        let changes = self.store.changes_since(self.current.generation).await?;
        let gone = self
            .current
            .meshes
            .keys()
            .filter(|name| !changes.existing.contains(name));
        let written = changes.meshes.iter().map(|mesh| &mesh.name);
        let touched = gone.chain(written).cloned().collect();
        let current = Arc::new(state::merge(&self.current, &changes));
        if let Some(evidence) = &self.evidence
            && has_hidden_deletions(&self.current, &current)
        {
            // A Dataplane may be back that was deleted, with all that was on record
            // of it: its proxy is served here, and nobody would know.
            evidence.reload(&*self.store, clock::now()).await?;
            evidence.flush_evidence(&*self.store).await?;
        }
        self.serve(current).await;
        Ok(Some(touched))
    }

    /// Serves a new current state.
    pub async fn serve(&mut self, current: Arc<Current>) {
        self.current = Arc::clone(&current);
        self.unusable = !self.publisher.publish(current).await;
    }
}

/// Whether more Dataplanes were deleted between the two than are missing: some
/// may be back.
fn has_hidden_deletions(before: &Current, after: &Current) -> bool {
    before.meshes.values().any(|mesh| {
        let Some(now) = after.meshes.get(&mesh.name) else {
            return false;
        };
        let deletions = |it: &MeshState| it.progress.deletions;
        if deletions(now) == deletions(mesh) {
            return false;
        }
        let missing = mesh
            .dataplanes()
            .filter(|it| now.dataplane(&it.name).is_none());
        let missing = u64::try_from(missing.count()).unwrap_or(u64::MAX);
        deletions(now) != deletions(mesh).saturating_add(missing)
    })
}
