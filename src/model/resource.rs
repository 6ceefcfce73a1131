//! All kinds of resources as one type, and where a resource comes from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Dataplane, Digest, Mesh, MeshName, ProvidedCa, ResourceName, Revision, SourceName,
    TrafficPermission,
};

/// The kinds of resources, in the order in which they are written: what
/// others refer to comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`Mesh`]
    Mesh,
    /// [`ProvidedCa`]
    ProvidedCa,
    /// [`TrafficPermission`]
    TrafficPermission,
    /// [`Dataplane`]
    Dataplane,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Mesh,
        Self::ProvidedCa,
        Self::TrafficPermission,
        Self::Dataplane,
    ];

    /// The name that `type:` and `kind:` hold.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::ProvidedCa => "ProvidedCa",
            Self::TrafficPermission => "TrafficPermission",
            Self::Dataplane => "Dataplane",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of Mesh, ProvidedCa, TrafficPermission, Dataplane")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownKind)
    }
}

/// What identifies a resource. Its `Display` form is the address of a plan:
/// `Mesh/<name>` for a mesh, `<mesh>/<type>/<name>` for the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// The mesh; of a Mesh itself, its own name.
    pub mesh: MeshName,
    /// The kind.
    pub kind: Kind,
    /// The name inside the mesh; of a Mesh itself, its own name.
    pub name: ResourceName,
}

impl ResourceKey {
    /// The key of the Mesh resource of `mesh`.
    #[must_use]
    pub fn mesh(mesh: &MeshName) -> Self {
        Self {
            mesh: mesh.clone(),
            kind: Kind::Mesh,
            name: mesh.to_resource_name(),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Mesh => write!(f, "Mesh/{}", self.name),
            kind => write!(f, "{}/{kind}/{}", self.mesh, self.name),
        }
    }
}

/// A resource of any kind. Its serde form is the Universal form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Resource {
    /// A mesh.
    Mesh(Mesh),
    /// A provided authority.
    ProvidedCa(ProvidedCa),
    /// A permission.
    TrafficPermission(TrafficPermission),
    /// A dataplane.
    Dataplane(Dataplane),
}

impl Resource {
    /// The kind of this resource.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Mesh(_) => Kind::Mesh,
            Self::ProvidedCa(_) => Kind::ProvidedCa,
            Self::TrafficPermission(_) => Kind::TrafficPermission,
            Self::Dataplane(_) => Kind::Dataplane,
        }
    }

    /// What identifies this resource.
    #[must_use]
    pub fn key(&self) -> ResourceKey {
        let (mesh, name) = match self {
            Self::Mesh(mesh) => return ResourceKey::mesh(&mesh.name),
            Self::ProvidedCa(ca) => (&ca.mesh, &ca.name),
            Self::TrafficPermission(permission) => (&permission.mesh, &permission.name),
            Self::Dataplane(dataplane) => (&dataplane.mesh, &dataplane.name),
        };
        ResourceKey {
            mesh: mesh.clone(),
            kind: self.kind(),
            name: name.clone(),
        }
    }

    /// The resource in the Universal form. A ProvidedCa's key is left out.
    #[must_use]
    pub fn to_universal(&self) -> serde_json::Value {
        // Every field of every kind serializes: names, numbers, lists and maps with text keys.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The digest of the Universal form: equal for equal content, whatever
    /// the form, the order or the file that it was written in.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_universal().to_string().as_bytes())
    }
}

/// Where a stored resource comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Someone wrote it through the API.
    Api {},
    /// A source of desired state holds it.
    Source {
        /// The source.
        source: SourceName,
        /// The file, relative to the source's path.
        file: Arc<str>,
        /// The revision that it was last written from.
        revision: Revision,
    },
}

impl Origin {
    /// Whether the resource belongs to `source`.
    #[must_use]
    pub fn is_source(&self, source: &SourceName) -> bool {
        matches!(self, Self::Source { source: owner, .. } if owner == source)
    }
}
