//! Authorities: the CA certificates of a mesh and what each may do now.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AuthorityId, MeshName, ResourceName, SpkiId, Timestamp};

/// One CA certificate of one mesh. Its private key is kept apart, see
/// [`crate::store`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// The SHA-256 of the certificate.
    pub id: AuthorityId,
    /// The SHA-256 of the certificate's public key.
    pub spki: SpkiId,
    /// The mesh.
    pub mesh: MeshName,
    /// Who made it.
    pub origin: AuthorityOrigin,
    /// The certificate as PEM.
    pub certificate: Arc<str>,
    /// The certificate's subject as text (RFC 4514); empty where it has none.
    pub subject: String,
    /// When the certificate becomes valid.
    pub not_before: Timestamp,
    /// When the certificate ends.
    pub not_after: Timestamp,
    /// What the authority may do now.
    pub state: AuthorityState,
}

/// Who made an authority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthorityOrigin {
    /// Windlass did.
    Builtin {
        /// Counts the builtin authorities of the mesh from 1, so that making
        /// the same one twice is seen.
        ordinal: u32,
    },
    /// A user did.
    Provided {
        /// The name of the ProvidedCa.
        name: ResourceName,
    },
}

impl fmt::Display for AuthorityOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin { ordinal } => write!(f, "builtin authority {ordinal}"),
            Self::Provided { name } => write!(f, "provided authority {name}"),
        }
    }
}

/// What an authority may do. The states are passed in order; see [`AuthorityState::can_become`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum AuthorityState {
    /// In the store, trusted by nobody.
    Staged,
    /// Trusted, does not sign.
    Prepared,
    /// Trusted, signs leaves. At most one authority of a mesh is active.
    Active,
    /// Trusted, no longer signs.
    Retiring {
        /// When it stopped signing.
        since: Timestamp,
    },
    /// Trusted by nobody; its key is destroyed.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl Authority {
    /// Whether it can sign at that time.
    #[must_use]
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.not_before <= at && at < self.not_after
    }
}

/// A move between states that is not legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an authority that is {from} cannot become {to}")]
pub struct IllegalMove {
    /// The present state.
    pub from: AuthorityState,
    /// The state that was asked for.
    pub to: AuthorityState,
}

impl AuthorityState {
    /// The state's name, as in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retiring { .. } => "retiring",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// Whether proxies must trust an authority in this state.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Prepared | Self::Active | Self::Retiring { .. })
    }

    /// Whether `next` may follow this state: one step forward, back from
    /// retiring to active (a change that is reverted), from trusted to trusted
    /// by nobody with the key kept, or from anything that does not sign to
    /// revoked.
    #[must_use]
    pub fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Staged, Self::Prepared)
                | (Self::Prepared | Self::Retiring { .. }, Self::Active)
                | (Self::Active, Self::Retiring { .. })
                | (Self::Prepared | Self::Retiring { .. }, Self::Staged)
                | (
                    Self::Staged | Self::Prepared | Self::Retiring { .. },
                    Self::Revoked { .. }
                )
        )
    }

    /// Moves on to `next`.
    ///
    /// # Errors
    ///
    /// Fails when `next` may not follow this state.
    pub fn become_next(self, next: Self) -> Result<Self, IllegalMove> {
        if self.can_become(next) {
            Ok(next)
        } else {
            Err(IllegalMove {
                from: self,
                to: next,
            })
        }
    }
}

impl fmt::Display for AuthorityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_authority_is_never_revoked_at_once() {
        let now = Timestamp::from_unix_seconds(0);
        let revoked = AuthorityState::Revoked { at: now };
        assert!(!AuthorityState::Active.can_become(revoked));
        assert!(AuthorityState::Retiring { since: now }.can_become(revoked));
        assert!(!revoked.can_become(AuthorityState::Active));
        assert!(!AuthorityState::Staged.can_become(AuthorityState::Active));
    }

    #[test]
    fn only_the_three_middle_states_are_trusted() {
        let now = Timestamp::from_unix_seconds(0);
        assert!(!AuthorityState::Staged.is_trusted());
        assert!(AuthorityState::Prepared.is_trusted());
        assert!(AuthorityState::Active.is_trusted());
        assert!(AuthorityState::Retiring { since: now }.is_trusted());
        assert!(!AuthorityState::Revoked { at: now }.is_trusted());
    }
}
