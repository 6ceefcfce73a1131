//! Keys at rest: sealed to an age identity of the store's own.
//!
//! The identity is a file that only its owner may read. A [`Vault`] holds it;
//! whoever writes to a store seals before, and opens after reading.
//!
//! The file may hold several identities: all open, the first one seals. So an
//! identity is changed without downtime: the new one is added, put first, what
//! is stored is sealed anew ([`rekey`](super::rekey)), the old one is removed.
//! A vault sees for itself that its file has changed.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, EncryptError};
use arc_swap::ArcSwap;
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
         it must hold a line `AGE-SECRET-KEY-1…`, as `age-keygen` writes it, \
         and may hold more, of which the first one seals"
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
        /// The public halves of the identities that were tried.
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

/// The age identities (X25519) that keys at rest are sealed to; or none, where
/// whoever runs Windlass said so.
pub struct Vault {
    identities: ArcSwap<Identities>,
    /// Where they were read; `None` where they are in memory alone.
    path: Option<PathBuf>,
}

/// The first one seals, all open. Without any, secrets are kept in clear.
struct Identities(Vec<Identity>);

impl Identities {
    fn recipients(&self) -> Vec<String> {
        let all = self.0.iter();
        all.map(|it| it.to_public().to_string()).collect()
    }
}

impl Vault {
    /// Opens the identities in the file at `path`.
    ///
    /// # Errors
    ///
    /// Fails where the file is missing, holds no identity, or is open to
    /// others than its owner.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        file::read(path).map(|identities| Self::of(identities, Some(path)))
    }

    /// Opens the identities in the file at `path`; makes one where there is no
    /// file, readable by its owner only. Of several processes that do this at
    /// once, all get the same identity.
    ///
    /// # Errors
    ///
    /// Fails as [`Vault::open`] does, and where the file cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, VaultError> {
        file::read_or_create(path).map(|identities| Self::of(identities, Some(path)))
    }

    /// A vault whose identity is nowhere but in memory, for tests.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::of(Identities(vec![Identity::generate()]), None)
    }

    /// A vault that keeps secrets as they are, in clear. It opens nothing that is
    /// sealed.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Identities(Vec::new()), None)
    }

    fn of(identities: Identities, path: Option<&Path>) -> Self {
        Self {
            identities: ArcSwap::from_pointee(identities),
            path: path.map(Path::to_owned),
        }
    }

    fn recipient(&self) -> Option<Recipient> {
        self.identities.load().0.first().map(Identity::to_public)
    }

    /// The public halves of the identities, the one that seals first; none
    /// where secrets are kept in clear.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.identities.load().recipients()
    }

    /// Reads the file again, and returns whether it holds other identities now.
    ///
    /// # Errors
    ///
    /// Fails as [`Vault::open`] does; what was read before stays.
    pub fn refresh(&self) -> Result<bool, VaultError> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let read = file::read(path)?;
        let is_new = read.recipients() != self.recipients();
        if is_new {
            self.identities.store(Arc::new(read));
        }
        Ok(is_new)
    }

    /// Encrypts a key to the first identity; without one it stays as it is.
    ///
    /// # Errors
    ///
    /// Fails where age does.
    pub fn seal(&self, key: &PrivateKey) -> Result<SealedKey, VaultError> {
        let Some(recipient) = self.recipient() else {
            return Ok(SealedKey(key.expose().as_bytes().to_vec()));
        };
        age::encrypt(&recipient, key.expose().as_bytes())
            .map(SealedKey)
            .map_err(|source| VaultError::Seal {
                recipient: recipient.to_string(),
                source: source.into(),
            })
    }

    /// Whether a key is kept as this vault would keep it: sealed to the first
    /// identity, or in clear where there is none.
    #[must_use]
    pub fn is_up_to_date(&self, sealed: &SealedKey) -> bool {
        let identities = self.identities.load();
        let Some(first) = identities.0.first() else {
            return !sealed.0.starts_with(SEALED);
        };
        let first = first as &dyn age::Identity;
        let opened = Decryptor::new_buffered(&*sealed.0)
            .and_then(|file| file.decrypt(std::iter::once(first)));
        opened.is_ok()
    }

    /// Decrypts a key, with the identities that the file holds by now where
    /// those that it held before do not open it. One that was kept in clear,
    /// before there was an identity, is given back as it is.
    ///
    /// # Errors
    ///
    /// Fails with [`VaultError::WrongIdentity`] where the key was sealed to
    /// another identity, with [`VaultError::NoIdentity`] where there is none,
    /// and with [`VaultError::Damaged`] where it is not what
    /// was sealed.
    pub fn unseal(&self, sealed: &SealedKey) -> Result<PrivateKey, VaultError> {
        match self.unseal_with(sealed) {
            Err(VaultError::WrongIdentity { .. }) if self.refresh().unwrap_or(false) => {
                self.unseal_with(sealed)
            }
            result => result,
        }
    }

    fn unseal_with(&self, sealed: &SealedKey) -> Result<PrivateKey, VaultError> {
        let damaged =
            |source: Box<dyn std::error::Error + Send + Sync>| VaultError::Damaged { source };
        if sealed.0.len() > LARGEST {
            return Err(damaged("it is larger than 64 KiB".into()));
        }
        if !sealed.0.starts_with(SEALED) {
            return in_clear(sealed).ok_or_else(|| damaged("it is neither sealed nor text".into()));
        }
        let identities = self.identities.load();
        if identities.0.is_empty() {
            return Err(VaultError::NoIdentity);
        }
        let all = identities.0.iter().map(|it| it as &dyn age::Identity);
        let decrypted = Decryptor::new_buffered(&*sealed.0).and_then(|file| file.decrypt(all));
        let mut reader = decrypted.map_err(|error| match error {
            DecryptError::NoMatchingKeys => VaultError::WrongIdentity {
                recipient: identities.recipients().join(", "),
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

/// A secret that was kept as it is: text. What is sealed and damaged is not.
fn in_clear(kept: &SealedKey) -> Option<PrivateKey> {
    let text = std::str::from_utf8(&kept.0).ok()?;
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let is_plain = !text.is_empty() && text.chars().all(is_text);
    is_plain.then(|| PrivateKey::new(Zeroizing::new(text.to_owned())))
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.recipients() {
            [] => f.write_str("Vault(none)"),
            recipients => write!(f, "Vault({})", recipients.join(", ")),
        }
    }
}
