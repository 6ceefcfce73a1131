//! Plans: what differs between current and desired state, and the ordered
//! steps that get from one to the other.
//!
//! [`plan`] is a pure function and a [`Plan`] is a value: the same input gives
//! the same bytes, and doing nothing has a reason that is data ([`Blocked`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ca::{CertificateInfo, Issuing};
use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, DataplaneId, DesiredResource, Diagnostic, Evidence,
    Generation, HumanDuration, Marks, MeshName, Phase, Posture, ResourceKey, ResourceName,
    Revision, Rules, ServiceMatch, StoredResource, Timestamp, Transition,
};
use crate::transition::{Gate, Waiting};

mod advance;
mod authorization;
mod baseline;
mod call;
pub mod codes;
mod compute;
mod deletion;
mod describe;
mod expiry;
mod outlook;
pub mod render;
mod steps;

pub use advance::advance;
pub use baseline::baseline;
pub use call::{Call, CallRefused, plan_call};
pub use compute::{CA_CHANGE_FORBIDDEN, plan, plan_within};
pub use describe::{Summary, gate_in_words};
pub use expiry::{HINT as ROOT_TOO_SHORT_HINT, too_short};
pub use outlook::{Outlook, Reissue, Window};

/// What a revision would do to a store.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The revision that is planned.
    pub head: Option<Revision>,
    /// The revision it is compared with, where that is not a store.
    pub base: Option<Revision>,
    /// The store's generation that the plan was made against.
    pub generation: Generation,
    /// The plan of each mesh that is touched or held back, in the order of names.
    pub meshes: Vec<MeshPlan>,
    /// Why parts of the desired state are not reached, beyond single meshes.
    pub blocked: Vec<Blocked>,
    /// What is wrong with the revision, at no place yet for what the plan itself finds.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a revision would do to one mesh. It is applied whole or not at all.
#[derive(Debug, Clone)]
pub struct MeshPlan {
    /// The mesh.
    pub mesh: MeshName,
    /// The generation that compare-and-set will compare; 0 where it is absent.
    pub generation: Generation,
    /// What differs.
    pub changes: Vec<Change>,
    /// What is done about it, in order, to the end.
    pub steps: Vec<Step>,
    /// How many of them are done now, in one write. The others follow when
    /// what they wait for has come.
    pub due: usize,
    /// The gates that have opened for those, in order.
    pub opened: Vec<Opened>,
    /// What the mesh notes of its transition with that write.
    pub progress: Noted,
    /// What the step after those that are due waits for.
    pub waiting: Option<Waiting>,
    /// Why no other authority comes to sign, whatever is waited for; everything
    /// else is done.
    pub stopped: Option<Blocked>,
    /// What the transition means as a whole; `None` where there is none.
    pub outlook: Option<Outlook>,
    /// How transitions were carried out so far, where that changes.
    pub rules_before: Option<Rules>,
    /// Whose connections become allowed or denied.
    pub authorization: Vec<AuthorizationChange>,
    /// Why nothing is done; where this is not empty, `steps` is not executed.
    pub blocked: Vec<Blocked>,
}

/// One resource that differs.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resource.
    pub resource: ResourceKey,
    /// What the store holds; `None` where it is created.
    pub before: Option<Arc<StoredResource>>,
    /// What the revision holds; `None` where it is deleted.
    pub after: Option<Arc<DesiredResource>>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counts the steps of a mesh from 1; the id is `<mesh>/<number>`.
    pub number: u32,
    /// What is done.
    pub action: Action,
    /// The phase of the transition that it belongs to; `None` for what is
    /// written of the revision itself.
    pub phase: Option<Phase>,
    /// What has to happen before.
    pub waits_for: Option<Gate>,
    /// What the mesh's `hold` says, where that stops the transition before it.
    pub held: Option<Phase>,
    /// What it may cost.
    pub risk: Risk,
}

/// A gate that has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What it asks for.
    pub gate: Gate,
    /// The marks at which it does.
    pub marks: Marks,
    /// The phase that begins.
    pub phase: Phase,
}

/// What a mesh notes of its transition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// How transitions are carried out.
    pub rules: Rules,
    /// The one that runs.
    pub transition: Option<Transition>,
}

/// What a plan is made from beside the states.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What proxies have acknowledged, and which are connected.
    pub evidence: &'a Evidence,
    /// How leaves are issued.
    pub issuing: Issuing,
    /// When the plan is made.
    pub now: Timestamp,
}

