//! What one proxy is to be told: from the stored mesh to versioned resources.
//!
//! Pure. [`super::index`] asks for the [`View`] of a proxy whenever its mesh
//! changes, adds the leaf and publishes the [`Snapshot`] to the proxy's streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::resource::{Editions, Resource, ResourceType};
use crate::ca::Leaf;
use crate::model::{AuthorityId, BundleId, Dataplane, Digest, MeshState, SpiffeId};

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
}

/// What a mesh has for one proxy, before a leaf is issued. Empty while mTLS
/// is disabled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// What the proxy trusts.
    pub bundle: Option<Arc<TrustBundle>>,
    /// The leaf that it needs.
    pub leaf: Option<LeafSpec>,
}

impl View {
    /// The view of a dataplane. `bundle` is [`TrustBundle::of`] the same mesh,
    /// shared by all of its proxies.
    #[must_use]
    pub fn of(mesh: &MeshState, dataplane: &Dataplane, bundle: Option<&Arc<TrustBundle>>) -> Self {
        if !mesh.mesh().is_some_and(|mesh| mesh.mtls.enabled) {
            return Self::default();
        }
        let leaf = match (dataplane.service(), mesh.active_authority()) {
            (Some(service), Some(authority)) => Some(LeafSpec {
                identity: SpiffeId {
                    mesh: mesh.name.clone(),
                    service,
                },
                issuer: authority.id,
            }),
            _ => None,
        };
        Self {
            bundle: bundle.cloned(),
            leaf,
        }
    }
}

/// Everything that one proxy is to be told, by type, each type in the order
/// of sending: a proxy learns whom to trust before it shows a new leaf.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    resources: BTreeMap<ResourceType, Arc<[Arc<Resource>]>>,
}

impl Snapshot {
    /// A snapshot of these resources; no two of a type have the same name.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut by_type: BTreeMap<ResourceType, Vec<Arc<Resource>>> = BTreeMap::new();
        for resource in resources {
            let of_type = by_type.entry(resource.kind).or_default();
            of_type.push(Arc::new(resource));
        }
        let frozen = by_type.into_iter().map(|(kind, list)| (kind, list.into()));
        Self {
            resources: frozen.collect(),
        }
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
        let mut resources = self.resources.clone();
        if let Some(secrets) = resources.get_mut(&ResourceType::Secret) {
            *secrets = secrets.iter().map(edited).collect();
        }
        Arc::new(Self { resources })
    }

    /// Whether both hold the same resources in the same versions.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        ResourceType::ALL.iter().all(|&kind| {
            let (a, b) = (self.of(kind), other.of(kind));
            let versions = |(a, b): (&Arc<Resource>, &Arc<Resource>)| a.version == b.version;
            std::ptr::eq(a, b) || (a.len() == b.len() && a.iter().zip(b).all(versions))
        })
    }

    /// The resources of a type, in the order of sending.
    #[must_use]
    pub fn of(&self, kind: ResourceType) -> &[Arc<Resource>] {
        self.resources.get(&kind).map_or(&[], |list| list)
    }
}

#[cfg(test)]
mod tests;
