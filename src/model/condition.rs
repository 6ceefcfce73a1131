//! Conditions, in the manner of Kubernetes.

use serde::{Deserialize, Serialize};

use super::Timestamp;

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
