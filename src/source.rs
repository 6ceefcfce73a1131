//! The Git repository: clone, fetch, watch, read; and the sealed keys in it.
//!
//! [`Repository`] finds the commit that is desired and reads it, never the
//! working tree; [`Snapshot`] remembers what was read, so that the next read
//! costs what changed; [`Watch`] tells when a local repository moves.
//! [`decryption`] opens the sealed keys of a commit and [`seal`] makes them.
//! All of it blocks but [`Watch::changed`].

pub mod codes;
pub mod decryption;
pub mod seal;

mod credentials;
mod error;
mod ignored;
mod location;
mod loose;
mod mirror;
mod repository;
mod snapshot;
mod watch;

pub use error::{GitError, SourceError};
pub use location::redact_url;
pub use repository::{FetchLimits, Head, Repository, RepositoryConfig, discover};
pub use snapshot::{Content, FileChange, Snapshot};
pub use watch::Watch;
