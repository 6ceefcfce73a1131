//! How a mesh stands, as far as its mTLS goes, and what may be done to it.

use std::collections::BTreeMap;
use std::fmt;

use super::Gate;
use crate::model::{
    Authority, AuthorityId, AuthorityOrigin, AuthorityState, Marks, MeshState, Posture,
};

/// Names an authority of a mesh, also one that is yet to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The builtin authority of that ordinal.
    Builtin(u32),
    /// The provided authority of that certificate.
    Provided(AuthorityId),
}

impl Key {
    /// The key of a stored authority.
    #[must_use]
    pub fn of(authority: &Authority) -> Self {
        match authority.origin {
            AuthorityOrigin::Builtin { ordinal } => Self::Builtin(ordinal),
            AuthorityOrigin::Provided { .. } => Self::Provided(authority.id),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(ordinal) => write!(f, "builtin authority {ordinal}"),
            Self::Provided(id) => write!(f, "provided authority {id}"),
        }
    }
}

/// What an authority may do: [`AuthorityState`] without its times. One that is
/// revoked is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Trusted by nobody.
    Staged,
    /// Trusted, has not signed since.
    Prepared,
    /// Trusted, signs.
    Active,
    /// Trusted, has signed.
    Retiring,
}

impl Standing {
    /// Whether proxies must trust it.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self != Self::Staged
    }

    pub(super) fn of(state: AuthorityState) -> Option<Self> {
        match state {
            AuthorityState::Staged => Some(Self::Staged),
            AuthorityState::Prepared => Some(Self::Prepared),
            AuthorityState::Active => Some(Self::Active),
            AuthorityState::Retiring { .. } => Some(Self::Retiring),
            AuthorityState::Revoked { .. } => None,
        }
    }
}

/// One thing that is done to a mesh. Every one is legal from some situations only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Move {
    /// An authority comes into the store, trusted by nobody.
    Stage(Key),
    /// It joins the trust bundle.
    Prepare(Key),
    /// It signs from now on.
    Activate(Key),
    /// It signs no longer.
    Retire(Key),
    /// Every connection that was authenticated before ends.
    Drain,
    /// An authority leaves the trust bundle; its key stays.
    Withdraw(Key),
    /// Its key is destroyed.
    Revoke(Key),
    /// Connections are secured in another way.
    Secure(Posture),
    /// Nothing: all that was done is known to have arrived.
    Confirm,
}

/// Why a move is not legal, whatever proxies have acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The authority is not in the state that the move starts from.
    #[error("{key} is not in a state from which it could be moved there")]
    State {
        /// Which.
        key: Key,
    },
    /// A posture would be skipped.
    #[error("connections cannot become {to:?} while they are {from:?}: a posture would be skipped")]
    Posture {
        /// The present one.
        from: Posture,
        /// The one that was asked for.
        to: Posture,
    },
    /// Nothing signs.
    #[error("there is no active authority to sign the certificates of the proxies")]
    NothingSigns,
    /// Connections that the authority has authenticated were not made to end.
    #[error("connections that {key} has authenticated were not drained")]
    NotDrained {
        /// Which.
        key: Key,
    },
}

/// How a mesh stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Situation {
    /// How its connections are secured.
    pub posture: Posture,
    /// How often what proxies are told has changed.
    pub marks: Marks,
    /// The mark of leaves at which connections were last made to end.
    pub drained: u64,
    /// The authorities that are not revoked.
    pub authorities: BTreeMap<Key, Standing>,
    /// Whether the posture was changed and that is not known to have arrived.
    pub unconfirmed: bool,
}

impl Situation {
    /// How a stored mesh stands.
    #[must_use]
    pub fn of(mesh: &MeshState) -> Self {
        let progress = &mesh.progress;
        let authorities = mesh
            .authorities
            .values()
            .filter_map(|authority| Some((Key::of(authority), Standing::of(authority.state)?)));
        let transition = progress.transition.as_ref();
        Self {
            posture: progress.posture,
            marks: progress.marks,
            drained: progress.drained,
            authorities: authorities.collect(),
            unconfirmed: transition.is_some_and(|it| it.phase.is_of_posture()),
        }
    }

    /// The authority that signs.
    #[must_use]
    pub fn active(&self) -> Option<Key> {
        let mut all = self.authorities.iter();
        all.find(|(_, standing)| **standing == Standing::Active)
            .map(|(key, _)| *key)
    }

