//! What replicas of the control plane that share a store tell each other: that
//! they live, which of them reconciles, and that something has changed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::model::Timestamp;

/// Counts that rise whenever something of their kind may have changed in the
/// store, by whomever. A hint: what changed is asked for, and who looks now and
/// then misses nothing where a hint is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News {
    /// Meshes, with all that belongs to them.
    pub meshes: u64,
    /// What proxies have acknowledged.
    pub evidence: u64,
    /// Secrets: keys of tokens, revocations.
    pub secrets: u64,
    /// How far sources have come, and how they stand.
    pub sources: u64,
    /// Someone asked for a reconcile now.
    pub sync: u64,
}

/// Whether the store answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// It did when it was asked last.
    #[default]
    Answers,
    /// It does not.
    Lost {
        /// Since when.
        since: Timestamp,
        /// Why, without credentials.
        why: Arc<str>,
    },
}

/// A replica of the control plane, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its name (`general.instanceId`), the one that evidence names.
    pub name: Arc<str>,
    /// Tells one run of it from the next.
    pub run: Arc<str>,
    /// Since when it runs.
    pub since: Timestamp,
    /// The public halves of the identities that it can open sealed keys with.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Whether it reconciles.
    #[serde(default)]
    pub leads: bool,
}

/// A replica that announced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Which.
    pub replica: Replica,
    /// How long ago, by the clock of the store or by this process's own
    /// observation: the clocks of two replicas are never compared.
    pub ago: Duration,
}

/// That this replica is the one that reconciles. Dropping it lets another one.
///
/// It is no proof: a replica may learn late that it was lost. What a stale
/// leader writes is refused by compare-and-set on the mesh's generation.
pub struct Leadership {
    lost: CancellationToken,
    _held: Box<dyn Send + Sync>,
}

impl Leadership {
    /// Leadership that ends with `lost`, or when `held` is dropped with it.
    pub fn new(lost: CancellationToken, held: impl Send + Sync + 'static) -> Self {
        Self {
            lost,
            _held: Box::new(held),
        }
    }

    /// Resolves when it is lost.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Whether it is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
