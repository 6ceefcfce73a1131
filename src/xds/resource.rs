//! Versioned resources: what a snapshot is made of and responses carry. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::snapshot::TrustBundle;
use crate::ca::Leaf;
use crate::model::{AuthorityId, BundleId, Digest, Timestamp};

/// The secret that holds the trust bundle.
pub const MESH_CA: &str = "mesh_ca";
/// The secret that holds the proxy's leaf and its key.
pub const IDENTITY_CERT: &str = "identity_cert";

/// A type of resources, in the order in which a change is sent so that nothing
/// refers to what is not there yet (xDS protocol, "Eventual consistency considerations").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `Secret`: SDS.
    Secret,
    /// `Cluster`: CDS.
    Cluster,
    /// `ClusterLoadAssignment`: EDS.
    Endpoints,
    /// `Listener`: LDS.
    Listener,
    /// `RouteConfiguration`: RDS. Windlass makes none; the protocol's machine knows its place.
    Route,
}

impl ResourceType {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Secret,
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
    ];

    /// The type URL.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with that URL.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The name in metrics and statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
            Self::Listener => "listener",
            Self::Route => "route",
        }
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a resource means to the control plane.
#[derive(Debug, Clone)]
pub enum Body {
    /// `mesh_ca`
    TrustBundle(Arc<TrustBundle>),
    /// `identity_cert`
    Identity(Arc<Leaf>),
    /// A message of the resource's type, encoded. There is no secret in it.
    Encoded(Arc<[u8]>),
}

/// One named resource in one version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// The name that proxies subscribe to.
    pub name: Arc<str>,
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
            kind: ResourceType::Secret,
            name: MESH_CA.into(),
            version: version(MESH_CA, bundle.pem.as_bytes(), 0),
            edition: 0,
            body: Body::TrustBundle(bundle),
        }
    }

    /// `identity_cert`. The version is that of the certificate, which
    /// determines the key; no digest of a key leaves the process.
    #[must_use]
    pub fn identity_cert(leaf: Arc<Leaf>) -> Self {
        Self {
            kind: ResourceType::Secret,
            name: IDENTITY_CERT.into(),
            version: version(IDENTITY_CERT, leaf.certificate.as_bytes(), 0),
            edition: 0,
            body: Body::Identity(leaf),
        }
    }

    /// A resource that is a message of its type, encoded.
    #[must_use]
    pub fn encoded(kind: ResourceType, name: impl Into<Arc<str>>, message: Arc<[u8]>) -> Self {
        let name = name.into();
        Self {
            kind,
            version: version(&name, &message, 0),
            name,
            edition: 0,
            body: Body::Encoded(message),
        }
    }

    /// The trust bundle that it is, if it is one.
    #[must_use]
    pub fn bundle(&self) -> Option<&TrustBundle> {
        match &self.body {
            Body::TrustBundle(bundle) => Some(bundle),
            Body::Identity(_) | Body::Encoded(_) => None,
        }
    }

    /// A secret in other bytes that mean the same, under another version; any
    /// other resource as it is, since Envoy looks at those again by itself.
    #[must_use]
    pub fn edition(&self, edition: u32) -> Self {
        let content = match &self.body {
            Body::TrustBundle(bundle) => &bundle.pem,
            Body::Identity(leaf) => &leaf.certificate,
            Body::Encoded(_) => return self.clone(),
        };
        Self {
            version: version(&self.name, content.as_bytes(), edition),
            edition,
            ..self.clone()
        }
    }

    /// About how many bytes its message has.
    #[must_use]
    pub fn size(&self) -> usize {
        let content = match &self.body {
            Body::TrustBundle(bundle) => bundle.pem.len(),
            Body::Identity(leaf) => leaf.certificate.len() + leaf.key.expose().len(),
            Body::Encoded(message) => message.len(),
        };
        self.name.len() + content
    }

    /// What its acceptance proves; `None` of what is no secret.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        match &self.body {
            Body::TrustBundle(bundle) => Some(Proof::Trusts(bundle.id, bundle.authorities.clone())),
            Body::Identity(leaf) => Some(Proof::Holds(leaf.issuer, leaf.not_after)),
            Body::Encoded(_) => None,
        }
    }
}

fn version(name: &str, content: &[u8], edition: u32) -> Digest {
    let ends = (0..edition).map(|_| b"\n".as_slice());
    let parts = [name.as_bytes(), b"\0", content];
    Digest::of_parts(parts.into_iter().chain(ends))
}

/// One version for several resources, given in the order of their names: what
/// is said of a type as a whole. It survives restarts, as the versions do.
#[must_use]
pub fn version_of_all<'a>(resources: impl IntoIterator<Item = (&'a str, Digest)>) -> Digest {
    let resources: Vec<_> = resources.into_iter().collect();
    let parts = resources
        .iter()
        .flat_map(|(name, version)| [name.as_bytes(), b"\0", version.as_bytes().as_slice()]);
    Digest::of_parts(parts)
}

/// Which edition of a resource one proxy is sent, by the version of its
/// first; that first one where there is no entry.
pub type Editions = BTreeMap<Digest, u32>;
