//! Serves what the store holds: takes in what anyone writes, and publishes it.
//!
//! Every replica follows the store all the time; the one that reconciles does so
//! between its own writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Current, MeshName};
use crate::state::{self, Publisher};
use crate::store::{Store, StoreError};

/// The one that publishes.
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    current: Arc<Current>,
    /// Whether some authority could not be made ready to sign, which may pass.
    unusable: bool,
}

impl Follower {
    /// A follower that has seen the store as `current`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, publisher: Arc<Publisher>, current: Arc<Current>) -> Self {
        Self {
            store,
            publisher,
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
        self.serve(current).await;
        Ok(Some(touched))
    }

    /// Serves a new current state.
    pub async fn serve(&mut self, current: Arc<Current>) {
        self.current = Arc::clone(&current);
        self.unusable = !self.publisher.publish(current).await;
    }
}
