//! The meshes as they were read or written last, so that what did not change
//! is neither read nor built again, and is shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Generation, MeshName, MeshState};

/// Meshes by name. One is used only where its generation is still the stored one.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<MeshName, Arc<MeshState>>>);

impl Cache {
    /// The mesh at that generation, where it is known.
    pub(super) fn get(&self, name: &MeshName, generation: Generation) -> Option<Arc<MeshState>> {
        let known = self.content().get(name).cloned();
        known.filter(|known| known.generation == generation)
    }

    /// Keeps a mesh, unless a newer state of it is known.
    pub(super) fn remember(&self, mesh: &Arc<MeshState>) {
        let mut content = self.content();
        let known = content.get(&mesh.name).map(|known| known.generation);
        if known.is_none_or(|known| known < mesh.generation) {
            content.insert(mesh.name.clone(), mesh.clone());
        }
    }

    /// Forgets a mesh.
    pub(super) fn forget(&self, name: &MeshName) {
        self.content().remove(name);
    }

    /// Forgets the meshes that are gone at `generation`, where only these are left.
    pub(super) fn retain(&self, generation: Generation, is_left: impl Fn(&MeshName) -> bool) {
        self.content()
            .retain(|name, mesh| mesh.generation > generation || is_left(name));
    }

    fn content(&self) -> MutexGuard<'_, HashMap<MeshName, Arc<MeshState>>> {
        // Each change of the map is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
