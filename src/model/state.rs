//! Current state (what the store holds) and desired state (what a revision holds).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Authority, AuthorityId, AuthorityState, Dataplane, Digest, Kind, Location, Mesh, MeshName,
    Origin, Progress, RepositoryPolicy, Resource, ResourceKey, ResourceName, Revision, SourceName,
    TrafficPermission,
};

/// A number that rises on every write to the store. 0 is before the first write.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the store holds: one immutable snapshot. Meshes that did not change
/// between two snapshots are the same `Arc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Current {
    /// The store's generation.
    pub generation: Generation,
    /// The meshes.
    pub meshes: BTreeMap<MeshName, Arc<MeshState>>,
}

/// What the store holds of one mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshState {
    /// The mesh.
    pub name: MeshName,
    /// The store's generation when this mesh was last written; what
    /// compare-and-set compares.
    pub generation: Generation,
    /// Its resources, the Mesh itself among them.
    #[serde(with = "as_list")]
    pub resources: BTreeMap<ResourceKey, Arc<StoredResource>>,
    /// Its authorities, revoked ones included.
    pub authorities: BTreeMap<AuthorityId, Authority>,
    /// How its mTLS stands.
    #[serde(default)]
    pub progress: Progress,
}

/// A resource as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredResource {
    /// The resource. A ProvidedCa has no key here.
    pub resource: Resource,
    /// The digest of its Universal form.
    pub digest: Digest,
    /// Where it comes from.
    pub origin: Origin,
}

impl StoredResource {
    /// A resource to be stored.
    #[must_use]
    pub fn new(resource: Resource, origin: Origin) -> Self {
        let digest = resource.digest();
        Self {
            resource,
            digest,
            origin,
        }
    }
}

impl MeshState {
    /// A mesh that the store holds nothing of.
    #[must_use]
    pub fn absent(name: MeshName) -> Self {
        Self {
            name,
            generation: Generation(0),
            resources: BTreeMap::new(),
            authorities: BTreeMap::new(),
            progress: Progress::default(),
        }
    }

    /// The Mesh resource.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        match &self.resources.get(&ResourceKey::mesh(&self.name))?.resource {
            Resource::Mesh(mesh) => Some(mesh),
            _ => None,
        }
    }

    /// The permissions, in the order of their names.
    pub fn permissions(&self) -> impl Iterator<Item = &TrafficPermission> {
        self.resources
            .values()
            .filter_map(|stored| match &stored.resource {
                Resource::TrafficPermission(permission) => Some(permission),
                _ => None,
            })
    }

    /// The dataplanes, in the order of their names.
    pub fn dataplanes(&self) -> impl Iterator<Item = &Dataplane> {
        self.resources
            .values()
            .filter_map(|stored| match &stored.resource {
                Resource::Dataplane(dataplane) => Some(dataplane),
                _ => None,
            })
    }

    /// The dataplane of that name.
    #[must_use]
    pub fn dataplane(&self, name: &ResourceName) -> Option<&Dataplane> {
        let key = ResourceKey {
            mesh: self.name.clone(),
            kind: Kind::Dataplane,
            name: name.clone(),
        };
        match &self.resources.get(&key)?.resource {
            Resource::Dataplane(dataplane) => Some(dataplane),
            _ => None,
        }
    }

    /// The authority that signs leaves.
    #[must_use]
    pub fn active_authority(&self) -> Option<&Authority> {
        self.authorities
            .values()
            .find(|authority| authority.state == AuthorityState::Active)
    }

    /// The authorities that proxies must trust now, in the order of their ids.
    pub fn trusted_authorities(&self) -> impl Iterator<Item = &Authority> {
        self.authorities
            .values()
            .filter(|authority| authority.state.is_trusted())
    }
}

/// Every resource of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The source that holds the revision.
    pub source: SourceName,
    /// The revision; `None` for resources that come from no commit.
    pub revision: Option<Revision>,
    /// The meshes, each with all that belongs to it. A mesh that only
    /// dependents name is here too, without a Mesh resource.
    pub meshes: BTreeMap<MeshName, Arc<DesiredMesh>>,
    /// Whether this very revision has been applied before: what differs from
    /// it now is drift.
    pub settled: bool,
    /// The meshes that an error holds back: they stay as they are.
    pub held_back: BTreeSet<MeshName>,
    /// The repository's policy.
    pub policy: RepositoryPolicy,
}

/// What a revision holds of one mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredMesh {
    /// The mesh.
    pub name: MeshName,
    /// Its resources, the Mesh itself among them.
    pub resources: BTreeMap<ResourceKey, Arc<DesiredResource>>,
}

/// A resource as a revision holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredResource {
    /// The resource.
    pub resource: Resource,
    /// The digest of its Universal form.
    pub digest: Digest,
    /// Where it starts.
    pub location: Location,
}

impl Desired {
    /// A revision that holds nothing.
    #[must_use]
    pub fn empty(source: SourceName) -> Self {
        Self {
            source,
            revision: None,
            meshes: BTreeMap::new(),
            settled: false,
            held_back: BTreeSet::new(),
            policy: RepositoryPolicy::default(),
        }
    }

    /// Whether the revision holds no resource at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meshes.values().all(|mesh| mesh.resources.is_empty())
    }
}

impl DesiredMesh {
    /// The Mesh resource.
    #[must_use]
    pub fn mesh(&self) -> Option<&Mesh> {
        match &self.resources.get(&ResourceKey::mesh(&self.name))?.resource {
            Resource::Mesh(mesh) => Some(mesh),
            _ => None,
        }
    }

    /// The provided authorities, in the order of their names.
    pub fn provided_cas(
        &self,
    ) -> impl Iterator<Item = (&super::ProvidedCa, &Arc<DesiredResource>)> {
        self.resources
            .values()
            .filter_map(|desired| match &desired.resource {
                Resource::ProvidedCa(ca) => Some((ca, desired)),
                _ => None,
            })
    }

    /// The permissions, in the order of their names.
    pub fn permissions(&self) -> impl Iterator<Item = &TrafficPermission> {
        self.resources
            .values()
            .filter_map(|desired| match &desired.resource {
                Resource::TrafficPermission(permission) => Some(permission),
                _ => None,
            })
    }

    /// The dataplanes, in the order of their names.
    pub fn dataplanes(&self) -> impl Iterator<Item = &Dataplane> {
        self.resources
            .values()
            .filter_map(|desired| match &desired.resource {
                Resource::Dataplane(dataplane) => Some(dataplane),
                _ => None,
            })
    }
}

/// JSON has no maps with structured keys: resources are written as a list.
mod as_list {
    use super::{Arc, BTreeMap, ResourceKey, StoredResource};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        resources: &BTreeMap<ResourceKey, Arc<StoredResource>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(resources.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ResourceKey, Arc<StoredResource>>, D::Error> {
        let list = Vec::<Arc<StoredResource>>::deserialize(deserializer)?;
        Ok(list
            .into_iter()
            .map(|stored| (stored.resource.key(), stored))
            .collect())
    }
}
