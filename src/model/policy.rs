//! `windlass.yaml`: the repository's own policy, reviewed with its resources.

use serde::{Deserialize, Serialize};

use super::{Kind, TransitionSettings};

/// The repository's policy. Without a file everything is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepositoryPolicy {
    /// The defaults for the `transition` block of every mesh.
    #[serde(default)]
    pub transition: TransitionSettings,
    /// How much one revision may delete.
    #[serde(default)]
    pub deletion: DeletionPolicy,
    /// What happens to a stored resource that someone else changed.
    #[serde(default)]
    pub drift: Drift,
    /// Which commits must be signed, and by whom.
    #[serde(default)]
    pub signatures: SignaturePolicy,
}

/// How much one revision may delete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionPolicy {
    /// The most resources that one revision may delete; `None` is no limit.
    #[serde(default)]
    pub max_resources: Option<usize>,
    /// The kinds that are not deleted without approval.
    #[serde(default)]
    pub require_approval: Vec<Kind>,
}

/// What happens to a stored resource that someone else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// It is put back.
    #[default]
    Heal,
    /// It is reported.
    Report,
}

/// Which commits must be signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignaturePolicy {
    /// Which commits are checked.
    #[serde(default)]
    pub mode: SignatureMode,
    /// The file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS), relative
    /// to the source's path.
    #[serde(default)]
    pub allowed_signers: Option<String>,
}

/// Which commits are checked for a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignatureMode {
    /// None.
    #[default]
    None,
    /// The one that is applied.
    Head,
    /// Every one since the last that was applied.
    Strict,
}
