//! Writing a mesh: a draft beside the ledger, then one compare-and-set of the head.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::blob::{self, Blob};
use super::cluster::{Cluster, Fault, for_each};
use super::draft::{Draft, Layout};
use super::ledger::{Entry, Head, Root, read_head};
use super::tree::Tree;
use super::{KubernetesStore, MAX_CONFLICTS, history};
use crate::clock;
use crate::model::{Evidence, Generation};
use crate::store::difference::Difference;
use crate::store::{MeshWrite, StoreError, WriteError, Written, admission};

const ACTION: &str = "write a mesh";
/// How long to wait, at most, before the head is compared again.
const BACKOFF: Duration = Duration::from_millis(40);
/// How old a draft may be when it is committed: what is older and belongs to
/// nobody is swept away.
pub(super) const DRAFT_LIFETIME: Duration = Duration::from_mins(3);

/// What a write has put beside the ledger so far.
#[derive(Default)]
struct Beside {
    blobs: Vec<Blob>,
    secrets: Vec<String>,
    /// Whether a commit may have been done whose answer was lost.
    uncertain: bool,
}

impl KubernetesStore {
    pub(super) async fn write_mesh(&self, write: &MeshWrite) -> Result<Written, WriteError> {
        // Those of this process take turns, so that they meet with others only.
        let _turn = self.turn.lock().await;
        let mut beside = Beside::default();
        let written = self.try_write(write, &mut beside).await;
        if written.is_err() && !beside.uncertain {
            self.clean_up(beside.blobs, beside.secrets).await;
        }
        written
    }

    async fn try_write(
        &self,
        write: &MeshWrite,
        beside: &mut Beside,
    ) -> Result<Written, WriteError> {
        let name = &write.mesh;
        let (nonce, started) = (self.cluster.nonce(), Instant::now());
        let mut draft: Option<Draft> = None;
        for number in 0..MAX_CONFLICTS {
            if number > 0 {
                tokio::time::sleep(self.cluster.jitter(BACKOFF.mul_f64(f64::from(number)))).await;
            }
            let read = read_head(&self.cluster, ACTION).await?;
            if read.head.has(&nonce)
                && let Some(draft) = draft.take()
            {
                // The answer was lost, not the write.
                let generation = read.head.generation_of(name);
                return Ok(self.written(draft.tree, generation, read.head.generation));
            }
            let found = read.head.generation_of(name);
            if found != write.expected {
                return Err(WriteError::Conflict {
                    mesh: name.clone(),
                    expected: write.expected,
                    found,
                });
            }
            let Some(current) = self.tree_at(&read.head, name).await? else {
                continue;
            };
            let evidence_counts = admission::needs_evidence(write);
            // The marks of a new mesh follow the generation of the store.
            let is_new = current.state.mesh().is_none();
            if draft.is_none() || evidence_counts || is_new {
                let evidence = if evidence_counts {
                    self.evidence_of(&read.head).await?
                } else {
                    Some(Evidence::new())
                };
                let Some(evidence) = evidence else { continue };
                let attempt = format!("{nonce}-{number}");
                draft = Some(
                    self.draft(
                        write,
                        &current,
                        &evidence,
                        read.head.generation,
                        &attempt,
                        beside,
                    )
                    .await?,
                );
            }
            let Some(ready) = &draft else { continue };
            let Some((next, replaced)) = self
                .next_head(&read.head, write, &current, ready, &nonce, number, beside)
                .await?
            else {
                continue;
            };
            if started.elapsed() > DRAFT_LIFETIME {
                let why = "it took too long to write what comes before the commit";
                return Err(self.cluster.failed(ACTION, why).into());
            }
            match read.replace(&self.cluster, ACTION, &next).await {
                Ok(()) => {
                    let generation = next.generation;
                    let draft = draft
                        .take()
                        .ok_or_else(|| self.cluster.failed(ACTION, "no draft"))?;
                    self.settle(
                        replaced,
                        draft.destroyed.clone(),
                        beside,
                        &next,
                        &draft.tree,
                    )
                    .await;
                    return Ok(self.written(draft.tree, generation, generation));
                }
                Err(Fault::Conflict) => debug!(mesh = %name, "the head moved on"),
                Err(Fault::Failed(error @ StoreError::Forbidden { .. })) => {
                    return Err(error.into());
                }
                Err(fault) => {
                    beside.uncertain = true;
                    let error = fault.into_error(&self.cluster, ACTION);
                    warn!(mesh = %name, error = %crate::telemetry::chain(&error), "whether the write is done is looked up");
                }
            }
        }
        Err(Fault::Conflict.into_error(&self.cluster, ACTION).into())
    }

