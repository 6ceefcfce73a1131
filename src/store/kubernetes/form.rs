//! Custom resources: which resource an object is, what it says, and what an
//! object has to look like that shows a resource.

use std::sync::Arc;

use kube::api::{DynamicObject, ObjectMeta};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::names::{MANAGED_BY, MANAGER, NAME, annotation};
use crate::manifest::{parse_resource, to_kubernetes};
use crate::model::{
    DesiredResource, Digest, Kind, MeshName, Origin, Resource, ResourceKey, ResourceName,
    StoredResource,
};

/// The kinds that are custom resources. A ProvidedCa lives in Git only.
pub(super) const KINDS: [Kind; 3] = [Kind::Mesh, Kind::TrafficPermission, Kind::Dataplane];
/// The label that says which control plane an object belongs to, by the
/// control plane's namespace.
pub(super) const CONTROL_PLANE: &str = "windlass.io/control-plane";
/// The label that says whether Git owns what an object shows: webhooks are
/// chosen by it.
const ORIGIN: &str = "windlass.io/origin";
/// The annotations that say where a resource comes from.
const SOURCE: &str = "windlass.io/source";
const FILE: &str = "windlass.io/file";

/// The type of a kind.
pub(super) fn api_resource(kind: Kind) -> ApiResource {
    let plural = match kind {
        Kind::Mesh => "meshes",
        Kind::ProvidedCa => "providedcas",
        Kind::TrafficPermission => "trafficpermissions",
        Kind::Dataplane => "dataplanes",
    };
    let kind = GroupVersionKind::gvk("kuma.io", "v1alpha1", kind.as_str());
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// An object's place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    pub(super) kind: Kind,
    /// Empty for a Mesh.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectId {
    pub(super) fn of(kind: Kind, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

/// An object as it was seen last.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: ObjectId,
    /// Which resource it is, where its names say so.
    pub(super) key: Option<ResourceKey>,
    /// What it says, or what is wrong with it.
    pub(super) content: Result<Arc<DesiredResource>, Vec<String>>,
    /// The digest of what it says without the control plane's own namespace,
    /// which a resource need not name.
    bare: Option<Digest>,
    pub(super) version: String,
    pub(super) uid: String,
    /// The value of [`CONTROL_PLANE`].
    pub(super) control_plane: String,
    /// Whether nobody but Windlass has written what it says.
    pub(super) is_own: bool,
    /// Whether Windlass has written any of what it says.
    has_own: bool,
    pub(super) is_ending: bool,
    /// What its own metadata has of what Windlass puts there.
    marks: (String, String, String, String),
    pub(super) status: Value,
    /// The server's count of what it said.
    pub(super) generation: i64,
}

impl Seen {
    /// Reads an object, whose resources need not name the namespace `home`.
    pub(super) fn read(kind: Kind, object: &DynamicObject, home: &str) -> Self {
        let meta = &object.metadata;
        let id = ObjectId::of(kind, meta);
        let key = key_of(kind, object);
        let content = match &key {
            Some(key) => content_of(object, key),
            None => Err(vec![
                "mesh: must be the name of a mesh: lower case letters, digits, '-', '_'".to_owned(),
            ]),
        };
        let bare = content
            .as_ref()
            .ok()
            .and_then(|it| bare(&it.resource, home));
        let labels = meta.labels.as_ref();
        let label = |name| labels.and_then(|all| all.get(name)).cloned();
        let data = &object.data;
        Self {
            id,
            key,
            content,
            bare,
            version: meta.resource_version.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            control_plane: label(CONTROL_PLANE).unwrap_or_default(),
            is_own: writers(meta).all(|writer| writer == MANAGER),
            has_own: writers(meta).any(|writer| writer == MANAGER),
            is_ending: meta.deletion_timestamp.is_some(),
            marks: (
                label(MANAGED_BY).unwrap_or_default(),
                annotation(meta, SOURCE).to_owned(),
                annotation(meta, FILE).to_owned(),
                label(ORIGIN).unwrap_or_default(),
            ),
            status: data.get("status").cloned().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
        }
    }

    /// Whether it is another control plane's than the one in `home`.
    pub(super) fn is_of_another(&self, home: &str) -> bool {
        !["", home].contains(&&*self.control_plane)
    }

    /// Whether it says what the store holds, and not in words of Windlass.
    pub(super) fn says_itself(&self, stored: &StoredResource) -> bool {
        self.says(stored) && !self.has_own
    }

    /// Whether it says what the store holds.
    pub(super) fn says(&self, stored: &StoredResource) -> bool {
        let content = self.content.as_ref().ok();
        content.is_some_and(|it| it.digest == stored.digest) || self.bare == Some(stored.digest)
    }

    /// Whether it is marked as the control plane's, and with where it comes from.
    pub(super) fn is_marked(&self, stored: &StoredResource, home: &str) -> bool {
        let (source, file) = origin(stored);
        let (manager, old_source, old_file, old_origin) = &self.marks;
        self.control_plane == home
            && manager == MANAGER
            && *old_source == source
            && *old_file == file
            && old_origin == origin_label(stored)
    }

    /// What it says, as the store keeps it: without the control plane's own
    /// namespace where `before` names none.
    pub(super) fn adopted(
        &self,
        before: Option<&StoredResource>,
        home: &str,
    ) -> Option<Arc<DesiredResource>> {
        let content = self.content.as_ref().ok()?;
        let names_none = before.is_some_and(|before| namespace_of(&before.resource).is_none());
        let bare = without_namespace(&content.resource, home).filter(|_| names_none);
        Some(match bare {
            None => Arc::clone(content),
            Some(resource) => Arc::new(DesiredResource {
                digest: resource.digest(),
                resource,
                location: content.location.clone(),
            }),
        })
    }
}

/// Which resource an object is: its name, unless that name cannot be one of
/// Kubernetes, and the mesh that it names.
fn key_of(kind: Kind, object: &DynamicObject) -> Option<ResourceKey> {
    let meta = &object.metadata;
    let own = meta.name.as_deref().unwrap_or_default();
    let told = annotation(meta, NAME);
    let mesh = object.data.get("mesh").and_then(Value::as_str);
    let is_its = |told: &str| {
        own == told || mesh.is_some_and(|it| own == qualified(it, told)) || own == escaped(told)
    };
    let name = if !told.is_empty() && is_its(told) {
        told
    } else {
        own
    };
    Some(match kind {
        Kind::Mesh => ResourceKey::mesh(&name.parse().ok()?),
        kind => ResourceKey {
            mesh: mesh?.parse().ok()?,
            kind,
            name: name.parse().ok()?,
        },
    })
}

fn content_of(
    object: &DynamicObject,
    key: &ResourceKey,
) -> Result<Arc<DesiredResource>, Vec<String>> {
    let mut form = object.data.clone();
    if let Value::Object(fields) = &mut form {
        fields.remove("status");
    }
    let mut metadata = json!({ "name": key.name });
    if let Some(namespace) = &object.metadata.namespace {
        metadata["namespace"] = json!(namespace);
    }
    form["metadata"] = metadata;
    form["apiVersion"] = json!("kuma.io/v1alpha1");
    form["kind"] = json!(key.kind);
    let read = parse_resource(form.to_string().as_bytes(), key);
    read.map_err(|found| {
        let line = |it: &crate::model::Diagnostic| match &*it.field {
            "" => it.message.clone(),
            field => format!("{field}: {}", it.message),
        };
        found.iter().map(line).collect()
    })
}

fn namespace_of(resource: &Resource) -> Option<&ResourceName> {
    match resource {
        Resource::TrafficPermission(permission) => permission.namespace.as_ref(),
        Resource::Dataplane(dataplane) => dataplane.namespace.as_ref(),
        Resource::Mesh(_) | Resource::ProvidedCa(_) => None,
    }
}

fn bare(resource: &Resource, home: &str) -> Option<Digest> {
    without_namespace(resource, home).map(|resource| resource.digest())
}

/// The resource without a namespace, where that is the control plane's.
fn without_namespace(resource: &Resource, home: &str) -> Option<Resource> {
    namespace_of(resource).filter(|it| it.as_str() == home)?;
    let mut resource = resource.clone();
    match &mut resource {
        Resource::TrafficPermission(permission) => permission.namespace = None,
        Resource::Dataplane(dataplane) => dataplane.namespace = None,
        Resource::Mesh(_) | Resource::ProvidedCa(_) => {}
    }
    Some(resource)
}

/// Who owns fields of what an object says.
fn writers(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    let managers = meta.managed_fields.iter().flatten();
    let writers = managers.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        let has = |field| fields.is_some_and(|it| it.0.get(field).is_some());
        has("f:spec") || has("f:mesh")
    });
    writers.map(|entry| entry.manager.as_deref().unwrap_or_default())
}

