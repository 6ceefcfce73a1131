//! What has happened: the audit history and the state of the sources.

use serde::{Deserialize, Serialize};

use super::{MeshName, Revision, SourceName, Timestamp};

/// One line of the audit history: what was done to a mesh, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The store's generation after it.
    pub generation: super::Generation,
    /// The mesh.
    pub mesh: MeshName,
    /// The revision that asked for it; `None` for a call of the API.
    pub revision: Option<Revision>,
    /// What was done, one line a step, as in the plan.
    pub steps: Vec<String>,
}

/// What the store remembers of a source between two runs of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The source.
    pub source: SourceName,
    /// The last revision that was accepted and written.
    pub applied: Option<Revision>,
}