    /// Judges the write and puts what it changes beside the ledger.
    async fn draft(
        &self,
        write: &MeshWrite,
        current: &Tree,
        evidence: &Evidence,
        store: Generation,
        attempt: &str,
        beside: &mut Beside,
    ) -> Result<Draft, WriteError> {
        let admitted = admission::decide(&current.state, write, evidence, store, clock::now());
        let admitted = admitted.map_err(|source| WriteError::Refused {
            mesh: write.mesh.clone(),
            source,
        })?;
        let layout = Layout::of(&Difference::between(&current.state, &admitted, write));
        let draft = Draft::write(&self.cluster, current, admitted, &layout, attempt).await?;
        beside.blobs.extend(draft.written.iter().cloned());
        beside.secrets.extend(draft.secrets.iter().cloned());
        Ok(draft)
    }

    /// The head with the write in it, and the blobs that it no longer needs.
    #[allow(clippy::too_many_arguments, reason = "all of it is of one write")]
    async fn next_head(
        &self,
        head: &Head,
        write: &MeshWrite,
        current: &Tree,
        draft: &Draft,
        nonce: &str,
        number: u32,
        beside: &mut Beside,
    ) -> Result<Option<(Head, Vec<Blob>)>, StoreError> {
        let name = &write.mesh;
        let mut next = head.clone();
        next.generation = Generation(head.generation.0 + 1);
        next.remember(nonce);
        let before = next.meshes.remove(name);
        let shown = before
            .and_then(|entry| entry.shown)
            .or_else(|| next.gone.remove(name));
        match (&draft.tree.root, &shown) {
            (Some(root), _) => {
                let entry = Entry {
                    generation: next.generation,
                    root: root.clone(),
                    shown: shown.clone(),
                };
                next.meshes.insert(name.clone(), entry);
            }
            (None, Some(shown)) => drop(next.gone.insert(name.clone(), shown.clone())),
            (None, None) => {}
        }
        let mut replaced = self.unneeded(current, draft, shown.as_ref()).await?;
        if let Some(entry) = write.history_at(next.generation) {
            let attempt = format!("{nonce}-h{number}");
            let appended = history::append(&self.cluster, &head.history, &attempt, entry).await?;
            let Some(appended) = appended else {
                return Ok(None);
            };
            beside.blobs.extend(appended.written);
            replaced.extend(appended.replaced);
            next.history = appended.history;
        }
        Ok(Some((next, replaced)))
    }

    /// What of the current tree neither the next one holds nor the one that is shown.
    async fn unneeded(
        &self,
        current: &Tree,
        draft: &Draft,
        shown: Option<&Blob>,
    ) -> Result<Vec<Blob>, StoreError> {
        let mut needed: HashSet<Blob> = draft.tree.blobs().cloned().collect();
        if let Some(shown) = shown {
            if current.root.as_ref() == Some(shown) {
                return Ok(Vec::new());
            }
            needed.insert(shown.clone());
            match blob::read::<Root>(&self.cluster, shown).await? {
                Some(root) => needed.extend(root.pages().cloned()),
                // It will be swept, whatever it is.
                None => return Ok(Vec::new()),
            }
        }
        let unneeded = current.blobs().filter(|blob| !needed.contains(blob));
        Ok(unneeded.cloned().collect())
    }

    /// Deletes what the write replaced, also where nobody waits for it any more.
    async fn settle(
        &self,
        mut blobs: Vec<Blob>,
        secrets: Vec<String>,
        beside: &Beside,
        head: &Head,
        tree: &Tree,
    ) {
        // Drafts and pages of the history that came to nothing.
        let needed: HashSet<&Blob> = tree
            .blobs()
            .chain(head.history.open.iter())
            .chain(head.history.full.iter())
            .collect();
        let unused = beside.blobs.iter().filter(|blob| !needed.contains(blob));
        blobs.extend(unused.cloned());
        let kept: HashSet<&String> = tree.keys.values().collect();
        let unused = beside.secrets.iter().filter(|name| !kept.contains(name));
        let secrets = secrets.into_iter().chain(unused.cloned()).collect();
        self.clean_up(blobs, secrets).await;
    }

    /// Deletes what nothing refers to. What is left is swept later.
    pub(super) async fn clean_up(&self, blobs: Vec<Blob>, secrets: Vec<String>) {
        let cluster = self.cluster.clone();
        let work = tokio::spawn(async move {
            let keys = delete_secrets(&cluster, secrets).await;
            keys.and(blob::delete(&cluster, blobs).await)
        });
        if let Ok(Err(error)) = work.await {
            debug!(error = %crate::telemetry::chain(&error), "what is not needed is deleted later");
        }
    }

    /// What the write left behind, which is known from now on.
    fn written(&self, mut tree: Tree, of_mesh: Generation, generation: Generation) -> Written {
        Arc::make_mut(&mut tree.state).generation = of_mesh;
        let mesh = tree.root.is_some().then(|| Arc::clone(&tree.state));
        self.remember(tree);
        self.tell(|news| news.meshes += 1);
        Written { generation, mesh }
    }
}

/// Deletes Secrets that nothing refers to.
pub(super) async fn delete_secrets(
    cluster: &Cluster,
    names: Vec<String>,
) -> Result<(), StoreError> {
    for_each(names, |name| {
        let cluster = cluster.clone();
        async move { cluster.delete::<Secret>("destroy a key", &name).await }
    })
    .await
    .map(drop)
}
