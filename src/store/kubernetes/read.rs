//! Reading the ledger: who meets a page that a write has just replaced begins
//! again at the head.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::cluster::{Cluster, Fault};
use super::ledger::{Head, read_head};
use super::tree::{self, Tree};
use super::{KubernetesStore, history};
use crate::model::{Current, Generation, HistoryEntry, MeshName};
use crate::store::{Changes, StoreError};

/// How often a read begins again.
const MAX_MOVES: u32 = 200;

/// A read that begins again where the ledger moves on under it.
pub(super) struct Reading<'a> {
    cluster: &'a Cluster,
    action: &'static str,
    before: Option<Head>,
    left: u32,
}

impl Reading<'_> {
    /// The head, from which nothing was read yet that is missing.
    pub(super) async fn head(&mut self) -> Result<Head, StoreError> {
        let head = read_head(self.cluster, self.action).await?.head;
        if self.before.as_ref() == Some(&head) {
            // Nobody replaced what is missing: it is lost.
            let what = "a head that refers to pages or keys that are gone";
            let why = "someone deleted objects of the ledger";
            return Err(self.cluster.corrupt(what, why));
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Err(Fault::Conflict.into_error(self.cluster, self.action));
        };
        self.left = left;
        self.before = Some(head.clone());
        Ok(head)
    }
}

impl KubernetesStore {
    /// Begins a read at the head. It begins again where something is missing of
    /// what the head refers to.
    pub(super) fn reading(&self, action: &'static str) -> Reading<'_> {
        Reading {
            cluster: &self.cluster,
            action,
            before: None,
            left: MAX_MOVES,
        }
    }

    /// A mesh as the head has it; `None` where the ledger has moved on.
    pub(super) async fn tree_at(
        &self,
        head: &Head,
        mesh: &MeshName,
    ) -> Result<Option<Arc<Tree>>, StoreError> {
        let Some(entry) = head.meshes.get(mesh) else {
            return Ok(Some(Arc::new(Tree::absent(mesh.clone()))));
        };
        let known = self.cache().get(mesh).cloned();
        if let Some(known) = &known
            && known.root.as_ref() == Some(&entry.root)
            && known.state.generation == entry.generation
        {
            return Ok(Some(Arc::clone(known)));
        }
        let known = known.as_deref();
        let read = tree::read(&self.cluster, mesh, entry.generation, &entry.root, known).await?;
        Ok(read.map(|tree| self.remember(tree)))
    }

    /// All meshes as the head has them; `None` where the ledger has moved on.
    pub(super) async fn trees(&self, head: &Head) -> Result<Option<Vec<Arc<Tree>>>, StoreError> {
        let mut trees = Vec::with_capacity(head.meshes.len());
        for mesh in head.meshes.keys() {
            match self.tree_at(head, mesh).await? {
                Some(tree) => trees.push(tree),
                None => return Ok(None),
            }
        }
        Ok(Some(trees))
    }

    /// A mesh as it is now.
    pub(super) async fn tree_of(
        &self,
        action: &'static str,
        mesh: &MeshName,
    ) -> Result<Option<Arc<Tree>>, StoreError> {
        let mut reading = self.reading(action);
        loop {
            let head = reading.head().await?;
            if let Some(tree) = self.tree_at(&head, mesh).await? {
                return Ok(Some(tree).filter(|tree| tree.root.is_some()));
            }
        }
    }

    pub(super) async fn read_all(&self) -> Result<Current, StoreError> {
        let mut reading = self.reading("read everything");
        loop {
            let head = reading.head().await?;
            let Some(trees) = self.trees(&head).await? else {
                continue;
            };
            self.cache().retain(|name, tree| {
                tree.state.generation > head.generation || head.meshes.contains_key(name)
            });
            let meshes = trees.iter().map(|tree| &tree.state);
            return Ok(Current {
                generation: head.generation,
                meshes: meshes
                    .map(|state| (state.name.clone(), Arc::clone(state)))
                    .collect(),
            });
        }
    }

    pub(super) async fn read_changes(&self, since: Generation) -> Result<Changes, StoreError> {
        let mut reading = self.reading("read what changed");
        'again: loop {
            let head = reading.head().await?;
            let mut changes = Changes {
                generation: head.generation,
                meshes: Vec::new(),
                existing: head.meshes.keys().cloned().collect(),
            };
            for (mesh, entry) in &head.meshes {
                if entry.generation > since {
                    match self.tree_at(&head, mesh).await? {
                        Some(tree) => changes.meshes.push(Arc::clone(&tree.state)),
                        None => continue 'again,
                    }
                }
            }
            return Ok(changes);
        }
    }

    pub(super) async fn read_history(
        &self,
        before: Option<Generation>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut reading = self.reading("read the history");
        loop {
            let head = reading.head().await?;
            let read = history::read(&self.cluster, &head.history, before, limit);
            if let Some(entries) = read.await? {
                return Ok(entries);
            }
        }
    }

    /// Keeps a tree for the next reader, unless a newer one is known, and
    /// returns the one that is kept for its generation.
    pub(super) fn remember(&self, tree: Tree) -> Arc<Tree> {
        let tree = Arc::new(tree);
        let name = tree.state.name.clone();
        let mut cache = self.cache();
        if tree.root.is_none() {
            cache.remove(&name);
            return tree;
        }
        match cache.get(&name) {
            Some(known) if known.state.generation > tree.state.generation => tree,
            Some(known) if known.root == tree.root => Arc::clone(known),
            _ => {
                cache.insert(name, Arc::clone(&tree));
                tree
            }
        }
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, HashMap<MeshName, Arc<Tree>>> {
        // Each change of the map is one call.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all objects that the head refers to; `None` where the
    /// ledger has moved on.
    pub(super) async fn reachable(
        &self,
        head: &Head,
    ) -> Result<Option<(HashSet<String>, HashSet<String>)>, StoreError> {
        let (mut blobs, mut keys) = (HashSet::new(), HashSet::new());
        let Some(trees) = self.trees(head).await? else {
            return Ok(None);
        };
        for tree in &trees {
            blobs.extend(tree.blobs().cloned());
            keys.extend(tree.keys.values().cloned());
        }
        let shown = head
            .meshes
            .values()
            .filter_map(|entry| entry.shown.as_ref());
        for root in shown.chain(head.gone.values()) {
            if blobs.insert(root.clone()) {
                let read = super::blob::read::<super::ledger::Root>(&self.cluster, root);
                let Some(read) = read.await? else {
                    return Ok(None);
                };
                blobs.extend(read.pages().cloned());
            }
        }
        let Some(pages) = history::pages(&self.cluster, &head.history).await? else {
            return Ok(None);
        };
        blobs.extend(pages);
        let names = blobs.iter().flat_map(super::blob::Blob::names);
        Ok(Some((names.collect(), keys)))
    }
}
