//! The way of a call to the store: plan, apply, and wait until it is served.
//!
//! Calls take turns, so they meet with nobody but the reconciler and other
//! replicas. Who publishes is told by the store of every write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::info;

use super::EvidenceSource;
use crate::apply::{Applier, ApplyError, OpenedKeys};
use crate::ca::Issuing;
use crate::check::{self, Rules};
use crate::clock;
use crate::manifest::codes;
use crate::model::{Current, Desired, Diagnostic, Generation, Kind, MeshState};
use crate::plan::{
    self, CA_CHANGE_FORBIDDEN, Call, CallRefused, Circumstances, MeshPlan, plan_call,
};
use crate::state;
use crate::store::admission::Refusal;
use crate::store::encryption::Vault;
use crate::store::{Store, StoreError, WriteError};

pub use adopt::Adoption;
pub(super) use approve::NotApproved;
pub use judge::Judgement;

mod adopt;
mod approve;
mod judge;

/// How often a call is planned again when the reconciler writes the same mesh.
const MAX_CONFLICTS: u32 = 10;
/// How long an answer waits until what was written is served.
const UNTIL_SERVED: Duration = Duration::from_secs(5);

/// What a [`Writer`] is built from.
pub struct WriterParts {
    /// Where it is written.
    pub store: Arc<dyn Store>,
    /// What seals keys before they are written.
    pub vault: Arc<Vault>,
    /// What is served.
    pub serving: state::Watch,
    /// What proxies have acknowledged.
    pub evidence: EvidenceSource,
    /// How long leaves live: no authority may end before.
    pub issuing: Issuing,
}

/// Carries out calls that change a resource.
pub struct Writer {
    parts: WriterParts,
    turn: Arc<Mutex<()>>,
}

/// What a call did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Nothing: it was as it is to be.
    Unchanged,
    /// The resource is new.
    Created,
    /// The resource is another now, or gone.
    Changed,
}