fn origin_label(stored: &StoredResource) -> &'static str {
    match &stored.origin {
        Origin::Api {} => "api",
        Origin::Source { .. } => "git",
    }
}

fn origin(stored: &StoredResource) -> (String, String) {
    match &stored.origin {
        Origin::Api {} => (String::new(), String::new()),
        Origin::Source { source, file, .. } => (source.to_string(), file.to_string()),
    }
}

/// Where a resource is shown: in its namespace, else in the control plane's.
pub(super) fn place(stored: &StoredResource, home: &str) -> ObjectId {
    let key = stored.resource.key();
    let namespace = namespace_of(&stored.resource);
    ObjectId {
        kind: key.kind,
        namespace: match key.kind {
            Kind::Mesh => String::new(),
            _ => namespace.map_or(home, ResourceName::as_str).to_owned(),
        },
        name: object_name(key.name.as_str()),
    }
}

/// The plain name of an object.
fn object_name(name: &str) -> String {
    if is_object_name(name) {
        name.to_owned()
    } else {
        escaped(name)
    }
}

/// The name of an object whose plain name another mesh has taken.
fn qualified(mesh: &str, name: &str) -> String {
    object_name(&format!("{mesh}.{name}"))
}

/// RFC 1123 subdomain, as names of objects have to be.
fn is_object_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(plain)
            && label.ends_with(plain)
            && label.chars().all(|c| plain(c) || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A name for an object of a resource whose own name cannot be one.
fn escaped(name: &str) -> String {
    let hash = Digest::of(name.as_bytes()).to_hex();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let readable: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .take(200)
        .collect();
    format!("{readable}-{}", &hash[..10])
}

/// Where a resource may be shown, the best place first: where its plain name is
/// taken, a name with its mesh is another one. A Mesh has no other.
pub(super) fn places(stored: &StoredResource, home: &str) -> Vec<ObjectId> {
    let plain = place(stored, home);
    let key = stored.resource.key();
    if key.kind == Kind::Mesh {
        return vec![plain];
    }
    let other = ObjectId {
        name: qualified(key.mesh.as_str(), key.name.as_str()),
        ..plain.clone()
    };
    vec![plain, other]
}

/// The object of a Mesh.
pub(super) fn mesh_place(mesh: &MeshName) -> ObjectId {
    ObjectId {
        kind: Kind::Mesh,
        namespace: String::new(),
        name: object_name(mesh.as_str()),
    }
}

/// The object that shows a resource at a place.
pub(super) fn object(stored: &StoredResource, at: &ObjectId, home: &str) -> Value {
    let mut form = to_kubernetes(&stored.resource);
    // Who adds another CA to what is there does not have to take this one away.
    if form["spec"]["mtls"]["ca"] == json!({"builtin": {}})
        && let Some(mtls) = form["spec"]["mtls"].as_object_mut()
    {
        mtls.remove("ca");
    }
    let name = stored.resource.key().name;
    let mut annotations = json!({});
    if at.name != name.as_str() {
        annotations[NAME] = json!(name);
    }
    if let Origin::Source { source, file, .. } = &stored.origin {
        annotations[SOURCE] = json!(source);
        annotations[FILE] = json!(file);
    }
    form["metadata"] = json!({
        "name": at.name,
        "labels": {
            MANAGED_BY: MANAGER, CONTROL_PLANE: home, ORIGIN: origin_label(stored),
        },
        "annotations": annotations,
    });
    if at.kind != Kind::Mesh {
        form["metadata"]["namespace"] = json!(at.namespace);
    }
    form
}

/// What is merged into an object of this version to make it a control plane's.
pub(super) fn claim(version: &str, home: &str) -> Value {
    json!({"metadata": {
        "resourceVersion": version,
        "labels": {MANAGED_BY: MANAGER, CONTROL_PLANE: home},
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mesh, Mtls, TrafficPermission};

    fn shown(resource: Resource) -> (StoredResource, Seen) {
        let stored = StoredResource::new(resource, Origin::Api {});
        let at = place(&stored, "home");
        let object = object(&stored, &at, "home");
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let seen = Seen::read(at.kind, &object, "home");
        assert_eq!(seen.id, at);
        (stored, seen)
    }

    #[test]
    fn what_is_shown_says_what_is_stored() {
        for name in ["demo", "my_mesh"] {
            let mesh = Mesh {
                name: name.parse().unwrap(),
                mtls: Mtls::default(),
            };
            let (stored, seen) = shown(Resource::Mesh(mesh));
            assert!(seen.says(&stored) && seen.is_marked(&stored, "home"));
            let adopted = seen.adopted(Some(&stored), "home").unwrap();
            assert_eq!(adopted.digest, stored.digest, "a change is no deletion");
        }
        for (name, namespace) in [("p", None), ("p_1", Some("prod")), ("a..b", Some("home"))] {
            let selector = || crate::model::Selector {
                service: crate::model::ServiceMatch::Any,
            };
            let permission = TrafficPermission {
                mesh: "demo".parse().unwrap(),
                name: name.parse().unwrap(),
                namespace: namespace.map(|it| it.parse().unwrap()),
                sources: vec![selector()],
                destinations: vec![selector()],
            };
            let (stored, seen) = shown(Resource::TrafficPermission(permission));
            assert!(seen.says(&stored), "{seen:?}");
            assert_eq!(seen.key.as_ref(), Some(&stored.resource.key()));
            let adopted = seen.adopted(Some(&stored), "home").unwrap();
            assert_eq!(adopted.digest, stored.digest);
        }
    }

    #[test]
    fn a_name_that_cannot_be_an_objects_gets_another_one() {
        assert!(is_object_name("a.b-1"));
        for bad in ["a_b", "a..b", "a.-b", &"x".repeat(254)] {
            assert!(!is_object_name(bad), "{bad}");
            assert!(is_object_name(&escaped(bad)), "{bad}");
        }
        assert_ne!(escaped("a_b"), escaped("a..b"));
    }
}
