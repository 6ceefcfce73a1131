//! A store that forgets: for tests, and for plans between two revisions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission;
use super::difference::{Difference, KeyChange};
use super::{
    Announced, Changes, EvidenceChanges, EvidenceMark, Leadership, MeshWrite, News, Reach, Replica,
    SealedPlace, Store, StoreError, WriteError, Written,
};
use crate::clock;
use crate::model::{
    AuthorityId, Current, DataplaneId, Evidence, Generation, HistoryEntry, MeshName, MeshState,
    ProxyEvidence, SealedKey, SourceName, SourceStatus, Timestamp, combine,
};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
    news: watch::Sender<News>,
    reach: watch::Sender<Reach>,
    /// Held by the replica that reconciles.
    lead: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Content {
    current: Current,
    keys: BTreeMap<(AuthorityId, MeshName), SealedKey>,
    secrets: BTreeMap<String, SealedKey>,
    /// By proxy and replica, with the mark that it was recorded under.
    evidence: BTreeMap<(DataplaneId, Arc<str>), (EvidenceMark, Arc<ProxyEvidence>)>,
    mark: EvidenceMark,
    history: Vec<HistoryEntry>,
    sources: BTreeMap<SourceName, SourceStatus>,
    replicas: BTreeMap<Arc<str>, (Timestamp, Replica)>,
}

impl MemoryStore {
    /// A store that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        self.news.send_modify(change);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing panics between two changes that belong together.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn evidence(&self) -> Evidence {
        combine(self.evidence.values().map(|(_, record)| record.clone()))
    }

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
        let evidence = if admission::needs_evidence(write) {
            self.evidence()
        } else {
            Evidence::new()
        };
        let admitted = admission::decide(
            &current,
            write,
            &evidence,
            self.current.generation,
            clock::now(),
        );
        let admitted = admitted.map_err(|source| WriteError::Refused {
            mesh: mesh.clone(),
            source,
        })?;
        let difference = Difference::between(&current, &admitted, write);
        for name in difference.deleted_dataplanes() {
            let is_of = |id: &DataplaneId| id.mesh == *mesh && id.name == *name;
            self.evidence.retain(|(id, _), _| !is_of(id));
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
            self.evidence
                .retain(|(dataplane, _), _| dataplane.mesh != *mesh);
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
        let written = self.content().write(write)?;
        self.tell(|news| news.meshes += 1);
        Ok(written)
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
        let kept = {
            let mut content = self.content();
            let kept = content.secrets.entry(name.to_owned());
            kept.or_insert_with(|| secret.clone()).clone()
        };
        self.tell(|news| news.secrets += 1);
        Ok(kept)
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
        self.tell(|news| news.secrets += 1);
        Ok(())
    }

    async fn sealed(&self) -> Result<Vec<(SealedPlace, SealedKey)>, StoreError> {
        let content = self.content();
        let keys = content.keys.iter().map(|((id, mesh), key)| {
            let (mesh, id) = (mesh.clone(), *id);
            (SealedPlace::Authority { mesh, id }, key.clone())
        });
        let secrets = content.secrets.iter();
        let secrets =
            secrets.map(|(name, secret)| (SealedPlace::Secret(name.clone()), secret.clone()));
        let mut all: Vec<_> = keys.chain(secrets).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    async fn reseal(
        &self,
        place: &SealedPlace,
        from: &SealedKey,
        to: &SealedKey,
    ) -> Result<bool, StoreError> {
        let mut content = self.content();
        let kept = match place {
            SealedPlace::Authority { mesh, id } => content.keys.get_mut(&(*id, mesh.clone())),
            SealedPlace::Secret(name) => content.secrets.get_mut(name),
        };
        Ok(match kept {
            Some(kept) if kept == from => {
                kept.clone_from(to);
                true
            }
            _ => false,
        })
    }

    async fn record_evidence(&self, evidence: &[Arc<ProxyEvidence>]) -> Result<(), StoreError> {
        if evidence.is_empty() {
            return Ok(());
        }
        {
            let mut content = self.content();
            let mark = EvidenceMark(content.mark.0 + 1);
            content.mark = mark;
            for proxy in evidence {
                let id = &proxy.dataplane;
                let mesh = content.current.meshes.get(&id.mesh);
                if mesh.is_some_and(|mesh| mesh.dataplane(&id.name).is_some()) {
                    let place = (id.clone(), proxy.replica.clone().unwrap_or_default());
                    content.evidence.insert(place, (mark, proxy.clone()));
                }
            }
        }
        self.tell(|news| news.evidence += 1);
        Ok(())
    }

    async fn forget_evidence(&self, of: &[(DataplaneId, Arc<str>)]) -> Result<(), StoreError> {
        let mut content = self.content();
        for place in of {
            content.evidence.remove(place);
        }
        Ok(())
    }

    async fn evidence(&self) -> Result<Evidence, StoreError> {
        Ok(self.content().evidence())
    }

    async fn evidence_since(&self, since: EvidenceMark) -> Result<EvidenceChanges, StoreError> {
        let content = self.content();
        let records = content.evidence.values();
        Ok(EvidenceChanges {
            mark: content.mark,
            records: records
                .filter(|(mark, _)| *mark > since)
                .map(|(_, record)| record.clone())
                .collect(),
        })
    }

    async fn history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let content = self.content();
        let entries = content.history.iter().rev();
        Ok(entries
            .filter(|entry| before.is_none_or(|before| entry.generation < before))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn put_source_status(&self, status: &SourceStatus) -> Result<(), StoreError> {
        let source = status.source.clone();
        self.content().sources.insert(source, status.clone());
        self.tell(|news| news.sources += 1);
        Ok(())
    }

    async fn source_status(&self, source: &SourceName) -> Result<Option<SourceStatus>, StoreError> {
        Ok(self.content().sources.get(source).cloned())
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
        let announced = (clock::now(), replica.clone());
        let name = replica.name.clone();
        self.content().replicas.insert(name, announced);
        Ok(())
    }

    async fn replicas(&self) -> Result<Vec<Announced>, StoreError> {
        let now = clock::now();
        let content = self.content();
        let replicas = content.replicas.values().map(|(at, replica)| Announced {
            replica: replica.clone(),
            ago: now.since(*at),
        });
        Ok(replicas.collect())
    }

    async fn forget_replica(&self, name: &str) -> Result<(), StoreError> {
        self.content().replicas.remove(name);
        Ok(())
    }

    async fn close(&self) {}
}
