//! Opens the sealed keys of a repository with the configured identities.
//!
//! Identities are read once, at the start, and held in memory only. Opening is
//! bounded: by the size of the armor, by the number of its recipients and by
//! the number of identities. Passphrases are refused before any work is done
//! on them, since their cost is the author's choice.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor};
use zeroize::Zeroizing;

pub use self::error::{IdentityError, OpenError};
use self::identity::Identity;
use crate::model::PrivateKey;

mod error;
mod identity;
#[cfg(test)]
mod tests;

/// The largest sealed key in armor, in bytes.
pub const MAX_ARMOR: usize = 64 * 1024;
/// The largest key inside, in bytes.
pub const MAX_KEY: usize = 64 * 1024;
/// The most recipients that a key may be sealed to.
pub const MAX_RECIPIENTS: usize = 64;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// The identities that sealed keys are opened with. Clones share them.
#[derive(Clone)]
pub struct Identities(Arc<[Identity]>);

impl Identities {
    /// No identity at all: every key is refused with [`OpenError::NoIdentity`].
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::from([]))
    }

    /// Whether there is no identity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The recipients that these identities open, as `seal --recipient` takes
    /// them. They are public.
    #[must_use]
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(Identity::recipient).collect()
    }

    /// Opens a key that is sealed as age armor.
    ///
    /// # Errors
    ///
    /// An X25519 recipient is anonymous, so a file that was altered where it
    /// names its recipients cannot be told from one for somebody else: both
    /// are [`OpenError::NoMatch`]. Altered anywhere else it is
    /// [`OpenError::Tampered`]. It never opens to something else than was sealed.
    pub fn open(&self, armor: &str) -> Result<PrivateKey, OpenError> {
        let file = decode(armor)?;
        let decryptor = Decryptor::new_buffered(&file[..]).map_err(|error| refusal(&error))?;
        if decryptor.is_scrypt() {
            return Err(OpenError::Passphrase);
        }
        if self.is_empty() {
            return Err(OpenError::NoIdentity);
        }
        let identities = self.0.iter().map(Identity::as_age);
        let reader = decryptor
            .decrypt(identities)
            .map_err(|error| refusal(&error))?;
        key(reader)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// The binary age file inside the armor.
fn decode(armor: &str) -> Result<Vec<u8>, OpenError> {
    let armor = armor.trim();
    if armor.len() > MAX_ARMOR {
        return Err(OpenError::TooLarge {
            what: "sealed key",
            limit: MAX_ARMOR,
        });
    }
    if !armor.starts_with(BEGIN) {
        return Err(OpenError::NotArmor {
            problem: format!("it does not start with `{BEGIN}`"),
        });
    }
    let mut file = Vec::with_capacity(armor.len());
    ArmoredReader::new(armor.as_bytes())
        .read_to_end(&mut file)
        .map_err(|error| OpenError::NotArmor {
            problem: error.to_string(),
        })?;
    let stanzas = file.windows(4).filter(|w| w == b"\n-> ").count();
    if stanzas > MAX_RECIPIENTS {
        return Err(OpenError::TooManyRecipients);
    }
    Ok(file)
}

/// Reads the plaintext, which has to be a private key in PEM.
fn key(reader: impl Read) -> Result<PrivateKey, OpenError> {
    // Room for all of it from the start: a vector that grows leaves copies of the key behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(MAX_KEY + 1));
    reader
        .take(MAX_KEY as u64 + 1)
        .read_to_end(&mut plaintext)
        .map_err(|_| OpenError::Tampered {
            problem: "its content does not decrypt",
        })?;
    if plaintext.len() > MAX_KEY {
        return Err(OpenError::TooLarge {
            what: "key inside",
            limit: MAX_KEY,
        });
    }
    let text = std::str::from_utf8(&plaintext).map_err(|_| OpenError::NotAKey)?;
    let is_key = text.lines().any(|line| {
        let label = line.trim().strip_prefix("-----BEGIN ");
        label.is_some_and(|label| label.ends_with("PRIVATE KEY-----"))
    });
    if !is_key {
        return Err(OpenError::NotAKey);
    }
    Ok(PrivateKey::new(Zeroizing::new(text.to_owned())))
}

fn refusal(error: &DecryptError) -> OpenError {
    let problem = match error {
        DecryptError::NoMatchingKeys => return OpenError::NoMatch,
        DecryptError::InvalidMac => "the MAC of its header does not match",
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            "the part for the configured identity does not decrypt"
        }
        DecryptError::Io(_) => "it is cut off",
        DecryptError::UnknownFormat => "it has an unknown version",
        _ => "its header is malformed",
    };
    OpenError::Tampered { problem }
}
