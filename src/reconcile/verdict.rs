//! What became of a revision, and why a pass failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::apply::ApplyError;
use crate::model::{Diagnostic, MeshName};
use crate::plan::{Blocked, MeshPlan};
use crate::source::SourceError;
use crate::store::StoreError;
use crate::telemetry;

/// What became of a revision.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) commit_held_back: bool,
    pub(super) blocked: Vec<Blocked>,
    pub(super) meshes: BTreeMap<MeshName, Vec<(String, String)>>,
    pub(super) applied: BTreeSet<MeshName>,
    pub(super) ca_change_forbidden: BTreeSet<MeshName>,
}

impl Verdict {
    pub(super) fn block(&mut self, mesh: &MeshPlan) {
        let reasons = mesh
            .blocked
            .iter()
            .map(|b| (b.reason().to_owned(), b.to_string()));
        self.meshes.insert(mesh.mesh.clone(), reasons.collect());
        if mesh.blocked.contains(&Blocked::CaChangeForbidden) {
            self.ca_change_forbidden.insert(mesh.mesh.clone());
        }
    }

    pub(super) fn fail(&mut self, mesh: &MeshPlan, error: &ApplyError) {
        let message = telemetry::chain(error).to_string();
        self.meshes
            .insert(mesh.mesh.clone(), vec![("ApplyFailed".to_owned(), message)]);
    }

    /// The meshes that the next pass has to look at again.
    pub(super) fn unfinished(&self) -> BTreeSet<MeshName> {
        self.meshes.keys().cloned().collect()
    }

    /// Whether all of the revision is stored.
    pub(super) fn is_complete(&self) -> bool {
        !self.commit_held_back && self.blocked.is_empty() && self.meshes.is_empty()
    }
}

/// A pass that failed for a reason that may go away.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the source could not be read")]
    Source(#[source] Arc<SourceError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("others keep writing the same meshes")]
    Contended,
    #[error("another replica reconciles now")]
    NotLeading,
    #[error("the branch has moved on meanwhile")]
    Superseded,
    #[error("reading the source was interrupted")]
    Interrupted,
}

impl Failure {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Source(_) => "SourceUnavailable",
            Self::Store(_) => "StoreUnavailable",
            Self::Contended | Self::Superseded => "Contended",
            Self::NotLeading => "NotLeading",
            Self::Interrupted => "Interrupted",
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl From<Arc<SourceError>> for Failure {
    fn from(error: Arc<SourceError>) -> Self {
        Self::Source(error)
    }
}
