//! A store that forgets: for tests, and for plans between two revisions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::admission;
use super::difference::{Difference, KeyChange};
use super::{Changes, MeshWrite, Store, StoreError, WriteError, Written};
use crate::clock;
use crate::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, MeshName, MeshState,
    ProxyEvidence, SealedKey, SourceName, SourceStatus,
};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    current: Current,
    keys: BTreeMap<(AuthorityId, MeshName), SealedKey>,
    secrets: BTreeMap<String, SealedKey>,
    evidence: Evidence,
    history: Vec<HistoryEntry>,
    sources: BTreeMap<SourceName, SourceStatus>,
}

impl MemoryStore {
    /// A store that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing panics between two changes that belong together.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn write(&mut self, write: &MeshWrite) -> Result<Written, WriteError> {
        let mesh = &write.mesh;
        let current = self.current.meshes.get(mesh).cloned();
        let current = current.unwrap_or_else(|| Arc::new(MeshState::absent(mesh.clone())));
        if current.generation != write.expected {
            return Err(WriteError::Conflict {
                mesh: mesh.clone(),
                expected: write.expected,
                found: current.generation,
            });
        }
        let admitted =
            admission::decide(&current, write, &self.evidence, clock::now()).map_err(|source| {
                WriteError::Refused {
                    mesh: mesh.clone(),
                    source,
                }
            })?;
        let difference = Difference::between(&current, &admitted, write);
        for name in difference.deleted_dataplanes() {
            self.evidence.remove(&DataplaneId {
                mesh: mesh.clone(),
                name: name.clone(),
            });
        }
        for (authority, key) in &difference.authorities {
            let place = (authority.id, mesh.clone());
            match key {
                KeyChange::Keep => {}
                KeyChange::Put(key) => drop(self.keys.insert(place, (*key).clone())),
                KeyChange::Destroy => drop(self.keys.remove(&place)),
            }
        }
        for id in &difference.forgotten {
            self.keys.remove(&(*id, mesh.clone()));
        }
        let generation = Generation(self.current.generation.0 + 1);
        self.current.generation = generation;
        let exists = !admitted.next.resources.is_empty();
        let next = exists.then(|| {
            Arc::new(MeshState {
                generation,
                ..admitted.next
            })
        });
        if let Some(next) = &next {
            self.current.meshes.insert(mesh.clone(), next.clone());
        } else {
            self.current.meshes.remove(mesh);
            self.keys.retain(|(_, owner), _| owner != mesh);
            self.evidence.retain(|dataplane, _| dataplane.mesh != *mesh);
        }
        self.history.extend(write.history_at(generation));
        Ok(Written {
            generation,
            mesh: next,
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Current, StoreError> {
        Ok(self.content().current.clone())
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        Ok(self.content().current.generation)
    }

    async fn changes_since(&self, since: Generation) -> Result<Changes, StoreError> {
        let content = self.content();
        let meshes = content.current.meshes.values();
        Ok(Changes {
            generation: content.current.generation,
            meshes: meshes
                .filter(|mesh| mesh.generation > since)
                .cloned()
                .collect(),
            existing: content.current.meshes.keys().cloned().collect(),
        })
    }

    async fn write(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        self.content().write(write)
    }

    async fn authority_key(&self, id: &AuthorityId) -> Result<Option<SealedKey>, StoreError> {
        let content = self.content();
        let mut keys = content.keys.iter().filter(|((owner, _), _)| owner == id);
        Ok(keys.next().map(|(_, key)| key.clone()))
    }

    async fn put_secret_if_absent(
        &self,
        name: &str,
        secret: &SealedKey,
    ) -> Result<SealedKey, StoreError> {
        let mut content = self.content();
        let kept = content.secrets.entry(name.to_owned());
        Ok(kept.or_insert_with(|| secret.clone()).clone())
    }

    async fn secrets(&self, prefix: &str) -> Result<Vec<(String, SealedKey)>, StoreError> {
        let content = self.content();
        let from = content.secrets.range(prefix.to_owned()..);
        let found = from.take_while(|(name, _)| name.starts_with(prefix));
        Ok(found
            .map(|(name, secret)| (name.clone(), secret.clone()))
            .collect())
    }

    async fn delete_secret(&self, name: &str) -> Result<(), StoreError> {
        self.content().secrets.remove(name);
        Ok(())
    }

    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        let mut content = self.content();
        for proxy in evidence {
            let id = &proxy.dataplane;
            let mesh = content.current.meshes.get(&id.mesh);
            if mesh.is_some_and(|mesh| mesh.dataplane(&id.name).is_some()) {
                content.evidence.insert(id.clone(), proxy.clone());
            }
        }
        Ok(())
    }

    async fn evidence(&self) -> Result<Evidence, StoreError> {
        Ok(self.content().evidence.clone())
    }

    async fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let content = self.content();
        Ok(content.history.iter().rev().take(limit).cloned().collect())
    }

    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError> {
        let source = status.source.clone();
        self.content().sources.insert(source, status.clone());
        Ok(())
    }

    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        Ok(self.content().sources.get(source).cloned())
    }

    async fn close(&self) {}
}
