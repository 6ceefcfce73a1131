//! Who serves, and whether the store answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ApiContext;
use crate::model::Timestamp;
use crate::replicas::Member;
use crate::store::Reach;

/// A replica of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Its name (`general.instanceId`).
    pub name: Arc<str>,
    /// Since when it runs.
    pub since: Timestamp,
    /// Whether it is the one that reconciles.
    pub leads: bool,
    /// Since when it is silent; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Timestamp>,
}

/// Whether the store answers the replica that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Whether it does.
    pub answers: bool,
    /// Since when it does not; what is served is what was known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Timestamp>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
}

impl ReplicaStatus {
    /// All that are known, in the order of their names.
    pub(super) fn all(ctx: &ApiContext) -> Vec<Self> {
        let status = |it: &Member| Self {
            name: Arc::clone(&it.name),
            since: it.since,
            leads: it.leads,
            silent_since: it.silent_since,
        };
        ctx.roster.borrow().iter().map(status).collect()
    }
}

impl StoreStatus {
    /// How it is now.
    pub(super) fn of(ctx: &ApiContext) -> Self {
        match &*ctx.store.reach().borrow() {
            Reach::Answers => Self {
                answers: true,
                ..Self::default()
            },
            Reach::Lost { since, why } => Self {
                answers: false,
                lost_since: Some(*since),
                message: Some(Arc::clone(why)),
            },
        }
    }
}
