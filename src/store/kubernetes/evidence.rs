//! What proxies have acknowledged: a few pages for each mesh and replica, which
//! that replica alone fills.
//!
//! An object for each proxy would cost one write for each acknowledgement; ten
//! thousand of them in one phase are more than an API server takes in a minute.
//! A page takes all that a replica learnt of its proxies in one write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};

use super::blob::{self, bytes_of};
use super::cluster::{Fault, for_each};
use super::ledger::{Head, read_head};
use super::names::{self, MESH, REPLICA, hashed, part, spread};
use super::tree::Tree;
use super::{KubernetesStore, MAX_CONFLICTS};
use crate::model::{DataplaneId, Evidence, MeshName, ProxyEvidence, combine};
use crate::store::{EvidenceChanges, EvidenceMark, StoreError};

/// How many pages a mesh has for each replica.
const PAGES: u64 = 64;

/// What a replica knows of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    /// Which Dataplane of that name it is.
    birth: String,
    record: Arc<ProxyEvidence>,
}

/// The pages as they were read last. Marks count what was new in them: they
/// mean something to this process alone, which is all that asks for them.
#[derive(Debug, Default)]
pub(super) struct Pages {
    mark: EvidenceMark,
    known: HashMap<String, Page>,
}

#[derive(Debug)]
struct Page {
    version: Option<String>,
    rows: Vec<(EvidenceMark, Row)>,
}

/// A page of a replica: its name, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    name: String,
    mesh: MeshName,
    replica: Arc<str>,
}

impl Place {
    fn of(dataplane: &DataplaneId, replica: &Arc<str>) -> Self {
        let page = spread(&[dataplane.name.as_str()]) % PAGES;
        let mesh = dataplane.mesh.clone();
        let name = hashed("evidence", &[mesh.as_str(), replica]);
        Self {
            name: format!("{name}-{page}"),
            mesh,
            replica: Arc::clone(replica),
        }
    }
}

/// What changes on a page: what is put, and what is forgotten.
#[derive(Debug, Clone, Default)]
struct Edit {
    put: BTreeMap<DataplaneId, Row>,
    forget: HashSet<DataplaneId>,
}

