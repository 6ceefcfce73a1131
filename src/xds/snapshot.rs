//! What one proxy is to be told: from the stored mesh to versioned resources.
//!
//! Pure. [`super::index`] asks for the [`View`] of a proxy whenever its mesh
//! changes, adds the leaf and publishes the [`Snapshot`] to the proxy's streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ca::Leaf;
use crate::model::{AuthorityId, BundleId, Dataplane, Digest, MeshState, SpiffeId, Timestamp};

/// The secret that holds the trust bundle.
pub const MESH_CA: &str = "mesh_ca";
/// The secret that holds the proxy's leaf and its key.
pub const IDENTITY_CERT: &str = "identity_cert";

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

/// What a resource means to the control plane.
#[derive(Debug, Clone)]
pub enum Body {
    /// `mesh_ca`
    TrustBundle(Arc<TrustBundle>),
    /// `identity_cert`
    Identity(Arc<Leaf>),
}

/// One named resource in one version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The name that proxies subscribe to.
    pub name: &'static str,
    /// The digest of name and content: equal versions are equal bytes.
    pub version: Digest,
    /// How many line ends its certificates have beyond the usual. Editions
    /// mean the same in different bytes, for a proxy that has rejected some:
    /// Envoy looks at bytes again only if they differ from the last ones.
    pub edition: u32,
    /// The content.
    pub body: Body,
}

/// What an accepted resource proves about the proxy that accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It trusts these authorities and no other.
    Trusts(BundleId, Vec<AuthorityId>),
    /// It holds a leaf of this authority with this end.
    Holds(AuthorityId, Timestamp),
}

impl Resource {
    /// `mesh_ca`
    #[must_use]
    pub fn mesh_ca(bundle: Arc<TrustBundle>) -> Self {
        Self {
            name: MESH_CA,
            version: version(MESH_CA, &bundle.pem, 0),
            edition: 0,
            body: Body::TrustBundle(bundle),
        }
    }

    /// `identity_cert`. The version is that of the certificate, which
    /// determines the key; no digest of a key leaves the process.
    #[must_use]
    pub fn identity_cert(leaf: Arc<Leaf>) -> Self {
        Self {
            name: IDENTITY_CERT,
            version: version(IDENTITY_CERT, &leaf.certificate, 0),
            edition: 0,
            body: Body::Identity(leaf),
        }
    }

    /// The same in other bytes, under another version.
    #[must_use]
    pub fn edition(&self, edition: u32) -> Self {
        let content = match &self.body {
            Body::TrustBundle(bundle) => &bundle.pem,
            Body::Identity(leaf) => &leaf.certificate,
        };
        Self {
            version: version(self.name, content, edition),
            edition,
            ..self.clone()
        }
    }

    /// What its acceptance proves.
    #[must_use]
    pub fn proof(&self) -> Proof {
        match &self.body {
            Body::TrustBundle(bundle) => Proof::Trusts(bundle.id, bundle.authorities.clone()),
            Body::Identity(leaf) => Proof::Holds(leaf.issuer, leaf.not_after),
        }
    }
}

fn version(name: &str, content: &str, edition: u32) -> Digest {
    let ends = (0..edition).map(|_| b"\n".as_slice());
    let parts = [name.as_bytes(), b"\0", content.as_bytes()];
    Digest::of_parts(parts.into_iter().chain(ends))
}

/// Which edition of a resource one proxy is sent, by the version of its
/// first; that first one where there is no entry.
pub type Editions = BTreeMap<Digest, u32>;

/// Everything of one type that one proxy is to be told, in the order of
/// sending: a proxy learns whom to trust before it shows a new leaf.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    resources: Vec<Arc<Resource>>,
}

impl Snapshot {
    /// A snapshot of these resources; no two have the same name.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        Self {
            resources: resources.into_iter().map(Arc::new).collect(),
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

    /// The same resources in the given editions.
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
            resources: self.resources.iter().map(edited).collect(),
        })
    }

    /// Whether both hold the same resources in the same versions.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let versions = |snapshot: &Self| -> Vec<Digest> {
            let resources = snapshot.resources.iter();
            resources.map(|resource| resource.version).collect()
        };
        versions(self) == versions(other)
    }

    /// The resources, in the order of sending.
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }
}

#[cfg(test)]
mod tests;
