//! The ProvidedCa resource.

use serde::{Deserialize, Serialize};

use super::{MeshName, ResourceName};

/// A root that the user provides, as code: the certificate in clear, its key
/// encrypted with age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvidedCa {
    /// The mesh that the authority is for.
    pub mesh: MeshName,
    /// The authority's name inside the mesh.
    pub name: ResourceName,
    /// The certificate as PEM, as it was written.
    pub cert: String,
    /// The private key as age armor; left out where a ProvidedCa leaves the
    /// source (store, plan, API), so that a re-encrypted key is no change.
    #[serde(default, skip_serializing)]
    pub key: String,
}
