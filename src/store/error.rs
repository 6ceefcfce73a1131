//! How stores fail, and what to do about it.

use std::io;

use super::admission::Refusal;
use crate::model::{Generation, MeshName};

/// A store that does not answer, or answers what it should not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database could not be reached or refused the statement.
    #[error("the store at {at} failed to {action}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// Which store, without credentials.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// Something in the store is not what this version of Windlass wrote.
    #[error("the store at {at} holds {what} that cannot be read; restore it from a backup")]
    Corrupt {
        /// What cannot be read, with its key.
        what: String,
        /// Which store.
        at: String,
        /// Why.
        source: BoxError,
    },
    /// The file or its folder cannot be made or opened.
    #[error(
        "the store at {at} cannot be opened; \
         check that its folder exists and that this user may write to it"
    )]
    Open {
        /// Which store.
        at: String,
        /// Why.
        source: BoxError,
    },
    /// There is no room left.
    #[error("the store at {at} has no room left to {action}; make room on its disk and try again")]
    Full {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// The store may be read only.
    #[error(
        "the store at {at} is read-only: failed to {action}; \
         give this user the right to write to the file and its folder"
    )]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// Someone else holds the store's lock for too long.
    #[error(
        "the store at {at} is locked by another process: failed to {action}; \
         end what holds it (`fuser` names it) and try again"
    )]
    Locked {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// The file is not a database, or no longer.
    #[error("the store at {at} is damaged or no database; restore it from a backup")]
    Damaged {
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// No connection to the server can be made, or it broke. What was being done
    /// was not done.
    #[error("the store at {at} cannot be reached: {problem}")]
    Unreachable {
        /// Which store, without credentials.
        at: String,
        /// What failed, and how to mend it.
        problem: String,
        /// The other side's own words, where there are any.
        source: Option<BoxError>,
    },
    /// The connection broke at the end: what was being done may have been done.
    #[error(
        "the connection to the store at {at} broke when it was to {action}, \
         which may have been done; look, and try again"
    )]
    Uncertain {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// Why.
        source: BoxError,
    },
    /// Others wrote at the same time, again and again.
    #[error("the store at {at} failed to {action}, for others wrote at the same time; try again")]
    Contended {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// Windlass's role may not do this.
    #[error(
        "the store at {at} does not let its role {action}; make it the owner of the database, and \
         the server one that may be written to"
    )]
    Denied {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The database's own words.
        source: BoxError,
    },
    /// The database is not one that Windlass can use.
    #[error("the store at {at} {problem}")]
    Unfit {
        /// Which store.
        at: String,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },
    /// The API server does not let this control plane do what it has to.
    #[error(
        "the store in {at} may not be used: failed to {action}, \
         since this service account lacks the right to {verb} {resource}; \
         grant it with the roles of `deploy/kubernetes`"
    )]
    Forbidden {
        /// What was being done.
        action: &'static str,
        /// Which store.
        at: String,
        /// The verb of the right that is missing.
        verb: &'static str,
        /// The resource of the right that is missing, in the plural.
        resource: String,
        /// The server's own words.
        source: BoxError,
    },
    /// The namespace that the store is to be in does not exist.
    #[error(
        "the store in {at} cannot be made: there is no namespace {namespace}; \
         create it with `kubectl create namespace {namespace}`, or set `store.kubernetes.namespace`"
    )]
    NoNamespace {
        /// Which store.
        at: String,
        /// The namespace.
        namespace: String,
    },
    /// The database is not Windlass's.
    #[error("the database at {at} belongs to another program; choose another one for the store")]
    Foreign {
        /// Which store.
        at: String,
    },
    /// An older version of Windlass wrote the store, and it may only be read.
    #[error(
        "the store at {at} has schema {found}, this version of Windlass reads {known}; \
         start `windlass run` once, which brings it up to date"
    )]
    Older {
        /// Which store.
        at: String,
        /// The store's schema; 0 where there is none yet.
        found: i64,
        /// The schema that can be read.
        known: i64,
    },
    /// A newer version of Windlass wrote the store.
    #[error(
        "the store at {at} has schema {found}, this version of Windlass knows {known}; \
         run the version that wrote it, or a newer one"
    )]
    Newer {
        /// Which store.
        at: String,
        /// The store's schema.
        found: i64,
        /// The newest schema that is known here.
        known: i64,
    },
}

/// What lies below a [`StoreError`].
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// The file at `at` cannot be made or opened.
    pub(super) fn open(at: &str, source: io::Error) -> Self {
        Self::Open {
            at: at.to_owned(),
            source: source.into(),
        }
    }
}

/// A write that was not done. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Someone else wrote the mesh in between.
    #[error("mesh {mesh} is at generation {found}, not at {expected}")]
    Conflict {
        /// The mesh.
        mesh: MeshName,
        /// What the writer had seen.
        expected: Generation,
        /// What the store holds.
        found: Generation,
    },
    /// The write would break the mesh.
    #[error("the write to mesh {mesh} was refused")]
    Refused {
        /// The mesh.
        mesh: MeshName,
        /// Why.
        source: Refusal,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