    /// Whether connections authenticated under an earlier authority may be left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained == self.marks.leaf
    }

    /// What has to be proven before a move is made.
    ///
    /// # Errors
    ///
    /// Fails where the move is not legal from here at all.
    pub fn gate(&self, step: Move) -> Result<Gate, Illegal> {
        // Where no connection uses a certificate, none can break.
        let idle = self.posture == Posture::Plaintext;
        let standing = |key| self.authorities.get(&key).copied();
        let from = |key, states: &[Standing]| match standing(key) {
            Some(state) if states.contains(&state) => Ok(()),
            _ => Err(Illegal::State { key }),
        };
        let unless_idle = |gate| if idle { Gate::OPEN } else { gate };
        match step {
            Move::Stage(key) => match standing(key) {
                None => Ok(Gate::OPEN),
                Some(_) => Err(Illegal::State { key }),
            },
            Move::Prepare(key) => from(key, &[Standing::Staged]).map(|()| Gate::OPEN),
            Move::Activate(key) => {
                from(key, &[Standing::Prepared, Standing::Retiring])?;
                Ok(unless_idle(Gate::BUNDLE))
            }
            Move::Retire(key) => from(key, &[Standing::Active]).map(|()| Gate::OPEN),
            Move::Drain => Ok(unless_idle(Gate::LEAF)),
            Move::Withdraw(key) if standing(key) == Some(Standing::Retiring) => {
                if !idle && !self.is_drained() {
                    return Err(Illegal::NotDrained { key });
                }
                Ok(unless_idle(Gate::DRAINED))
            }
            // It has signed nothing since it was trusted.
            Move::Withdraw(key) => from(key, &[Standing::Prepared]).map(|()| Gate::OPEN),
            Move::Revoke(key) => {
                from(key, &[Standing::Staged])?;
                Ok(unless_idle(Gate::BUNDLE))
            }
            Move::Secure(to) => self.posture_gate(to),
            Move::Confirm => Ok(Gate::CONFIGURED),
        }
    }

    fn posture_gate(&self, to: Posture) -> Result<Gate, Illegal> {
        let from = self.posture;
        if from.towards(to) != Some(to) {
            return Err(Illegal::Posture { from, to });
        }
        if to.has_identities() && self.active().is_none() {
            return Err(Illegal::NothingSigns);
        }
        Ok(match (from < to, to) {
            (true, Posture::Identified) => Gate::OPEN,
            (true, Posture::Permissive) => Gate::IDENTITIES,
            (true, _) => Gate::SECURED,
            (false, Posture::Plaintext | Posture::Permissive) => Gate::INBOUNDS,
            (false, Posture::Identified) => Gate::OUTBOUNDS,
            (false, _) => Gate::OPEN,
        })
    }

    /// Makes a move. What is not legal does what it says all the same: the
    /// caller asks [`Situation::gate`] first.
    pub fn make(&mut self, step: Move) {
        let before = self.clone();
        match step {
            Move::Stage(key) | Move::Withdraw(key) => {
                self.authorities.insert(key, Standing::Staged);
            }
            Move::Prepare(key) => {
                self.authorities.insert(key, Standing::Prepared);
            }
            Move::Activate(key) => {
                self.authorities.insert(key, Standing::Active);
            }
            Move::Retire(key) => {
                self.authorities.insert(key, Standing::Retiring);
            }
            Move::Revoke(key) => {
                self.authorities.remove(&key);
            }
            Move::Drain => self.drained = self.marks.leaf,
            Move::Secure(posture) => {
                self.posture = posture;
                self.unconfirmed = true;
            }
            Move::Confirm => self.unconfirmed = false,
        }
        self.count(&before, step == Move::Drain);
    }

    /// Raises the marks of what differs from `before`.
    fn count(&mut self, before: &Self, drains: bool) {
        let trusted = |it: &Self| -> Vec<Key> {
            let trusted = it.authorities.iter().filter(|(_, it)| it.is_trusted());
            trusted.map(|(key, _)| *key).collect()
        };
        // What was given before may have been forgotten meanwhile.
        let identified = self.posture.has_identities() && !before.posture.has_identities();
        let active = self.active();
        self.marks.bundle += u64::from(identified || trusted(self) != trusted(before));
        let signs = active.is_some() && active != before.active();
        self.marks.leaf += u64::from(identified || signs);
        let accepts = self.posture.accepts() != before.posture.accepts();
        self.marks.inbounds += u64::from(accepts || drains);
        let opens = self.posture.opens() != before.posture.opens();
        self.marks.outbounds += u64::from(opens);
    }
}
