//! What goes wrong with identities and sealed keys.

use std::io;
use std::path::PathBuf;

use crate::model::{Diagnostic, ResourceKey};
use crate::source::codes;

/// An identity file that cannot be used. It never quotes the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("failed to read the identity file `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any identity file.
    #[error(
        "the identity file `{path}` is larger than {limit} bytes; name an age identity file or an SSH private key"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// A line is no identity, or one that is not supported.
    #[error("the identity file `{path}` cannot be used, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        problem: &'static str,
    },
    /// There is no identity in the file.
    #[error("the identity file `{path}` holds no identity; make one with `age-keygen -o FILE`")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There are more identities than any set-up needs.
    #[error("the identity file `{path}` holds more than {limit} identities; keep those in use")]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
}

/// A sealed key that was not opened. It never quotes the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is no age armor.
    #[error("key is not an age file in armor: {problem}")]
    NotArmor {
        /// What is wrong with it.
        problem: String,
    },
    /// No identity is configured.
    #[error("key is sealed and there is no identity to open it with")]
    NoIdentity,
    /// No configured identity opens it.
    #[error(
        "no configured identity opens the key: it is sealed to others, or its list of recipients was altered"
    )]
    NoMatch,
    /// It was altered or cut off.
    #[error("sealed key was altered or is damaged: {problem}")]
    Tampered {
        /// How that shows.
        problem: &'static str,
    },
    /// What is inside is not a private key in PEM.
    #[error("what is sealed is not a private key in PEM")]
    NotAKey,
    /// It is sealed with a passphrase.
    #[error("key is sealed with a passphrase, which nobody could type in")]
    Passphrase,
    /// It, or what is inside, is too large.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// It is sealed to more recipients than is sensible.
    #[error("key is sealed to more than {} recipients", super::MAX_RECIPIENTS)]
    TooManyRecipients,
}

impl OpenError {
    /// The error as a diagnostic on the field `key` of `resource`, which holds
    /// back its mesh only.
    #[must_use]
    pub fn diagnostic(&self, resource: &ResourceKey) -> Diagnostic {
        let seal = |recipient: &str| {
            format!(
                "seal it again: `windlass seal --mesh {} --name {} --cert-file F --key-file F --recipient {recipient}`",
                resource.mesh, resource.name
            )
        };
        let (code, hint) = match self {
            Self::NotArmor { .. } => (codes::NOT_ARMOR, seal("R")),
            Self::NoIdentity => (
                codes::NO_IDENTITY,
                "set `source.decryption.identityFile` to an age identity or SSH private key that the key is sealed to"
                    .to_owned(),
            ),
            Self::NoMatch => (
                codes::NO_MATCH,
                format!(
                    "{}, where R belongs to `source.decryption.identityFile` (`age-keygen -y FILE` prints it)",
                    seal("R")
                ),
            ),
            Self::Tampered { .. } => (
                codes::TAMPERED,
                format!("find out who changed it, then {}", seal("R")),
            ),
            Self::NotAKey => (codes::NOT_A_KEY, seal("R")),
            Self::Passphrase => (codes::PASSPHRASE, seal("R")),
            Self::TooLarge { .. } | Self::TooManyRecipients => {
                (codes::SEALED_TOO_LARGE, seal("R"))
            }
        };
        Diagnostic::error(code, self.to_string())
            .on_field("key")
            .on_resource(resource)
            .hint(hint)
    }
}