/// What a step does. Doing one twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Makes a builtin authority; it is staged.
    CreateAuthority {
        /// Which one of the mesh, from 1.
        ordinal: u32,
    },
    /// Stores a provided authority; nobody trusts it yet.
    StageAuthority {
        /// The ProvidedCa.
        name: ResourceName,
        /// What its certificate says.
        certificate: CertificateInfo,
    },
    /// Adds an authority to the trust bundle.
    PrepareAuthority(AuthorityRef),
    /// Lets an authority sign.
    ActivateAuthority {
        /// Which.
        authority: AuthorityRef,
        /// What its certificate says; `None` where this plan stages or makes it.
        certificate: Option<CertificateInfo>,
        /// The leaves that are issued for it.
        reissue: Reissue,
    },
    /// Stops an authority from signing.
    RetireAuthority(AuthorityRef),
    /// Makes every connection end that an earlier authority authenticated.
    DrainConnections,
    /// Drops an authority from the trust bundle; its key stays.
    WithdrawAuthority(AuthorityRef),
    /// Destroys the key of an authority that nobody trusts.
    RevokeAuthority(AuthorityRef),
    /// Secures connections in another way.
    Secure {
        /// As they are.
        from: Posture,
        /// As they will be.
        to: Posture,
        /// The leaves that are issued for it.
        reissue: Reissue,
    },
    /// Sees that the last step has reached every proxy.
    Confirm,
    /// Creates the Mesh resource.
    CreateMesh,
    /// Changes the Mesh resource in what is neither mTLS nor CA.
    UpdateMesh,
    /// Sets another CA in the Mesh resource.
    ChangeCa,
    /// Enables mTLS.
    EnableMtls,
    /// Disables mTLS.
    DisableMtls,
    /// Creates and updates resources other than the Mesh.
    WriteResources(Vec<ResourceKey>),
    /// Notes that unchanged resources come from another file now, or from
    /// this source instead of the API.
    RecordOrigin(Vec<ResourceKey>),
    /// Deletes resources, dependents first.
    DeleteResources(Vec<ResourceKey>),
    /// Deletes the mesh with its authorities and their keys.
    DeleteMesh,
}

/// Names an authority of the mesh in a step: a builtin one that this plan
/// makes has no id yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthorityRef {
    /// The builtin authority of that ordinal.
    Builtin(u32),
    /// The provided authority of that id.
    Provided {
        /// The name of its ProvidedCa.
        name: ResourceName,
        /// The certificate's id.
        id: AuthorityId,
    },
}

impl AuthorityRef {
    /// Whether it names this authority.
    #[must_use]
    pub fn names(&self, authority: &Authority) -> bool {
        match self {
            Self::Builtin(wanted) => {
                authority.origin == AuthorityOrigin::Builtin { ordinal: *wanted }
            }
            Self::Provided { id, .. } => authority.id == *id,
        }
    }
}

/// What a step may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Risk {
    /// Nothing.
    None,
    /// Connections may fail while it is done.
    Disruptive,
    /// Traffic is not encrypted after it.
    Plaintext,
    /// What it removes cannot be brought back.
    Destructive,
}

/// Why something is not done (yet).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// The mesh (or the whole revision) has errors.
    Invalid,
    /// The CA would change while mTLS is enabled.
    CaChangeForbidden,
    /// A provided authority would come to sign that ends before it could be
    /// replaced in time.
    RootTooShort {
        /// Its ProvidedCa.
        resource: ResourceKey,
        /// When it ends.
        ends: Timestamp,
        /// How long it would have to live on: a leaf and a rotation.
        needs: HumanDuration,
    },
    /// The Mesh names no provided CA, and calls of the API added some beside the
    /// one of the source.
    AmbiguousCa {
        /// Those.
        resources: Vec<ResourceKey>,
    },
    /// The source holds nothing, which deletes nothing.
    EmptySource {
        /// How many resources it held before.
        resources: usize,
    },
    /// The revision deletes more than the repository's policy allows.
    BudgetExceeded {
        /// What the policy allows.
        limit: usize,
        /// What the revision wants.
        wanted: usize,
    },
    /// The repository's policy wants an approval for these deletions.
    NeedsApproval {
        /// What would be deleted.
        resources: Vec<ResourceKey>,
    },
    /// Dataplanes of a mesh that is to be deleted are connected.
    DataplanesConnected {
        /// Which.
        dataplanes: Vec<DataplaneId>,
    },
    /// Resources belong to someone else: another source or the API.
    OwnedByOthers {
        /// Which.
        resources: Vec<ResourceKey>,
    },
    /// Someone changed resources in the store behind the source's back, and
    /// the policy is to report it.
    Drifted {
        /// Which.
        resources: Vec<ResourceKey>,
    },
}

/// A pair of services whose connections become allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthorizationChange {
    /// The mesh.
    pub mesh: MeshName,
    /// Who connects; `*` where the change is too wide to list every pair.
    pub source: ServiceMatch,
    /// To whom; `*` likewise.
    pub destination: ServiceMatch,
    /// Before.
    pub before: Verdict,
    /// After.
    pub after: Verdict,
}

/// Whether a connection is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is.
    Allow,
    /// It is not.
    Deny,
}
