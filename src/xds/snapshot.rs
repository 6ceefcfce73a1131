//! What one proxy is to be told: from the stored mesh to versioned resources.
//!
//! Pure. [`super::index`] keeps a [`MeshView`] of every mesh that has proxies,
//! asks it for the [`View`] of each that a change may have touched, adds the
//! leaf and publishes the [`Snapshot`] to the proxy's streams.

mod grants;
mod mesh;
mod service;

use std::sync::Arc;

pub use mesh::{MeshView, Touched};

use super::resource::{Editions, Resource, ResourceType};
use crate::ca::Leaf;
use crate::model::{AuthorityId, BundleId, Digest, Marks, MeshState, SpiffeId};

/// The certificates that the proxies of a mesh trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The digest of `pem`.
    pub id: BundleId,
    /// The authorities, in the order of their ids.
    pub authorities: Vec<AuthorityId>,
    /// Their certificates in that order.
    pub pem: Arc<str>,
}

impl TrustBundle {
    /// The bundle of a mesh; `None` where no authority is trusted.
    #[must_use]
    pub fn of(mesh: &MeshState) -> Option<Self> {
        let mut authorities = Vec::new();
        let mut pem = String::new();
        for authority in mesh.trusted_authorities() {
            authorities.push(authority.id);
            pem.push_str(authority.certificate.trim());
            pem.push('\n');
        }
        (!authorities.is_empty()).then(|| Self {
            id: BundleId(Digest::of(pem.as_bytes())),
            authorities,
            pem: pem.into(),
        })
    }
}

/// What a leaf must be to fit its proxy now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafSpec {
    /// Whose it is.
    pub identity: SpiffeId,
    /// Who signs it.
    pub issuer: AuthorityId,
    /// The mark of [`crate::model::Part::Leaf`] that it is issued under: whenever another
    /// authority signs, everyone gets a new leaf, even of one that signed before.
    pub mark: u64,
}

/// What a mesh has for one proxy, before a leaf is issued.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What the proxy trusts: a [`TrustBundle`]. None while mTLS is disabled.
    pub mesh_ca: Option<Arc<Resource>>,
    /// The leaf that it needs. None while mTLS is disabled.
    pub leaf: Option<LeafSpec>,
    /// Its clusters, in the order of their names.
    pub clusters: Arc<[Arc<Resource>]>,
    /// Their endpoints, in the order of the services.
    pub endpoints: Arc<[Arc<Resource>]>,
    /// Its listeners, in the order of their addresses.
    pub listeners: Arc<[Arc<Resource>]>,
    /// The marks of the mesh that all of this is under.
    pub marks: Marks,
}

impl View {
    /// The bundle that the proxy trusts.
    #[must_use]
    pub fn bundle(&self) -> Option<&TrustBundle> {
        self.mesh_ca.as_deref()?.bundle()
    }

    /// The snapshot with this leaf, [`Resource::identity_cert`], issued under this mark.
    #[must_use]
    pub fn with_identity(&self, identity: Option<(Arc<Resource>, u64)>) -> Snapshot {
        let mut marks = self.marks;
        if self.leaf.is_some() {
            marks.leaf = identity.as_ref().map_or(0, |(_, mark)| *mark);
        }
        let identity = identity.map(|(resource, _)| resource);
        Snapshot {
            marks,
            secrets: self.mesh_ca.iter().cloned().chain(identity).collect(),
            clusters: self.clusters.clone(),
            endpoints: self.endpoints.clone(),
            listeners: self.listeners.clone(),
        }
    }

    /// Whether both ask for the same leaf and hold the same resources in the
    /// same versions, under the same marks.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let version = |view: &Self| view.mesh_ca.as_ref().map(|resource| resource.version);
        self.marks == other.marks
            && self.leaf == other.leaf
            && version(self) == version(other)
            && are_same(&self.clusters, &other.clusters)
            && are_same(&self.endpoints, &other.endpoints)
            && are_same(&self.listeners, &other.listeners)
    }
}

/// Everything that one proxy is to be told, by type, each type in the order
/// of sending: a proxy learns whom to trust before it shows a new leaf.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    secrets: Arc<[Arc<Resource>]>,
    clusters: Arc<[Arc<Resource>]>,
    endpoints: Arc<[Arc<Resource>]>,
    listeners: Arc<[Arc<Resource>]>,
    marks: Marks,
}

impl Snapshot {
    /// A snapshot of these resources; no two of a type have the same name.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let resources: Vec<Arc<Resource>> = resources.into_iter().map(Arc::new).collect();
        let of = |kind| {
            let of_kind = resources.iter().filter(|resource| resource.kind == kind);
            of_kind.cloned().collect()
        };
        Self {
            secrets: of(ResourceType::Secret),
            clusters: of(ResourceType::Cluster),
            endpoints: of(ResourceType::Endpoints),
            listeners: of(ResourceType::Listener),
            marks: Marks::default(),
        }
    }

    /// The marks of the mesh that all of this is under; that of the leaf is 0
    /// while it should hold one and does not.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The secrets of a proxy.
    #[must_use]
    pub fn of_secrets(bundle: Option<Arc<TrustBundle>>, leaf: Option<Arc<Leaf>>) -> Self {
        Self::new(
            bundle
                .map(Resource::mesh_ca)
                .into_iter()
                .chain(leaf.map(Resource::identity_cert)),
        )
    }

    /// The same resources, of which the secrets are in the given editions.
    #[must_use]
    pub fn in_editions(self: &Arc<Self>, editions: &Editions) -> Arc<Self> {
        if editions.is_empty() {
            return self.clone();
        }
        let edited = |resource: &Arc<Resource>| match editions.get(&resource.version) {
            Some(edition) => Arc::new(resource.edition(*edition)),
            None => resource.clone(),
        };
        Arc::new(Self {
            secrets: self.secrets.iter().map(edited).collect(),
            ..Self::clone(self)
        })
    }

    /// Whether both hold the same resources in the same versions, under the
    /// same marks.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let are_same = |&kind| are_same(self.of(kind), other.of(kind));
        self.marks == other.marks && ResourceType::ALL.iter().all(are_same)
    }

    /// The resources of a type, in the order of sending.
    #[must_use]
    pub fn of(&self, kind: ResourceType) -> &[Arc<Resource>] {
        match kind {
            ResourceType::Secret => &self.secrets,
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoints => &self.endpoints,
            ResourceType::Listener => &self.listeners,
            ResourceType::Route => &[],
        }
    }
}

fn are_same(a: &[Arc<Resource>], b: &[Arc<Resource>]) -> bool {
    let same =
        |(a, b): (&Arc<Resource>, &Arc<Resource>)| Arc::ptr_eq(a, b) || a.version == b.version;
    std::ptr::eq(a, b) || (a.len() == b.len() && a.iter().zip(b).all(same))
}

#[cfg(test)]
mod tests;
