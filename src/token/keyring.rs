//! The keys that sign tokens, and the tokens that were revoked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{DecodingKey, EncodingKey};
use tokio::sync::watch;

use super::{Claims, IssueError, VerifyError, jwt};
use crate::ca::KeyPair;
use crate::model::{DataplaneId, PrivateKey, Timestamp};
use crate::store::StoreError;
use crate::store::encryption::VaultError;

/// A keyring that could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key could not be sealed or opened.
    #[error("failed to seal or open a secret of the tokens")]
    Vault(#[source] Box<VaultError>),
    /// There is no key.
    #[error("there is no token signing key")]
    Empty,
    /// A key is not one that tokens are signed with.
    #[error("token signing key {id:?}: {problem}")]
    Key {
        /// The key's id.
        id: String,
        /// What is wrong; never key bytes.
        problem: String,
    },
    /// A key could not be made.
    #[error("failed to make a token signing key")]
    Generate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A token id has not the form of one.
    #[error("a token id (`jti`) has 32 lower-case hexadecimal digits")]
    TokenId,
}

impl From<VaultError> for KeyringError {
    fn from(error: VaultError) -> Self {
        Self::Vault(Box::new(error))
    }
}

/// One RSA key, both halves as the library wants them.
pub(super) struct SigningKey {
    private: EncodingKey,
    public: DecodingKey,
}

impl SigningKey {
    pub(super) fn new(id: u64, key: &PrivateKey) -> Result<Self, KeyringError> {
        let refused = |problem: String| KeyringError::Key {
            id: id.to_string(),
            problem,
        };
        let pair = KeyPair::from_pem(key).map_err(refused)?;
        if !matches!(pair, KeyPair::Rsa(_)) {
            return Err(refused("not an RSA key".to_owned()));
        }
        let private = EncodingKey::from_rsa_pem(key.expose().as_bytes())
            .map_err(|_| refused("it cannot be read".to_owned()))?;
        let public = DecodingKey::from_rsa_der(pair.public());
        Ok(Self { private, public })
    }
}

/// What a keyring holds at one moment.
#[derive(Default, Clone)]
pub(super) struct Contents {
    /// By their ids; the highest signs, all verify.
    pub(super) keys: BTreeMap<u64, Arc<SigningKey>>,
    pub(super) revoked: BTreeSet<String>,
}

/// The signing keys and what they have to say about a token. Cheap to read
/// from many threads; changed by [`Keyring::refresh`].
pub struct Keyring {
    contents: ArcSwap<Contents>,
    changes: watch::Sender<u64>,
}

impl Keyring {
    /// A keyring of the keys given with their ids, whole numbers: the highest
    /// signs, all verify. Nothing is revoked.
    ///
    /// # Errors
    ///
    /// Fails when there is no key, and when one of them is no RSA key of 2048 to 4096 bits.
    pub fn from_keys(keys: &[(u64, PrivateKey)]) -> Result<Self, KeyringError> {
        let keys = keys
            .iter()
            .map(|(id, key)| Ok((*id, Arc::new(SigningKey::new(*id, key)?))))
            .collect::<Result<BTreeMap<_, _>, KeyringError>>()?;
        Self::new(Contents {
            keys,
            revoked: BTreeSet::new(),
        })
    }

    pub(super) fn new(contents: Contents) -> Result<Self, KeyringError> {
        if contents.keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        Ok(Self {
            contents: ArcSwap::from_pointee(contents),
            changes: watch::Sender::new(0),
        })
    }

    pub(super) fn contents(&self) -> Arc<Contents> {
        self.contents.load_full()
    }

    /// Puts new contents in place and tells whoever listens, if they differ.
    pub(super) fn replace(&self, contents: Contents) -> Result<(), KeyringError> {
        if contents.keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        let old = self.contents();
        if old.revoked != contents.revoked || !old.keys.keys().eq(contents.keys.keys()) {
            self.contents.store(Arc::new(contents));
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// Issues a token for a dataplane, valid for more than no time and at most
    /// [`super::MAX_VALIDITY`]; it ends with a whole second.
    ///
    /// # Errors
    ///
    /// Fails when the validity is out of bounds or signing fails.
    pub fn issue(
        &self,
        dataplane: &DataplaneId,
        valid_for: Duration,
        now: Timestamp,
    ) -> Result<String, IssueError> {
        let contents = self.contents.load();
        let (id, key) = contents
            .keys
            .last_key_value()
            .ok_or_else(|| IssueError::Sign("there is no key".into()))?;
        jwt::sign(dataplane, valid_for, None, now, *id, &key.private)
    }

    /// Issues the successor of a token that was just verified: for the same
    /// dataplane, valid as long as that one was, signed with the newest key. It
    /// keeps the id (`jti`), so that revoking it ends all of its successors.
    ///
    /// # Errors
    ///
    /// Fails when signing does.
    pub fn renew(&self, claims: &Claims, now: Timestamp) -> Result<String, IssueError> {
        let contents = self.contents.load();
        let (id, key) = contents
            .keys
            .last_key_value()
            .ok_or_else(|| IssueError::Sign("there is no key".into()))?;
        let valid_for = claims.expires_at.since(claims.issued_at);
        let token_id = Some(claims.token_id.as_str());
        jwt::sign(
            &claims.dataplane,
            valid_for,
            token_id,
            now,
            *id,
            &key.private,
        )
    }

    /// Verifies a token: signature, issuer, audience, times, revocation.
    ///
    /// # Errors
    ///
    /// Fails when any of them is not right.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, VerifyError> {
        let contents = self.contents.load();
        let id = jwt::key_id(token)?;
        let key = contents.keys.get(&id).ok_or_else(jwt::unknown_key)?;
        let claims = jwt::verify(token, &key.public, now)?;
        if contents.revoked.contains(&claims.token_id) {
            return Err(VerifyError::Revoked);
        }
        Ok(claims)
    }

    /// Whether the token with this id (`jti`) was revoked.
    #[must_use]
    pub fn revoked(&self, token_id: &str) -> bool {
        self.contents.load().revoked.contains(token_id)
    }

    /// Changes whenever keys or revocations do.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.contents.load();
        f.debug_struct("Keyring")
            .field("keys", &contents.keys.keys())
            .field("revoked", &contents.revoked.len())
            .finish_non_exhaustive()
    }
}
