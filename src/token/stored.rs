//! The keyring's secrets in the store.
//!
//! `token-signing-key/<id>` holds a key, ids counting from 1, and
//! `token-revocation/<jti>` marks a token as revoked. Neither is ever changed,
//! so what was read once need not be read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::jwt;
use super::keyring::{Contents, Keyring, KeyringError, SigningKey};
use crate::ca::{KeyPair, LeafKey};
use crate::model::PrivateKey;
use crate::store::Store;
use crate::store::encryption::Vault;

const KEYS: &str = "token-signing-key/";
const REVOCATIONS: &str = "token-revocation/";

impl Keyring {
    /// Reads the keyring out of the store; makes the first key where there is
    /// none. Of several processes that do this at once, all get the same key.
    ///
    /// # Errors
    ///
    /// Fails when the store does, and when a key cannot be opened, read or made.
    pub async fn load_or_create(store: &dyn Store, vault: &Vault) -> Result<Self, KeyringError> {
        let mut contents = read(&Contents::default(), store, vault).await?;
        if contents.keys.is_empty() {
            make_key(1, store, vault).await?;
            contents = read(&contents, store, vault).await?;
        }
        Self::new(contents)
    }

    /// Reads again what other processes may have changed.
    ///
    /// # Errors
    ///
    /// Fails as [`Keyring::load_or_create`] does; what was known stays.
    pub async fn refresh(&self, store: &dyn Store, vault: &Vault) -> Result<(), KeyringError> {
        self.replace(read(&self.contents(), store, vault).await?)
    }

    /// Makes a new key, which signs from now on; older ones still verify.
    ///
    /// # Errors
    ///
    /// Fails as [`Keyring::refresh`] does.
    pub async fn rotate(&self, store: &dyn Store, vault: &Vault) -> Result<(), KeyringError> {
        let newest = self
            .contents()
            .keys
            .last_key_value()
            .map_or(0, |(id, _)| *id);
        make_key(newest + 1, store, vault).await?;
        self.refresh(store, vault).await
    }

    /// Revokes the token with this id (`jti`), issued or not.
    ///
    /// # Errors
    ///
    /// Fails when it has not the form of an id, and as [`Keyring::refresh`] does.
    pub async fn revoke(
        &self,
        token_id: &str,
        store: &dyn Store,
        vault: &Vault,
    ) -> Result<(), KeyringError> {
        if !jwt::is_token_id(token_id) {
            return Err(KeyringError::TokenId);
        }
        // Its name says all; the store takes nothing that is not sealed.
        let mark = PrivateKey::new(Zeroizing::new("revoked".to_owned()));
        let name = format!("{REVOCATIONS}{token_id}");
        store
            .put_secret_if_absent(&name, &vault.seal(&mark)?)
            .await?;
        self.refresh(store, vault).await
    }
}

async fn make_key(id: u64, store: &dyn Store, vault: &Vault) -> Result<(), KeyringError> {
    // Finding two primes takes a good part of a second.
    let key = tokio::task::spawn_blocking(|| KeyPair::generate(LeafKey::Rsa2048)?.to_pem())
        .await
        .map_err(|source| KeyringError::Generate(source.into()))?
        .map_err(|source| KeyringError::Generate(source.into()))?;
    let name = format!("{KEYS}{id}");
    store
        .put_secret_if_absent(&name, &vault.seal(&key)?)
        .await?;
    Ok(())
}

/// What the store holds now, with the keys that are `known` already.
async fn read(
    known: &Contents,
    store: &dyn Store,
    vault: &Vault,
) -> Result<Contents, KeyringError> {
    let mut contents = Contents::default();
    for (name, sealed) in store.secrets(KEYS).await? {
        let text = name.strip_prefix(KEYS).unwrap_or(&name);
        let id = text.parse().map_err(|_| KeyringError::Key {
            id: text.to_owned(),
            problem: "its id is not a whole number".to_owned(),
        })?;
        let key = match known.keys.get(&id) {
            Some(key) => Arc::clone(key),
            None => Arc::new(SigningKey::new(id, &vault.unseal(&sealed)?)?),
        };
        contents.keys.insert(id, key);
    }
    let revoked = store.secrets(REVOCATIONS).await?;
    contents.revoked = revoked
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(REVOCATIONS))
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    Ok(contents)
}
