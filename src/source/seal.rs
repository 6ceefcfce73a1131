//! Seals keys to recipients, as [`super::decryption`] opens them.

use std::io::{self, Write};
use std::str::FromStr;

use age::armor::{ArmoredWriter, Format};
use age::ssh::ParseRecipientKeyError;
use age::{Encryptor, ssh, x25519};

use super::decryption::MAX_RECIPIENTS;
use crate::model::PrivateKey;

/// Whom a key is sealed to: one at least.
#[derive(Debug)]
pub struct Recipients(Vec<Recipient>);

#[derive(Debug)]
enum Recipient {
    X25519(x25519::Recipient),
    Ssh(Box<ssh::Recipient>),
}

/// A text that names no recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// There is none.
    #[error("no recipient is given; name one as `age1…`, `ssh-ed25519 …` or `ssh-rsa …`")]
    None,
    /// There are more than can be opened.
    #[error("more than {MAX_RECIPIENTS} recipients are given")]
    TooMany,
    /// A recipient is not valid.
    #[error("recipient {number} is not valid: {problem}")]
    Invalid {
        /// Which one, from 1; in a file, its line.
        number: usize,
        /// What is wrong. It does not quote the text, which could be a secret.
        problem: String,
    },
}

impl Recipients {
    /// Parses recipients, each `age1…`, `ssh-ed25519 …` or `ssh-rsa …`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, RecipientError> {
        Self::numbered(texts.into_iter().enumerate())
    }

    /// Parses a recipients file: one a line, with empty lines and comments.
    pub fn parse_file(text: &str) -> Result<Self, RecipientError> {
        let lines = text.lines().enumerate();
        Self::numbered(lines.filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        }))
    }

    /// These recipients and `more`.
    pub fn and(mut self, more: Self) -> Result<Self, RecipientError> {
        self.0.extend(more.0);
        self.bounded()
    }

    fn numbered<'a>(texts: impl Iterator<Item = (usize, &'a str)>) -> Result<Self, RecipientError> {
        let recipients = texts.map(|(index, text)| {
            text.trim()
                .parse()
                .map_err(|problem| RecipientError::Invalid {
                    number: index + 1,
                    problem,
                })
        });
        Self(recipients.collect::<Result<_, _>>()?).bounded()
    }

    fn bounded(self) -> Result<Self, RecipientError> {
        match self.0.len() {
            0 => Err(RecipientError::None),
            1..=MAX_RECIPIENTS => Ok(self),
            _ => Err(RecipientError::TooMany),
        }
    }
}

impl FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("age1") {
            return text.parse().map(Self::X25519).map_err(|problem| {
                format!("{problem}; only X25519 recipients (`age1…`) and SSH keys are supported")
            });
        }
        if text.starts_with("AGE-") {
            return Err("it is an identity; `age-keygen -y FILE` prints its recipient".to_owned());
        }
        let recipient = text.parse().map(Box::new).map(Self::Ssh);
        recipient.map_err(|error| match error {
            ParseRecipientKeyError::RsaModulusTooSmall => {
                "the RSA key has less than 2048 bits".to_owned()
            }
            ParseRecipientKeyError::RsaModulusTooLarge => {
                "the RSA key has more bits than are supported".to_owned()
            }
            ParseRecipientKeyError::Unsupported(_) => {
                "only SSH keys of the types ssh-ed25519 and ssh-rsa are supported".to_owned()
            }
            _ => "it is neither `age1…` nor `ssh-ed25519 …` nor `ssh-rsa …`".to_owned(),
        })
    }
}

/// Seals `key` to `recipients`: age armor, whose content is the key byte for byte.
///
/// # Errors
///
/// Fails where the system has no randomness.
pub fn to_recipients(key: &PrivateKey, recipients: &Recipients) -> Result<String, SealError> {
    let recipients = recipients.0.iter().map(|recipient| match recipient {
        Recipient::X25519(recipient) => recipient as &dyn age::Recipient,
        Recipient::Ssh(recipient) => &**recipient,
    });
    let encryptor = Encryptor::with_recipients(recipients)
        .map_err(|error| SealError(io::Error::other(error)))?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)
        .and_then(|armor| encryptor.wrap_output(armor))
        .and_then(|mut writer| {
            writer.write_all(key.expose().as_bytes())?;
            writer.finish()?.finish()
        })
        .map_err(SealError)?;
    String::from_utf8(armor).map_err(|error| SealError(io::Error::other(error)))
}

/// A key that could not be sealed.
#[derive(Debug, thiserror::Error)]
#[error("failed to encrypt the key")]
pub struct SealError(#[source] io::Error);
