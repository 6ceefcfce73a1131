//! The reasons to refuse a write, as data.

use crate::model::{
    AuthorityId, AuthorityOrigin, AuthorityState, CaSpec, DataplaneId, IllegalMove, MeshName,
    Posture, ResourceKey, Timestamp,
};
use crate::transition::{Awaited, Gate, Illegal};

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A resource belongs to another mesh than the write.
    #[error("{resource} does not belong to mesh {mesh}; write it to the mesh that it names")]
    ForeignResource {
        /// The resource.
        resource: ResourceKey,
        /// The mesh that is written.
        mesh: MeshName,
    },
    /// An authority belongs to another mesh than the write.
    #[error("authority {id} belongs to mesh {owner}, not to mesh {mesh}")]
    ForeignAuthority {
        /// The authority.
        id: AuthorityId,
        /// Its mesh.
        owner: MeshName,
        /// The mesh that is written.
        mesh: MeshName,
    },
    /// Resources would be left without the Mesh that they belong to.
    #[error(
        "{} would be left without Mesh {mesh}; delete dependents first, or keep the Mesh",
        list(dependents)
    )]
    WithoutMesh {
        /// The mesh.
        mesh: MeshName,
        /// The resources.
        dependents: Vec<ResourceKey>,
    },
    /// A mesh would be deleted with its keys while proxies of it are connected.
    #[error(
        "Mesh {mesh} cannot be deleted while dataplanes are connected: {}; stop them first",
        list(dataplanes)
    )]
    DataplanesConnected {
        /// The mesh.
        mesh: MeshName,
        /// Which proxies, in the order of their names.
        dataplanes: Vec<DataplaneId>,
    },
    /// A Dataplane would be away for the steps between its deletion and its return.
    #[error("{resource} is deleted and put in one write; put it as it is to be, or delete it")]
    WrittenAgain {
        /// The Dataplane.
        resource: ResourceKey,
    },
    /// An authority would be added to a mesh that does not exist.
    #[error("authority {id} needs Mesh {mesh}; write both at once")]
    AuthorityWithoutMesh {
        /// The authority.
        id: AuthorityId,
        /// The mesh.
        mesh: MeshName,
    },
    /// An authority would start in another state than staged.
    #[error("authority {id} must be added as staged, not as {state}; move it on afterwards")]
    NotStaged {
        /// The authority.
        id: AuthorityId,
        /// The state that was asked for.
        state: AuthorityState,
    },
    /// The authority was here before and its key is destroyed.
    #[error("authority {id} was revoked; forget it before it is added again")]
    AlreadyRevoked {
        /// The authority.
        id: AuthorityId,
    },
    /// The mesh has no such authority.
    #[error("there is no authority {id} to be moved; add it first")]
    UnknownAuthority {
        /// The authority.
        id: AuthorityId,
    },
    /// A state would be skipped or gone back to.
    #[error("authority {id} is {}: it cannot become {}", illegal.from, illegal.to)]
    IllegalMove {
        /// The authority.
        id: AuthorityId,
        /// The move.
        illegal: IllegalMove,
    },
    /// An authority that is still known to proxies would be forgotten.
    #[error("authority {id} is {state}; only a revoked one can be forgotten")]
    NotRevoked {
        /// The authority.
        id: AuthorityId,
        /// Its state.
        state: AuthorityState,
    },
    /// Two authorities would sign.
    #[error("authorities {first} and {second} would both be active; retire one of them")]
    TwoActive {
        /// The first one.
        first: AuthorityId,
        /// Another one.
        second: AuthorityId,
    },
    /// mTLS would be enabled with nothing that signs.
    #[error("mTLS cannot be enabled without an active authority; activate one in the same write")]
    NoActiveAuthority,
    /// mTLS would be enabled with another authority than the Mesh asks for.
    #[error(
        "mTLS cannot be enabled while the {origin} ({id}) is active and `mtls.ca` chooses \
         another one ({}); activate that one in the same write",
        ca.kind()
    )]
    OtherActive {
        /// The active authority.
        id: AuthorityId,
        /// Who made it.
        origin: AuthorityOrigin,
        /// What the Mesh asks for.
        ca: CaSpec,
    },
    /// Connections would become plaintext, and the Mesh does not say so.
    #[error(
        "connections cannot go back to {to:?}: the Mesh has mTLS enabled, and its authority \
         does not change in plaintext (`disableFirst`)"
    )]
    Unannounced {
        /// The posture that was asked for.
        to: Posture,
    },
    /// An authority would come to sign that is not valid.
    #[error(
        "the {origin} ({id}) is valid from {from} until {until}, and cannot become active at {now}; \
         provide one that is valid, or go back to the one that signs"
    )]
    OutsideValidity {
        /// The authority.
        id: AuthorityId,
        /// Who made it.
        origin: AuthorityOrigin,
        /// From when on it is valid.
        from: Timestamp,
        /// Until when.
        until: Timestamp,
        /// When the write came.
        now: Timestamp,
    },
    /// A step that is not legal from the present state.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// A step for which proxies have not acknowledged what it needs.
    #[error("the step waits for {gate}; {} yet to do so", list_awaited(awaited))]
    Unproven {
        /// What it needs.
        gate: Gate,
        /// The proxies that have not, in the order of their names.
        awaited: Vec<Awaited>,
    },
    /// Proxies hold leaves that nobody would trust any more.
    #[error(
        "authority {id} cannot leave the trust bundle: {} still hold a leaf of it; \
         wait until they acknowledge another one, or until it expires",
        list(dataplanes)
    )]
    StillInUse {
        /// The authority.
        id: AuthorityId,
        /// Which proxies, in the order of their names.
        dataplanes: Vec<DataplaneId>,
    },
}

fn list_awaited(awaited: &[Awaited]) -> String {
    let verb = if awaited.len() == 1 { "has" } else { "have" };
    let dataplanes: Vec<_> = awaited.iter().map(|it| &it.dataplane).collect();
    format!("{} {verb}", list(&dataplanes))
}

/// Lists the first few of `items`, and counts the rest.
fn list<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    if items.len() > SHOWN {
        shown.push(format!("{} more", items.len() - SHOWN));
    }
    shown.join(", ")
}
