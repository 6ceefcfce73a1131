//! Dataplane tokens: issue and verify (RS256 JWT, RFC 7519).

use std::time::Duration;

use crate::model::{DataplaneId, Timestamp};

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

/// The signing keys and what they have to say about a token.
#[derive(Debug)]
pub struct Keyring {}

impl Keyring {
    /// Issues a token for a dataplane.
    pub fn issue(
        &self,
        _dataplane: &DataplaneId,
        _valid_for: Duration,
        _now: Timestamp,
    ) -> Result<String, IssueError> {
        unimplemented!()
    }

    /// Verifies a token: signature, issuer, audience, times, revocation.
    pub fn verify(&self, _token: &str, _now: Timestamp) -> Result<Claims, VerifyError> {
        unimplemented!()
    }
}

/// A token that could not be issued.
#[derive(Debug, thiserror::Error)]
#[error("failed to sign the token")]
pub struct IssueError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
