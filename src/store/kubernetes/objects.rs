//! The custom resources as they were seen last, and requests to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::Event;
use serde_json::Value;

use super::cluster::{Cluster, Doing, Fault};
use super::form::{self, ObjectId, Seen};
use super::names::MANAGER;
use crate::model::{Kind, MeshName, ResourceKey, StoredResource};
use crate::store::StoreError;

/// The objects of all kinds.
#[derive(Debug, Default)]
pub(super) struct Objects {
    seen: HashMap<ObjectId, Seen>,
    by_key: BTreeMap<ResourceKey, BTreeSet<ObjectId>>,
    /// Of a list that is under way, what is in it so far.
    listed: HashMap<Kind, HashSet<ObjectId>>,
    /// The kinds of which all objects are known.
    complete: HashSet<Kind>,
}

impl Objects {
    /// Whether all objects of all kinds are known.
    pub(super) fn are_complete(&self) -> bool {
        form::KINDS.iter().all(|kind| self.complete.contains(kind))
    }

    /// Learns from an event of a watch.
    pub(super) fn hear(&mut self, kind: Kind, event: Event<DynamicObject>, home: &str) {
        match event {
            Event::Init => drop(self.listed.insert(kind, HashSet::new())),
            Event::InitApply(object) => {
                let id = ObjectId::of(kind, &object.metadata);
                self.listed.entry(kind).or_default().insert(id);
                self.learn(Seen::read(kind, &object, home));
            }
            Event::InitDone => {
                let listed = self.listed.remove(&kind).unwrap_or_default();
                let is_gone = |id: &&ObjectId| id.kind == kind && !listed.contains(id);
                let gone: Vec<ObjectId> = self.seen.keys().filter(is_gone).cloned().collect();
                for id in &gone {
                    self.forget(id);
                }
                self.complete.insert(kind);
            }
            Event::Apply(object) => self.learn(Seen::read(kind, &object, home)),
            Event::Delete(object) => {
                let id = ObjectId::of(kind, &object.metadata);
                let uid = object.metadata.uid.unwrap_or_default();
                if self.seen.get(&id).is_some_and(|seen| seen.uid == uid) {
                    self.forget(&id);
                }
            }
        }
    }

    /// Learns what an object is now, unless something newer is known of it.
    pub(super) fn learn(&mut self, seen: Seen) {
        let newer = |one: &str, other: &str| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one > other,
            _ => false,
        };
        if let Some(known) = self.seen.get(&seen.id)
            && known.uid == seen.uid
            && newer(&known.version, &seen.version)
        {
            return;
        }
        self.forget(&seen.id);
        if let Some(key) = &seen.key {
            let ids = self.by_key.entry(key.clone()).or_default();
            ids.insert(seen.id.clone());
        }
        self.seen.insert(seen.id.clone(), seen);
    }

    /// Learns that an object is gone.
    pub(super) fn forget(&mut self, id: &ObjectId) {
        if let Some(seen) = self.seen.remove(id)
            && let Some(key) = seen.key
            && let Some(ids) = self.by_key.get_mut(&key)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Seen> {
        self.seen.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values()
    }

    /// The object of a resource: where it belongs if it is there, else the
    /// first that says it is that resource. None is another control plane's.
    pub(super) fn of(
        &self,
        key: &ResourceKey,
        stored: Option<&StoredResource>,
        home: &str,
    ) -> Option<&Seen> {
        let ids = self.by_key.get(key)?;
        let ours = |id: &ObjectId| self.seen.get(id).filter(|it| !it.is_of_another(home));
        let place = stored.map(|stored| form::place(stored, home));
        let there = place.filter(|place| ids.contains(place));
        let there = there.as_ref().and_then(ours);
        there.or_else(|| ids.iter().find_map(ours))
    }

    /// The other control plane that has a mesh: by its Mesh, which there can be
    /// only one of in the cluster.
    pub(super) fn other_owner(&self, mesh: &MeshName, home: &str) -> Option<&str> {
        let seen = self.seen.get(&form::mesh_place(mesh))?;
        seen.is_of_another(home).then_some(&*seen.control_plane)
    }

    /// The resources of a mesh that objects say they are.
    pub(super) fn keys_of<'a>(
        &'a self,
        mesh: &'a MeshName,
    ) -> impl Iterator<Item = &'a ResourceKey> {
        let first = ResourceKey::mesh(mesh);
        self.by_key
            .range(first..)
            .map(|(key, _)| key)
            .take_while(move |key| key.mesh == *mesh)
    }

    /// The meshes that objects name.
    pub(super) fn meshes(&self) -> BTreeSet<MeshName> {
        self.by_key.keys().map(|key| key.mesh.clone()).collect()
    }

    /// Where a resource that has no object yet gets one: at its plain name,
    /// unless a resource of another mesh, or of another control plane, is there.
    pub(super) fn free_place(&self, stored: &StoredResource, home: &str) -> Option<ObjectId> {
        let key = stored.resource.key();
        let is_taken = |place: &ObjectId| {
            let seen = self.seen.get(place);
            seen.is_some_and(|seen| seen.key.as_ref() != Some(&key) || seen.is_of_another(home))
        };
        let mut places = form::places(stored, home).into_iter();
        places.find(|place| !is_taken(place))
    }

    /// The object that keeps a resource from having one: another control plane's
    /// at one of its places, or whatever is there where none of them is free.
    pub(super) fn in_the_way(&self, stored: &StoredResource, home: &str) -> Option<&Seen> {
        let places = form::places(stored, home);
        let mut there = places.iter().filter_map(|place| self.seen.get(place));
        let is_stuck = self.free_place(stored, home).is_none();
        there.find(|seen| is_stuck || seen.is_of_another(home))
    }
}

