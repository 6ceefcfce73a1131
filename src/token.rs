//! Dataplane tokens: issue, verify, rotate, revoke (RS256 JWT, RFC 7519).
//!
//! Tokens are not stored. The [`Keyring`] holds the signing keys and the ids of
//! the tokens that were revoked; both are secrets of the store.

mod jwt;
mod keyring;
mod stored;

use std::time::Duration;

use crate::model::{DataplaneId, Timestamp};

pub use keyring::{Keyring, KeyringError};

/// How long a token is valid unless asked for otherwise: 30 days.
pub const DEFAULT_VALIDITY: Duration = Duration::from_hours(30 * 24);
/// How long a token is valid at most: 10 years.
pub const MAX_VALIDITY: Duration = Duration::from_hours(3653 * 24);
/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whose token it is.
    pub dataplane: DataplaneId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its own id, by which it is revoked.
    pub token_id: String,
}

/// A token that is not accepted. None of its bytes are in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is no token of this control plane.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// It has ended.
    #[error("the token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
}

/// A token that could not be issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// It was asked to be valid for no time or for too long.
    #[error("a token must be valid for more than 0s and at most 10 years (87672h)")]
    Validity,
    /// It could not be signed.
    #[error("failed to sign the token")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}
