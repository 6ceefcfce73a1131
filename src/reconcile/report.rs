//! What the reconciler says of itself: conditions in the manner of Kubernetes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::{Diagnostic, MeshName, Revision, SourceName, Timestamp};

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// The source's name.
    pub name: SourceName,
    /// The repository's URL or path, without credentials.
    pub repo: String,
    /// The branch; empty until it is known.
    pub branch: String,
    /// The path inside the repository.
    pub path: String,
    /// The revision that was looked at last.
    pub attempted: Option<Revision>,
    /// The last revision that was accepted and written.
    pub applied: Option<Revision>,
    /// How it stands now.
    pub conditions: Vec<Condition>,
    /// What is wrong with the attempted revision.
    pub diagnostics: Vec<Diagnostic>,
    /// How each mesh stands that is not simply as the revision wants it.
    pub meshes: BTreeMap<MeshName, Vec<Condition>>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which one.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word in PascalCase, such as `ReconciliationSucceeded`.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when.
    pub last_transition_time: Timestamp,
}

/// The condition types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// The attempted revision is what is stored.
    Ready,
    /// Something is under way.
    Reconciling,
    /// Nothing moves until someone acts.
    Stalled,
    /// The source answers.
    Healthy,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

/// Sees every report that is published.
pub type ReportWatch = watch::Receiver<Arc<Vec<SourceReport>>>;