/// A call that was not carried out. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error(transparent)]
    Refused(#[from] CallRefused),
    #[error("the mesh would have errors")]
    Invalid(Vec<Diagnostic>),
    #[error(transparent)]
    NotAdmitted(Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Apply(ApplyError),
    #[error("others keep writing the same mesh")]
    Contended,
    #[error("the write was interrupted")]
    Interrupted,
}

impl Writer {
    /// A writer; there is one for a store.
    #[must_use]
    pub fn new(parts: WriterParts) -> Self {
        Self {
            parts,
            turn: Arc::default(),
        }
    }

    /// Carries out a call, and returns once it is served, or after a while.
    pub(super) async fn write(self: &Arc<Self>, call: Call) -> Result<Done, NotWritten> {
        self.write_with(call, OpenedKeys::new()).await
    }

    /// The same for a call that brings the keys of the authorities in it.
    pub(super) async fn write_with(
        self: &Arc<Self>,
        call: Call,
        keys: OpenedKeys,
    ) -> Result<Done, NotWritten> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let writer = Arc::clone(self);
        // A client that leaves does not leave a write unannounced.
        let write = tokio::spawn(async move {
            let written = writer.try_write(&call, &keys).await;
            drop(turn);
            written
        });
        let (done, generation) = write.await.map_err(|_| NotWritten::Interrupted)??;
        self.until_served(generation).await;
        Ok(done)
    }

    /// How leaves are issued.
    pub(super) fn issuing(&self) -> Issuing {
        self.parts.issuing
    }

    /// Waits a while until what was written is served.
    async fn until_served(&self, generation: Generation) {
        let mut serving = self.parts.serving.clone();
        let served = serving.wait_for(|serving| serving.current.generation >= generation);
        // What is stored is stored, even where it takes longer.
        let _ = timeout(UNTIL_SERVED, served).await;
    }

    async fn try_write(
        &self,
        call: &Call,
        keys: &OpenedKeys,
    ) -> Result<(Done, Generation), NotWritten> {
        for _ in 0..MAX_CONFLICTS {
            let current = self.current().await?;
            let mesh = current.meshes.get(&call.resource.mesh).map(Arc::clone);
            let mesh =
                mesh.unwrap_or_else(|| Arc::new(MeshState::absent(call.resource.mesh.clone())));
            let desired = call.desired(&mesh, &(self.parts.evidence)())?;
            let plan = self.plan(&mesh, call, &desired)?;
            if plan.steps.is_empty() {
                return Ok((Done::Unchanged, current.generation));
            }
            let evidence = (self.parts.evidence)();
            let applier = Applier {
                evidence: &evidence,
                store: self.parts.store.as_ref(),
                vault: &self.parts.vault,
                keys,
                now: clock::now(),
            };
            let written = match applier.apply(&plan, &mesh, &desired).await {
                Ok(written) => written,
                Err(error) => match NotWritten::from(error) {
                    NotWritten::Contended => continue,
                    other => return Err(other),
                },
            };
            let generation = written.generation;
            info!(resource = %call.resource, %generation, steps = plan.steps.len(), "a call of the API was applied");
            let done = if mesh.resources.contains_key(&call.resource) {
                Done::Changed
            } else {
                Done::Created
            };
            return Ok((done, generation));
        }
        Err(NotWritten::Contended)
    }

    /// What the store holds now.
    ///
    /// # Errors
    ///
    /// Fails where the store is out of reach.
    pub async fn current(&self) -> Result<Arc<Current>, StoreError> {
        let served = Arc::clone(&self.parts.serving.borrow().current);
        if self.parts.store.generation().await? == served.generation {
            return Ok(served);
        }
        let changes = self.parts.store.changes_since(served.generation).await?;
        Ok(Arc::new(state::merge(&served, &changes)))
    }

    /// Plans the call, and says all that is wrong with it at once.
    fn plan(
        &self,
        mesh: &MeshState,
        call: &Call,
        desired: &Desired,
    ) -> Result<MeshPlan, NotWritten> {
        let evidence = (self.parts.evidence)();
        let given = Circumstances {
            evidence: &evidence,
            issuing: self.parts.issuing,
            now: clock::now(),
        };
        let plan = plan_call(mesh, call, desired, given);
        let mut found = Vec::new();
        if plan.as_ref().err() == Some(&CallRefused::CaChangeForbidden) {
            let forbidden =
                Diagnostic::error(plan::codes::CA_CHANGE_FORBIDDEN, CA_CHANGE_FORBIDDEN);
            found.push(forbidden.on_field("mtls.ca"));
        }
        if plan.as_ref().err() != Some(&CallRefused::SigningCertificate) {
            found.extend(self.check(call, desired));
        }
        if found.is_empty() {
            Ok(plan?)
        } else {
            Err(NotWritten::Invalid(found))
        }
    }

    /// What certificates are judged by.
    pub(super) fn rules(&self) -> Rules {
        Rules {
            now: clock::now(),
            leaf_lifetime: self.parts.issuing.leaf_lifetime,
        }
    }

    /// Judges what the resource says of others. What is wrong with those is not
    /// its fault, unless the Mesh would no longer find its provided CA.
    fn check(&self, call: &Call, desired: &Desired) -> Vec<Diagnostic> {
        let rules = self.rules();
        let mesh_is_lost = |found: &Diagnostic| {
            let code = match call.after {
                Some(_) => codes::AMBIGUOUS_PROVIDED_CA,
                None => codes::NO_SIGNING_CERTIFICATE,
            };
            call.resource.kind == Kind::ProvidedCa && *found.code == *code
        };
        let is_own = |found: &Diagnostic| {
            call.after.is_some() && found.resource.as_ref() == Some(&call.resource)
        };
        let meshes = desired.meshes.values();
        meshes
            .flat_map(|mesh| check::mesh(mesh, &rules))
            .filter(|found| found.is_error() && (is_own(found) || mesh_is_lost(found)))
            .collect()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl fmt::Debug for WriterParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterParts").finish_non_exhaustive()
    }
}

impl From<ApplyError> for NotWritten {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Write { source, .. } => match source {
                WriteError::Conflict { .. } => Self::Contended,
                WriteError::Refused { source, .. } => Self::NotAdmitted(source),
                WriteError::Store(source) => Self::Store(source),
            },
            other => Self::Apply(other),
        }
    }
}
