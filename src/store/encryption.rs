//! Keys at rest: sealed to an age identity of the store's own.
//!
//! The identity is a file that only its owner may read. A [`Vault`] holds it;
//! whoever writes to a store seals before, and opens after reading.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, EncryptError};
use zeroize::Zeroizing;

use crate::model::{PrivateKey, SealedKey};

mod file;
#[cfg(test)]
mod tests;

/// The largest sealed secret that is opened, in bytes; the largest key that
/// Windlass knows, RSA-4096 in PEM, has about 3,300.
const LARGEST: usize = 64 * 1024;

/// What a vault cannot do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The identity file cannot be read.
    #[error("failed to read the store's identity `{path}`; check that the file is there and yours")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The identity file could not be made.
    #[error("failed to create the store's identity `{path}`; check that its folder is writable")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may use the identity file.
    #[error(
        "the store's identity `{path}` is open to others (mode {mode:04o}); \
         make it yours alone with `chmod 600`"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no identity.
    #[error(
        "the store's identity `{path}` {problem}; \
         it must hold one line `AGE-SECRET-KEY-1…`, as `age-keygen` writes it"
    )]
    NotAnIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A secret could not be sealed.
    #[error("failed to seal a secret to the store's identity {recipient}")]
    Seal {
        /// The identity's public half.
        recipient: String,
        /// Why.
        source: Box<EncryptError>,
    },
    /// The secret was sealed to another identity.
    #[error(
        "a secret in the store was sealed to another identity than {recipient}; \
         put back the identity file that the store was made with"
    )]
    WrongIdentity {
        /// The public half of the identity that was tried.
        recipient: String,
    },
    /// The secret is sealed, and there is no identity.
    #[error(
        "a secret in the store is sealed and `store.encryption.none` is set; set \
         `store.encryption.identityFile` to the identity that it was sealed to instead"
    )]
    NoIdentity,
    /// The secret is damaged.
    #[error("a secret in the store is damaged; restore the store from a backup")]
    Damaged {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What every sealed secret begins with, and no secret in clear does.
const SEALED: &[u8] = b"age-encryption.org/";

/// The age identity (X25519) that keys at rest are sealed to; or none, where
/// whoever runs Windlass said so.
pub struct Vault(Option<Pair>);

struct Pair {
    identity: Identity,
    recipient: Recipient,
}

impl Vault {
    /// Opens the identity in the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails where the file is missing, holds no identity, or is open to
    /// others than its owner.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        file::read(path).map(Self::from)
    }

    /// Opens the identity in the file at `path`; makes one where there is no
    /// file, readable by its owner only. Of several processes that do this at
    /// once, all get the same identity.
    ///
    /// # Errors
    ///
    /// Fails as [`Vault::open`] does, and where the file cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, VaultError> {
        file::read_or_create(path).map(Self::from)
    }

    /// A vault that keeps secrets as they are, in clear. It opens nothing that is
    /// sealed.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A vault whose identity is nowhere but in memory, for tests.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::from(Identity::generate())
    }

    /// Encrypts a key to the identity.
    ///
    /// # Errors
    ///
    /// Fails where age does.
    pub fn seal(&self, key: &PrivateKey) -> Result<SealedKey, VaultError> {
        let Some(Pair { recipient, .. }) = &self.0 else {
            return Ok(SealedKey(key.expose().as_bytes().to_vec()));
        };
        age::encrypt(recipient, key.expose().as_bytes())
            .map(SealedKey)
            .map_err(|source| VaultError::Seal {
                recipient: recipient.to_string(),
                source: source.into(),
            })
    }

    /// Decrypts a key.
    ///
    /// # Errors
    ///
    /// Fails with [`VaultError::WrongIdentity`] where the key was sealed to
    /// another identity, and with [`VaultError::Damaged`] where it is not what
    /// was sealed.
    pub fn unseal(&self, sealed: &SealedKey) -> Result<PrivateKey, VaultError> {
        let damaged =
            |source: Box<dyn std::error::Error + Send + Sync>| VaultError::Damaged { source };
        if sealed.0.len() > LARGEST {
            return Err(damaged("it is larger than 64 KiB".into()));
        }
        let Some(Pair {
            identity,
            recipient,
        }) = &self.0
        else {
            if sealed.0.starts_with(SEALED) {
                return Err(VaultError::NoIdentity);
            }
            let text = std::str::from_utf8(&sealed.0).map_err(|error| damaged(error.into()))?;
            return Ok(PrivateKey::new(Zeroizing::new(text.to_owned())));
        };
        let decrypted = Decryptor::new_buffered(&*sealed.0)
            .and_then(|file| file.decrypt(std::iter::once(identity as &dyn age::Identity)));
        let mut reader = decrypted.map_err(|error| match error {
            DecryptError::NoMatchingKeys => VaultError::WrongIdentity {
                recipient: recipient.to_string(),
            },
            error => damaged(error.into()),
        })?;
        // As large as it can get: growing would leave copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(sealed.0.len()));
        reader
            .read_to_end(&mut plain)
            .map_err(|error| damaged(error.into()))?;
        match String::from_utf8(std::mem::take(&mut *plain)) {
            Ok(text) => Ok(PrivateKey::new(Zeroizing::new(text))),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(damaged("it is not text".into()))
            }
        }
    }
}

impl From<Identity> for Vault {
    fn from(identity: Identity) -> Self {
        let recipient = identity.to_public();
        Self(Some(Pair {
            identity,
            recipient,
        }))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(pair) => write!(f, "Vault({})", pair.recipient),
            None => f.write_str("Vault(none)"),
        }
    }
}
