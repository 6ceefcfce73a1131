//! The words of Windlass as types: pure values without I/O, clock or randomness.
//!
//! Everything here is either parsed at the edge of the program and valid from
//! then on, or made by [`crate::plan`] and [`crate::apply`].

mod authority;
mod condition;
mod dataplane;
mod diagnostic;
mod digest;
mod evidence;
mod history;
mod mesh;
mod name;
mod permission;
mod policy;
mod provided_ca;
mod resource;
mod revision;
mod secret;
mod spiffe;
mod state;
mod time;
mod transition;
mod words;

pub use authority::{Authority, AuthorityOrigin, AuthorityState, IllegalMove};
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use dataplane::{Dataplane, Gateway, Inbound, Networking, Outbound, Role, Tags};
pub use diagnostic::{Diagnostic, Location, Severity};
pub use digest::{AuthorityId, BundleId, Digest, InvalidDigest, SpkiId};
pub use evidence::{Acknowledgement, Evidence, Nack, ProxyEvidence, combine, connected, together};
pub use history::{
    AcknowledgedBy, AcknowledgedPart, EndedTransition, HistoryEntry, PassedGate, PassedOver,
    PassedOverBecause, SourceStatus, Standing,
};
pub use mesh::{CaSpec, Mesh, Mtls, Offline, Phase, Strategy, TransitionSettings};
pub use name::{
    DataplaneId, InvalidName, MAX_MESH_NAME, MAX_RESOURCE_NAME, MAX_SERVICE_NAME, MeshName,
    ResourceName, ServiceName, SourceName,
};
pub use permission::{Selector, ServiceMatch, TrafficPermission};
pub use policy::{DeletionPolicy, Drift, RepositoryPolicy, SignatureMode, SignaturePolicy};
pub use provided_ca::ProvidedCa;
pub use resource::{Kind, Origin, Resource, ResourceKey, UnknownKind};
pub use revision::{CommitId, InvalidRevision, Revision};
pub use secret::{PrivateKey, SealedKey};
pub use spiffe::SpiffeId;
pub use state::{
    Current, Desired, DesiredMesh, DesiredResource, Generation, MeshState, StoredResource,
};
pub use time::{HumanDuration, InvalidDuration, InvalidTimestamp, Timestamp};
pub use transition::{Accepts, Marks, Opens, Part, Posture, Progress, Rules, Transition, way};
pub use words::{count, is_unprintable, printable};
