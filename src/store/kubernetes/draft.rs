//! What a write puts beside the ledger before it is committed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use super::blob::{self, Blob};
use super::cluster::{Cluster, for_each};
use super::keys;
use super::ledger::{AuthorityRow, Root, Row};
use super::tree::{Tree, page_of};
use crate::model::{Kind, MeshState, ResourceKey, SealedKey};
use crate::store::StoreError;
use crate::store::admission::Admitted;
use crate::store::difference::{Difference, KeyChange};

/// How many resources a page is to hold when it is laid out, and at most.
const PAGE: usize = 128;
/// From how many on a page is too large.
const MOST: usize = 2 * PAGE;

/// A tree that is written but not committed.
#[derive(Debug)]
pub(super) struct Draft {
    /// The mesh as it will be, its generation not set yet.
    pub(super) tree: Tree,
    /// The blobs that were written for it.
    pub(super) written: Vec<Blob>,
    /// The Secrets that were written for it.
    pub(super) secrets: Vec<String>,
    /// The Secrets that nothing refers to once it is committed.
    pub(super) destroyed: Vec<String>,
}

impl Draft {
    /// Writes what `admitted` changes of `current`.
    pub(super) async fn write(
        cluster: &Cluster,
        current: &Tree,
        admitted: Admitted<'_>,
        difference: &Layout,
        attempt: &str,
    ) -> Result<Self, StoreError> {
        let next = admitted.next;
        if next.resources.is_empty() {
            return Ok(Self {
                tree: Tree::absent(next.name),
                written: Vec::new(),
                secrets: Vec::new(),
                destroyed: current.keys.values().cloned().collect(),
            });
        }
        let births = births(current, &next, attempt);
        let (pages, mut written) =
            pages(cluster, current, &next, &births, difference, attempt).await?;
        let mut keys = current.keys.clone();
        let mut destroyed = Vec::new();
        let mut secrets = Vec::new();
        for (number, (id, key)) in difference.keys.iter().enumerate() {
            if let Some(old) = keys.remove(id) {
                destroyed.push(old);
            }
            if let Some(key) = key {
                let name = format!("windlass-key-{attempt}-{number}");
                let secret: Secret = keys::authority_key(&name, &next.name, *id, key);
                keys::create(cluster, "keep a key", &secret).await?;
                secrets.push(name.clone());
                keys.insert(*id, name);
            }
        }
        let authorities = next.authorities.values().map(|authority| AuthorityRow {
            authority: authority.clone(),
            key: keys.get(&authority.id).cloned(),
        });
        let root = Root {
            pages,
            authorities: authorities.collect(),
            progress: next.progress.clone(),
        };
        let name = format!("windlass-l-{attempt}-root");
        let at = blob::write(cluster, name, &root).await?;
        written.push(at.clone());
        Ok(Self {
            tree: Tree {
                state: Arc::new(next),
                root: Some(at),
                pages: root.pages,
                births,
                keys,
            },
            written,
            secrets,
            destroyed,
        })
    }
}

/// What a write changes, free of what it was computed from.
#[derive(Debug, Default)]
pub(super) struct Layout {
    resources: BTreeSet<ResourceKey>,
    /// Authorities whose key is another from now on, or none.
    keys: BTreeMap<crate::model::AuthorityId, Option<SealedKey>>,
}

impl Layout {
    pub(super) fn of(difference: &Difference<'_>) -> Self {
        let put = difference.put.iter().map(|(key, _)| *key);
        let resources = put.chain(difference.deleted.iter().copied()).cloned();
        let mut keys = BTreeMap::new();
        for (authority, change) in &difference.authorities {
            match change {
                KeyChange::Keep => {}
                KeyChange::Put(key) => drop(keys.insert(authority.id, Some((*key).clone()))),
                KeyChange::Destroy => drop(keys.insert(authority.id, None)),
            }
        }
        keys.extend(difference.forgotten.iter().map(|id| (*id, None)));
        Self {
            resources: resources.collect(),
            keys,
        }
    }
}

/// What tells each Dataplane from an earlier one of its name.
fn births(
    current: &Tree,
    next: &MeshState,
    attempt: &str,
) -> HashMap<crate::model::ResourceName, String> {
    let dataplanes = next.resources.keys();
    dataplanes
        .filter(|key| key.kind == Kind::Dataplane)
        .map(|key| {
            let known = current.births.get(&key.name).cloned();
            (
                key.name.clone(),
                known.unwrap_or_else(|| attempt.to_owned()),
            )
        })
        .collect()
}

/// How many pages a mesh has: enough, and no other number than before unless
/// they got too large or far too small.
fn page_count(before: usize, resources: usize) -> usize {
    let fits = resources <= before * MOST && (before <= 1 || resources * 4 >= before * PAGE);
    if before > 0 && fits {
        return before;
    }
    resources.div_ceil(PAGE).max(1).next_power_of_two()
}

/// Writes the pages that are other than before.
async fn pages(
    cluster: &Cluster,
    current: &Tree,
    next: &MeshState,
    births: &HashMap<crate::model::ResourceName, String>,
    layout: &Layout,
    attempt: &str,
) -> Result<(Vec<Option<Blob>>, Vec<Blob>), StoreError> {
    let count = page_count(current.pages.len(), next.resources.len());
    let (mut pages, changed): (Vec<Option<Blob>>, HashSet<usize>) = if count == current.pages.len()
    {
        let changed = layout.resources.iter().map(|key| page_of(key, count));
        (current.pages.clone(), changed.collect())
    } else {
        (vec![None; count], (0..count).collect())
    };
    let mut rows: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for (key, stored) in &next.resources {
        let page = page_of(key, count);
        if changed.contains(&page) {
            let birth = births
                .get(&key.name)
                .filter(|_| key.kind == Kind::Dataplane);
            rows.entry(page).or_default().push(Row {
                stored: Arc::clone(stored),
                birth: birth.cloned().unwrap_or_default(),
            });
        }
    }
    for page in &changed {
        pages[*page] = None;
    }
    let written = for_each(rows, |(page, rows)| {
        let (cluster, name) = (cluster.clone(), format!("windlass-l-{attempt}-{page}"));
        async move {
            let blob = blob::write(&cluster, name, &rows).await?;
            Ok((page, blob))
        }
    });
    let mut blobs = Vec::new();
    for (page, blob) in written.await? {
        blobs.push(blob.clone());
        pages[page] = Some(blob);
    }
    Ok((pages, blobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_laid_out_anew_only_when_they_got_too_large_or_far_too_small() {
        assert_eq!(page_count(0, 1), 1);
        assert_eq!(page_count(1, MOST), 1);
        assert_eq!(page_count(1, MOST + 1), 4);
        assert_eq!(page_count(4, PAGE), 4);
        assert_eq!(page_count(4, PAGE - 1), 1);
        assert_eq!(page_count(0, 10_000), 128);
        assert_eq!(page_count(128, 10_001), 128);
    }
}
