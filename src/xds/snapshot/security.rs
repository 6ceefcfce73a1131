//! How the connections inside a mesh are secured now.

use crate::model::MeshState;

/// What the inbounds of a mesh accept and what its outbounds open. Two things,
/// since they do not change at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Security {
    /// What inbounds accept.
    pub accepts: Accepts,
    /// What outbounds open.
    pub opens: Opens,
}

/// What an inbound accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Plaintext, from anyone.
    Plaintext,
    /// TLS with a certificate of the mesh, where a permission says so.
    Mtls,
}

/// What an outbound opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Plaintext.
    Plaintext,
    /// TLS to exactly the service that it names.
    Mtls,
}

impl Security {
    /// The security of a mesh; `None` without a Mesh resource: nothing is known
    /// about such a mesh, so its proxies are given nothing. That mTLS is
    /// enabled is enough for it to be required: a leaf or a bundle that is
    /// missing makes connections fail, it never makes them plaintext.
    #[must_use]
    pub fn of(mesh: &MeshState) -> Option<Self> {
        Some(if mesh.mesh()?.mtls.enabled {
            Self {
                accepts: Accepts::Mtls,
                opens: Opens::Mtls,
            }
        } else {
            Self {
                accepts: Accepts::Plaintext,
                opens: Opens::Plaintext,
            }
        })
    }
}
