//! A mesh as it is read out of the ledger. What did not change between two
//! trees is shared and not read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::blob::{self, Blob};
use super::cluster::{Cluster, for_each};
use super::ledger::{AuthorityRow, Root, Row};
use super::names::spread;
use crate::model::{
    AuthorityId, Generation, Kind, MeshName, MeshState, ResourceKey, ResourceName, StoredResource,
};
use crate::store::StoreError;

/// A mesh of the ledger with where its parts are.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) state: Arc<MeshState>,
    /// `None` where the mesh is absent.
    pub(super) root: Option<Blob>,
    /// By the hash of their keys, the pages of its resources.
    pub(super) pages: Vec<Option<Blob>>,
    /// What tells each Dataplane from an earlier one of its name.
    pub(super) births: HashMap<ResourceName, String>,
    /// The Secrets of its authorities' keys.
    pub(super) keys: BTreeMap<AuthorityId, String>,
}

impl Tree {
    /// A mesh that the store holds nothing of.
    pub(super) fn absent(mesh: MeshName) -> Self {
        Self {
            state: Arc::new(MeshState::absent(mesh)),
            root: None,
            pages: Vec::new(),
            births: HashMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// All the blobs that it consists of.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.root.iter().chain(self.pages.iter().flatten())
    }
}

/// The page that a resource stands on.
pub(super) fn page_of(key: &ResourceKey, pages: usize) -> usize {
    let hash = spread(&[key.kind.as_str(), key.name.as_str()]);
    // A power of two, and a hash whose low bits are as good as any.
    usize::try_from(hash & (pages as u64).saturating_sub(1)).unwrap_or_default()
}

/// Reads a mesh, as far as `known` does not have it; `None` where it is gone
/// from the ledger, since a later write replaced it.
pub(super) async fn read(
    cluster: &Cluster,
    mesh: &MeshName,
    generation: Generation,
    at: &Blob,
    known: Option<&Tree>,
) -> Result<Option<Tree>, StoreError> {
    let Some(root) = blob::read::<Root>(cluster, at).await? else {
        return Ok(None);
    };
    let absent;
    let known = match known {
        Some(known) if known.pages.len() == root.pages.len() => known,
        _ => {
            absent = Tree::absent(mesh.clone());
            &absent
        }
    };
    let has: HashSet<&Blob> = known.pages.iter().flatten().collect();
    let new: Vec<Blob> = root
        .pages()
        .filter(|page| !has.contains(page))
        .cloned()
        .collect();
    let read = for_each(new, |page| {
        let cluster = cluster.clone();
        async move { blob::read::<Vec<Row>>(&cluster, &page).await }
    });
    let Some(rows) = read.await?.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let mut state = MeshState {
        generation,
        progress: root.progress,
        ..MeshState::absent(mesh.clone())
    };
    let mut births = HashMap::new();
    let count = root.pages.len();
    let same: Vec<bool> = (root.pages.iter())
        .zip(known.pages.iter().chain(std::iter::repeat(&None)))
        .map(|(page, known)| page == known)
        .collect();
    for (key, stored) in &known.state.resources {
        if same.get(page_of(key, count)).copied().unwrap_or_default() {
            state.resources.insert(key.clone(), Arc::clone(stored));
            if let Some(birth) = birth_of(known, key) {
                births.insert(key.name.clone(), birth.clone());
            }
        }
    }
    for row in rows.into_iter().flatten() {
        let key = row.stored.resource.key();
        if key.mesh != *mesh {
            let what = format!("mesh {mesh}");
            return Err(cluster.corrupt(what, format!("it holds {key} of another mesh")));
        }
        if key.kind == Kind::Dataplane {
            births.insert(key.name.clone(), row.birth);
        }
        let stored = shared(known, &key, row.stored);
        state.resources.insert(key, stored);
    }
    let mut keys = BTreeMap::new();
    for AuthorityRow { authority, key } in root.authorities {
        if let Some(key) = key {
            keys.insert(authority.id, key);
        }
        state.authorities.insert(authority.id, authority);
    }
    Ok(Some(Tree {
        state: Arc::new(state),
        root: Some(at.clone()),
        pages: root.pages,
        births,
        keys,
    }))
}

fn birth_of<'a>(known: &'a Tree, key: &ResourceKey) -> Option<&'a String> {
    let is_dataplane = key.kind == Kind::Dataplane;
    is_dataplane.then(|| known.births.get(&key.name)).flatten()
}

/// The same resource as it is known already.
fn shared(known: &Tree, key: &ResourceKey, stored: Arc<StoredResource>) -> Arc<StoredResource> {
    match known.state.resources.get(key) {
        Some(same) if **same == *stored => Arc::clone(same),
        _ => stored,
    }
}
