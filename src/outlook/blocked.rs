//! Why a transition does not go on, whatever proxies acknowledge.

use std::fmt;

use crate::model::{MeshState, ResourceKey, Timestamp, Transition};
use crate::plan::{self, Blocked, Circumstances};

/// Why a transition does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What the planner says.
    pub why: Blocked,
    /// Since when.
    pub since: Timestamp,
}

impl Obstacle {
    pub(super) fn of(
        mesh: &MeshState,
        transition: &Transition,
        given: Circumstances<'_>,
    ) -> Option<Self> {
        let (why, since) = plan::too_short(mesh, given)?;
        let since = since.max(transition.since);
        Some(Self { why, since })
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        plan::ROOT_TOO_SHORT_HINT
    }

    fn resource(&self) -> Option<&ResourceKey> {
        match &self.why {
            Blocked::RootTooShort { resource, .. } => Some(resource),
            _ => None,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(resource) = self.resource() {
            write!(f, "{resource}: ")?;
        }
        self.why.fmt(f)
    }
}
