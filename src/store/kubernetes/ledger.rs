//! The ledger: what the store holds, as a tree of pages that are never changed
//! once they are written, and one record at its head.
//!
//! Kubernetes has no transactions. A write makes new pages beside the old ones,
//! then puts a new head in the place of the one that it has read. That one
//! request is the commit: before it nothing of the write can be seen, after it
//! all of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::cluster::{Cluster, Fault};
use super::names::{self, part};
use crate::model::{Authority, Generation, MeshName, Progress, StoredResource};
use crate::store::StoreError;

/// The version of the ledger's form.
const SCHEMA: i64 = 1;
/// Where the head stands in its object.
const KEY: &str = "head.json";
/// How many writes the head remembers: who does not know whether its own was
/// done looks here.
const REMEMBERED: usize = 64;

/// What all of the store hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    schema: i64,
    /// The store's generation.
    pub(super) generation: Generation,
    /// The meshes.
    #[serde(default)]
    pub(super) meshes: BTreeMap<MeshName, Entry>,
    /// Meshes that are gone while their objects may still be there: the tree
    /// that these show.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) gone: BTreeMap<MeshName, Blob>,
    /// By kind, what tells the definition of the custom resources that were
    /// shown from any other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) crds: BTreeMap<String, String>,
    /// What has happened.
    #[serde(default)]
    pub(super) history: History,
    /// The last writes.
    #[serde(default)]
    pub(super) writes: Vec<String>,
}

/// A mesh in the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The generation that it was last written with.
    pub(super) generation: Generation,
    /// Its tree.
    pub(super) root: Blob,
    /// The tree that its objects in Kubernetes were last brought in line with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shown: Option<Blob>,
}

/// Where the history is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    /// The page that is being filled: a list of entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<Blob>,
    /// The list of the pages that are full: [`FullPage`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) full: Option<Blob>,
}

/// A page of the history that is full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FullPage {
    /// The generations of its first and last entry.
    pub(super) first: Generation,
    pub(super) last: Generation,
    pub(super) page: Blob,
}

/// The root of a mesh's tree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Root {
    /// The pages with its resources: a power of two of them, each with the
    /// resources whose hash says so. An empty one is not written.
    pub(super) pages: Vec<Option<Blob>>,
    /// Its authorities.
    pub(super) authorities: Vec<AuthorityRow>,
    /// How its mTLS stands.
    pub(super) progress: Progress,
}

/// An authority in a tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AuthorityRow {
    pub(super) authority: Authority,
    /// The Secret with its key, until it is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

/// A resource in a page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) stored: std::sync::Arc<StoredResource>,
    /// Of a Dataplane, what tells it from another one that had its name before:
    /// evidence belongs to one of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) birth: String,
}

impl Root {
    /// The pages that are written.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Blob> {
        self.pages.iter().flatten()
    }
}

impl Default for Head {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            generation: Generation(0),
            meshes: BTreeMap::new(),
            gone: BTreeMap::new(),
            crds: BTreeMap::new(),
            history: History::default(),
            writes: Vec::new(),
        }
    }
}

impl Head {
    /// Whether a write of this name was done lately.
    pub(super) fn has(&self, write: &str) -> bool {
        self.writes.iter().any(|known| known == write)
    }

    /// Remembers a write.
    pub(super) fn remember(&mut self, write: &str) {
        let many = (self.writes.len() + 1).saturating_sub(REMEMBERED);
        self.writes.drain(..many);
        self.writes.push(write.to_owned());
    }

    /// The generation of a mesh; 0 where it is absent.
    pub(super) fn generation_of(&self, mesh: &MeshName) -> Generation {
        let entry = self.meshes.get(mesh);
        entry.map_or(Generation(0), |entry| entry.generation)
    }
}

/// The head as it was read, with what tells it from any other version.
#[derive(Debug, Clone)]
pub(super) struct ReadHead {
    pub(super) head: Head,
    meta: Option<ObjectMeta>,
}

/// Reads the head. Where there is none, the store is empty.
pub(super) async fn read_head(
    cluster: &Cluster,
    action: &'static str,
) -> Result<ReadHead, StoreError> {
    let Some(object) = cluster.get::<ConfigMap>(action, names::HEAD).await? else {
        return Ok(ReadHead {
            head: Head::default(),
            meta: None,
        });
    };
    let text = object.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.map_or("", String::as_str);
    let head: Head = serde_json::from_str(text)
        .map_err(|error| cluster.corrupt(format!("ConfigMap {}", names::HEAD), error))?;
    if head.schema > SCHEMA {
        return Err(StoreError::Newer {
            at: cluster.at().to_owned(),
            found: head.schema,
            known: SCHEMA,
        });
    }
    Ok(ReadHead {
        head,
        meta: Some(object.metadata),
    })
}

impl ReadHead {
    /// Puts `next` in the place of the head that was read; [`Fault::Conflict`]
    /// where that is no longer the head.
    pub(super) async fn replace(
        &self,
        cluster: &Cluster,
        action: &'static str,
        next: &Head,
    ) -> Result<(), Fault> {
        let text = serde_json::to_string(next)
            .map_err(|error| Fault::Failed(cluster.failed(action, error)))?;
        let mut meta = names::meta(names::HEAD, part::HEAD, &[]);
        if let Some(read) = &self.meta {
            meta.resource_version.clone_from(&read.resource_version);
            meta.uid.clone_from(&read.uid);
        }
        let object = ConfigMap {
            metadata: meta,
            data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
            ..ConfigMap::default()
        };
        match cluster.put(action, &object).await {
            // Someone deleted it: what was read is no longer so.
            Err(Fault::Missing) => Err(Fault::Conflict),
            other => other.map(drop),
        }
    }
}