impl Cluster {
    /// The objects of a kind at one place, or everywhere.
    pub(super) fn objects(&self, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = form::api_resource(kind);
        match namespace {
            Some(namespace) if kind != Kind::Mesh => {
                Api::namespaced_with(self.client(), namespace, &resource)
            }
            _ => Api::all_with(self.client(), &resource),
        }
    }

    fn objects_at(&self, id: &ObjectId) -> Api<DynamicObject> {
        self.objects(id.kind, Some(&id.namespace))
    }

    /// The object as it is now.
    pub(super) async fn look_at(&self, id: &ObjectId) -> Result<Option<Seen>, StoreError> {
        const ACTION: &str = "look at a custom resource";
        let api = self.objects_at(id);
        let doing = Doing {
            action: ACTION,
            verb: "get",
        };
        match self.ask(doing, &plural(id.kind), api.get(&id.name)).await {
            Ok(object) => Ok(Some(Seen::read(id.kind, &object, self.namespace()))),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(self, ACTION)),
        }
    }

    /// Makes an object say what `stored` says; `seen` is what it was before.
    /// `None` where it has changed since, or is there although none was seen.
    pub(super) async fn show(
        &self,
        stored: &StoredResource,
        at: &ObjectId,
        seen: Option<&Seen>,
    ) -> Result<Option<Seen>, StoreError> {
        const ACTION: &str = "show a resource as a custom resource";
        let mut object = form::object(stored, at, self.namespace());
        let mut applied = object.clone();
        if let Some(seen) = seen {
            applied["metadata"]["resourceVersion"] = Value::from(seen.version.clone());
            // What someone else wrote stays theirs: who owns a field of it, too,
            // keeps it there when they take it away.
            if seen.says_itself(stored)
                && let Some(fields) = applied.as_object_mut()
            {
                fields.remove("spec");
                fields.remove("mesh");
            }
        } else if self.look_at(at).await?.is_some() {
            // Someone has made it of whom nothing was heard yet.
            return Ok(None);
        }
        let api = self.objects_at(at);
        let doing = Doing {
            action: ACTION,
            verb: "patch",
        };
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&applied);
        let applied = api.patch(&at.name, &parameters, &patch);
        let applied = match self.ask(doing, &plural(at.kind), applied).await {
            Ok(object) => object,
            Err(Fault::Conflict) => return Ok(None),
            Err(fault) => return Err(self.not_shown(at, fault, ACTION)),
        };
        let now = Seen::read(at.kind, &applied, self.namespace());
        if now.says(stored) {
            return Ok(Some(now));
        }
        // Someone else owns fields that are not to be there: applying leaves them.
        object["metadata"]["resourceVersion"] = Value::from(now.version);
        let replacement = serde_json::from_value(object);
        let replacement: DynamicObject = replacement.map_err(|error| self.failed(ACTION, error))?;
        let doing = Doing {
            action: ACTION,
            verb: "update",
        };
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let replaced = api.replace(&at.name, &parameters, &replacement);
        match self.ask(doing, &plural(at.kind), replaced).await {
            Ok(object) => Ok(Some(Seen::read(at.kind, &object, self.namespace()))),
            Err(Fault::Conflict | Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(self, ACTION)),
        }
    }

    /// Makes an object that is nobody's this control plane's; `None` where it has
    /// changed since it was seen: another one may have been faster.
    pub(super) async fn claim(&self, seen: &Seen) -> Result<Option<Seen>, StoreError> {
        const ACTION: &str = "claim a custom resource";
        let claimed = form::claim(&seen.version, self.namespace());
        let api = self.objects_at(&seen.id);
        let doing = Doing {
            action: ACTION,
            verb: "patch",
        };
        // Applying would take away what this manager has applied of the spec.
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&claimed);
        let patched = api.patch(&seen.id.name, &parameters, &patch);
        match self.ask(doing, &plural(seen.id.kind), patched).await {
            Ok(object) => Ok(Some(Seen::read(seen.id.kind, &object, self.namespace()))),
            Err(Fault::Conflict | Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(self, ACTION)),
        }
    }

    fn not_shown(&self, at: &ObjectId, fault: Fault, action: &'static str) -> StoreError {
        match fault {
            Fault::Missing if at.kind != Kind::Mesh => self.failed(
                action,
                format!(
                    "there is no namespace {}, or no CRD of {}; create it, \
                     the CRDs with `windlass schema crds | kubectl apply -f -`",
                    at.namespace,
                    plural(at.kind)
                ),
            ),
            Fault::Missing => self.failed(action, no_crd(at.kind)),
            fault => fault.into_error(self, action),
        }
    }

    /// Takes an object away that was seen; whether it was still the same.
    pub(super) async fn hide(&self, seen: &Seen) -> Result<bool, StoreError> {
        const ACTION: &str = "delete a custom resource";
        let api = self.objects_at(&seen.id);
        let doing = Doing {
            action: ACTION,
            verb: "delete",
        };
        let parameters = DeleteParams::default().preconditions(Preconditions {
            resource_version: Some(seen.version.clone()),
            uid: Some(seen.uid.clone()),
        });
        let deleted = api.delete(&seen.id.name, &parameters);
        match self.ask(doing, &plural(seen.id.kind), deleted).await {
            Ok(_) | Err(Fault::Missing) => Ok(true),
            Err(Fault::Conflict) => Ok(false),
            Err(fault) => Err(fault.into_error(self, ACTION)),
        }
    }

    /// Puts these fields into the status of an object.
    pub(super) async fn tell_status(
        &self,
        id: &ObjectId,
        status: &Value,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "write the status of a custom resource";
        let api = self.objects_at(id);
        let doing = Doing {
            action: ACTION,
            verb: "patch",
        };
        let patch = serde_json::json!({ "status": status });
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        let patched = api.patch_status(&id.name, &parameters, &patch);
        let kind = format!("{}/status", plural(id.kind));
        match self.ask(doing, &kind, patched).await {
            Ok(_) | Err(Fault::Missing | Fault::Conflict) => Ok(()),
            Err(fault) => Err(fault.into_error(self, ACTION)),
        }
    }
}

fn plural(kind: Kind) -> String {
    form::api_resource(kind).plural
}

/// What is to be done where the API server does not know a kind.
pub(super) fn no_crd(kind: Kind) -> String {
    format!(
        "the API server knows no {}.kuma.io; \
         create the CRDs with `windlass schema crds | kubectl apply -f -`",
        plural(kind)
    )
}