impl KubernetesStore {
    pub(super) async fn keep_evidence(
        &self,
        evidence: &[Arc<ProxyEvidence>],
    ) -> Result<(), StoreError> {
        const ACTION: &str = "record evidence";
        if evidence.is_empty() {
            return Ok(());
        }
        // One at a time: a page is never edited by what was known before.
        let _turn = self.recording.lock().await;
        let meshes = evidence.iter().map(|it| it.dataplane.mesh.clone());
        let meshes: HashSet<MeshName> = meshes.collect();
        let mut reading = self.reading(ACTION);
        let trees = 'again: loop {
            let head = reading.head().await?;
            let mut trees: HashMap<MeshName, Arc<Tree>> = HashMap::new();
            for mesh in &meshes {
                match self.tree_at(&head, mesh).await? {
                    Some(tree) => drop(trees.insert(mesh.clone(), tree)),
                    None => continue 'again,
                }
            }
            break trees;
        };
        let mut edits: BTreeMap<Place, Edit> = BTreeMap::new();
        for record in evidence {
            let id = &record.dataplane;
            let tree = trees.get(&id.mesh);
            if let Some(birth) = tree.and_then(|tree| tree.births.get(&id.name)) {
                let replica = record.replica.clone().unwrap_or_default();
                let edit = edits.entry(Place::of(id, &replica)).or_default();
                let row = Row {
                    birth: birth.clone(),
                    record: Arc::clone(record),
                };
                edit.put.insert(id.clone(), row);
            }
        }
        self.edit(ACTION, edits, &trees).await?;
        self.tell(|news| news.evidence += 1);
        Ok(())
    }

    pub(super) async fn drop_evidence(
        &self,
        of: &[(DataplaneId, Arc<str>)],
    ) -> Result<(), StoreError> {
        let mut edits: BTreeMap<Place, Edit> = BTreeMap::new();
        for (dataplane, replica) in of {
            let edit = edits.entry(Place::of(dataplane, replica)).or_default();
            edit.forget.insert(dataplane.clone());
        }
        self.edit("forget evidence", edits, &HashMap::new()).await
    }

    async fn edit(
        &self,
        action: &'static str,
        edits: BTreeMap<Place, Edit>,
        trees: &HashMap<MeshName, Arc<Tree>>,
    ) -> Result<(), StoreError> {
        for_each(edits, |(place, edit)| {
            let store = self.clone();
            let tree = trees.get(&place.mesh).cloned();
            async move {
                store
                    .edit_page(action, &place, &edit, tree.as_deref())
                    .await
            }
        })
        .await
        .map(drop)
    }

    /// Changes one page. What its mesh no longer has goes with it.
    async fn edit_page(
        &self,
        action: &'static str,
        place: &Place,
        edit: &Edit,
        tree: Option<&Tree>,
    ) -> Result<(), StoreError> {
        let cluster = &self.cluster;
        for _ in 0..MAX_CONFLICTS {
            let found = cluster.get::<ConfigMap>(action, &place.name).await?;
            let before = match &found {
                Some(object) => rows_of(self, object)?,
                None => Vec::new(),
            };
            let is_kept = |row: &Row| {
                let id = &row.record.dataplane;
                let is_there =
                    tree.is_none_or(|tree| tree.births.get(&id.name) == Some(&row.birth));
                is_there && !edit.forget.contains(id) && !edit.put.contains_key(id)
            };
            let kept = before.iter().filter(|row| is_kept(row)).cloned();
            let rows: Vec<Row> = kept.chain(edit.put.values().cloned()).collect();
            if rows == before {
                return Ok(());
            }
            let done = match (found, rows.is_empty()) {
                (None, true) => return Ok(()),
                (Some(object), true) => {
                    let deleted = cluster.delete_read::<ConfigMap>(action, &object.metadata);
                    if deleted.await? {
                        return Ok(());
                    }
                    Err(Fault::Conflict)
                }
                (found, false) => {
                    let bytes = blob::pack(&rows).map_err(|error| cluster.failed(action, error))?;
                    let annotations = [(MESH, place.mesh.as_str()), (REPLICA, &*place.replica)];
                    let mut meta = names::meta(&place.name, part::EVIDENCE, &annotations);
                    if let Some(found) = found {
                        meta.resource_version = found.metadata.resource_version;
                    }
                    cluster.put(action, &blob::object(meta, bytes)).await
                }
            };
            match done {
                Ok(_) => return Ok(()),
                Err(Fault::Conflict | Fault::Missing) => {}
                Err(fault) => return Err(fault.into_error(cluster, action)),
            }
        }
        Err(Fault::Conflict.into_error(cluster, action))
    }

    /// Reads the pages that changed since they were read last. What was
    /// recorded before this began is in them.
    async fn refresh(&self, pages: &mut Pages) -> Result<(), StoreError> {
        const ACTION: &str = "read evidence";
        let listed = self
            .cluster
            .list_metadata::<ConfigMap>(ACTION, part::EVIDENCE);
        let listed: HashMap<String, Option<String>> = (listed.await?.into_iter())
            .map(|object| {
                let meta = object.metadata;
                (meta.name.unwrap_or_default(), meta.resource_version)
            })
            .collect();
        pages.known.retain(|name, _| listed.contains_key(name));
        let changed = listed.into_iter().filter(|(name, version)| {
            let known = pages.known.get(name);
            known.is_none_or(|known| known.version != *version)
        });
        let changed: Vec<String> = changed.map(|(name, _)| name).collect();
        let objects = for_each(changed, |name| {
            let cluster = self.cluster.clone();
            async move {
                let object = cluster.get::<ConfigMap>(ACTION, &name).await?;
                Ok((name, object))
            }
        });
        let mark = EvidenceMark(pages.mark.0 + 1);
        for (name, object) in objects.await? {
            let Some(object) = object else {
                pages.known.remove(&name);
                continue;
            };
            let before = pages.known.remove(&name);
            let mut before: HashMap<DataplaneId, (EvidenceMark, Row)> = before
                .map(|page| page.rows)
                .unwrap_or_default()
                .into_iter()
                .map(|(mark, row)| (row.record.dataplane.clone(), (mark, row)))
                .collect();
            let rows = rows_of(self, &object)?.into_iter().map(|row| {
                match before.remove(&row.record.dataplane) {
                    Some((mark, same)) if same == row => (mark, same),
                    _ => {
                        pages.mark = mark;
                        (mark, row)
                    }
                }
            });
            let rows = rows.collect();
            let version = object.metadata.resource_version;
            pages.known.insert(name, Page { version, rows });
        }
        Ok(())
    }

    /// What is on the pages of Dataplanes that the ledger has; `None` where it
    /// has moved on.
    async fn records_at(
        &self,
        head: &Head,
        pages: &Pages,
        since: EvidenceMark,
    ) -> Result<Option<Vec<Arc<ProxyEvidence>>>, StoreError> {
        let mut trees: HashMap<MeshName, Arc<Tree>> = HashMap::new();
        let mut records = Vec::new();
        let rows = pages.known.values().flat_map(|page| &page.rows);
        for (mark, row) in rows.filter(|(mark, _)| *mark > since) {
            let id = &row.record.dataplane;
            if !trees.contains_key(&id.mesh) {
                let Some(tree) = self.tree_at(head, &id.mesh).await? else {
                    return Ok(None);
                };
                trees.insert(id.mesh.clone(), tree);
            }
            let birth = trees
                .get(&id.mesh)
                .and_then(|tree| tree.births.get(&id.name));
            if birth == Some(&row.birth) {
                debug_assert!(*mark <= pages.mark);
                records.push(Arc::clone(&row.record));
            }
        }
        Ok(Some(records))
    }

    pub(super) async fn evidence_after(
        &self,
        since: EvidenceMark,
    ) -> Result<EvidenceChanges, StoreError> {
        let mut pages = self.pages.lock().await;
        // The pages first: of what is on them the ledger then has the Dataplane.
        self.refresh(&mut pages).await?;
        let mut reading = self.reading("read evidence");
        loop {
            let head = reading.head().await?;
            if let Some(records) = self.records_at(&head, &pages, since).await? {
                let mark = pages.mark;
                return Ok(EvidenceChanges { mark, records });
            }
        }
    }

    /// All evidence of the meshes that this head has.
    pub(super) async fn evidence_of(&self, head: &Head) -> Result<Option<Evidence>, StoreError> {
        let mut pages = self.pages.lock().await;
        self.refresh(&mut pages).await?;
        let records = self.records_at(head, &pages, EvidenceMark(0)).await?;
        Ok(records.map(combine))
    }

    /// Deletes the pages of meshes that are gone.
    pub(super) async fn sweep_evidence(&self) -> Result<(), StoreError> {
        const ACTION: &str = "forget evidence";
        let listed = self
            .cluster
            .list_metadata::<ConfigMap>(ACTION, part::EVIDENCE);
        let listed = listed.await?;
        let head = read_head(&self.cluster, ACTION).await?.head;
        for object in listed {
            let mesh = names::annotation(&object.metadata, MESH);
            if !head.meshes.contains_key(mesh) {
                let deleted = self
                    .cluster
                    .delete_read::<ConfigMap>(ACTION, &object.metadata);
                deleted.await?;
            }
        }
        Ok(())
    }
}

fn rows_of(store: &KubernetesStore, object: &ConfigMap) -> Result<Vec<Row>, StoreError> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let rows = blob::unpack(bytes_of(object));
    rows.map_err(|error| {
        store
            .cluster
            .corrupt(format!("evidence page {name}"), error)
    })
}
