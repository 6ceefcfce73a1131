//! What the store counts, and tells of.

use crate::store::News;

/// The channel on which those who listen are told.
pub(super) const CHANNEL: &str = "windlass";

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Meshes: the generation.
    Meshes,
    /// What proxies have acknowledged: the mark.
    Evidence,
    /// Secrets.
    Secrets,
    /// The state of sources.
    Sources,
    /// Calls for a reconcile.
    Sync,
}

macro_rules! raise {
    ($column:literal, $name:literal) => {
        concat!(
            "WITH raised AS (UPDATE store SET ",
            $column,
            " = ",
            $column,
            " + 1 RETURNING ",
            $column,
            " AS count) SELECT count, pg_notify('windlass', '",
            $name,
            "') FROM raised"
        )
    };
}

impl Topic {
    /// All of them, in the order of their columns.
    pub(super) const ALL: [Self; 5] = [
        Self::Meshes,
        Self::Evidence,
        Self::Secrets,
        Self::Sources,
        Self::Sync,
    ];

    /// What those who listen hear.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Meshes => "meshes",
            Self::Evidence => "evidence",
            Self::Secrets => "secrets",
            Self::Sources => "sources",
            Self::Sync => "sync",
        }
    }

    /// The statement that raises its count and tells of it.
    pub(super) fn raise(self) -> &'static str {
        match self {
            Self::Meshes => raise!("generation", "meshes"),
            Self::Evidence => raise!("evidence", "evidence"),
            Self::Secrets => raise!("secrets", "secrets"),
            Self::Sources => raise!("sources", "sources"),
            Self::Sync => raise!("sync", "sync"),
        }
    }

    /// Raises the count of who is told.
    pub(super) fn tell(self, news: &mut News) {
        let count = match self {
            Self::Meshes => &mut news.meshes,
            Self::Evidence => &mut news.evidence,
            Self::Secrets => &mut news.secrets,
            Self::Sources => &mut news.sources,
            Self::Sync => &mut news.sync,
        };
        *count += 1;
    }
}
