//! SPIFFE identities.

use std::fmt;

use super::{MeshName, ServiceName};

/// The SPIFFE ID of a service, `spiffe://<mesh>/<service>` (SPIFFE-ID 2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The trust domain.
    pub mesh: MeshName,
    /// The path.
    pub service: ServiceName,
}

impl SpiffeId {
    /// The SPIFFE ID of the trust domain itself, `spiffe://<mesh>`, which an
    /// authority carries (X509-SVID 3.2).
    #[must_use]
    pub fn trust_domain(mesh: &MeshName) -> String {
        format!("spiffe://{mesh}")
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.mesh, self.service)
    }
}
