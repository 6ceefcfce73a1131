//! Reads identity files: age's own (X25519) and SSH private keys.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use age::ssh::{self, UnsupportedKey};
use age::x25519;
use zeroize::Zeroizing;

use super::{Identities, IdentityError};

/// The largest identity file, in bytes.
const MAX_FILE: usize = 64 * 1024;
/// The most identities: each is tried on each recipient of a sealed key.
const MAX_IDENTITIES: usize = 64;

/// An identity. The library wipes it when it is dropped.
pub(super) enum Identity {
    X25519(x25519::Identity),
    Ssh(Box<(ssh::Identity, ssh::Recipient)>),
}

impl Identity {
    pub(super) fn as_age(&self) -> &dyn age::Identity {
        match self {
            Self::X25519(identity) => identity,
            Self::Ssh(pair) => &pair.0,
        }
    }

    pub(super) fn recipient(&self) -> String {
        match self {
            Self::X25519(identity) => identity.to_public().to_string(),
            Self::Ssh(pair) => pair.1.to_string(),
        }
    }
}

impl Identities {
    /// Reads an identity file: age identities (`AGE-SECRET-KEY-1…`, a line
    /// each, with comments) and SSH private keys (Ed25519 and RSA, without a
    /// passphrase). A file that others than its owner can read is used with a warning.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = read(path)?;
        let identities = parse(&text).map_err(|(line, problem)| IdentityError::Line {
            path: path.to_owned(),
            line,
            problem,
        })?;
        if identities.is_empty() {
            return Err(IdentityError::Empty {
                path: path.to_owned(),
            });
        }
        if identities.len() > MAX_IDENTITIES {
            return Err(IdentityError::TooMany {
                path: path.to_owned(),
                limit: MAX_IDENTITIES,
            });
        }
        Ok(Self(Arc::from(identities)))
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let failed = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    warn_if_exposed(path, &file.metadata().map_err(failed)?);
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE + 1));
    file.take(MAX_FILE as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() > MAX_FILE {
        return Err(IdentityError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE,
        });
    }
    Ok(text)
}

#[cfg(unix)]
fn warn_if_exposed(path: &Path, metadata: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;

    let mode = metadata.mode() & 0o777;
    if metadata.is_file() && mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format!("{mode:o}"),
            "others than its owner can access the identity file; run `chmod 600` on it"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_exposed(_path: &Path, _metadata: &fs::Metadata) {}

/// The identities of a file, or the line that is none and why.
fn parse(text: &str) -> Result<Vec<Identity>, (usize, &'static str)> {
    let mut identities = Vec::new();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let line = line.trim();
        if line == "-----BEGIN OPENSSH PRIVATE KEY-----"
            || line == "-----BEGIN RSA PRIVATE KEY-----"
        {
            let lines = block(rest).ok_or((number, "the private key has no END line"))?;
            let (pem, after) = rest.split_at(lines.bytes);
            identities.push(ssh(pem).map_err(|problem| (number, problem))?);
            number += lines.count - 1;
            rest = after;
            continue;
        }
        if !line.is_empty() && !line.starts_with('#') {
            identities.push(native(line).map_err(|problem| (number, problem))?);
        }
        rest = after;
    }
    Ok(identities)
}

struct Block {
    bytes: usize,
    count: usize,
}

/// How much of `text` the PEM block at its beginning takes.
fn block(text: &str) -> Option<Block> {
    let mut bytes = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        bytes += line.len();
        if line.starts_with("-----END ") {
            return Some(Block {
                bytes,
                count: index + 1,
            });
        }
    }
    None
}

fn native(line: &str) -> Result<Identity, &'static str> {
    if let Ok(identity) = line.parse() {
        return Ok(Identity::X25519(identity));
    }
    Err(if line.starts_with("AGE-SECRET-KEY-1") {
        "the age identity is damaged; copy it again"
    } else if line.starts_with("AGE-PLUGIN-") || line.starts_with("AGE-SECRET-KEY-") {
        "only X25519 age identities (`AGE-SECRET-KEY-1…`) and SSH private keys are supported"
    } else if line.starts_with("age-encryption.org/") || line.starts_with("-----BEGIN AGE ") {
        "the identity file is encrypted itself; decrypt it with `age -d` first"
    } else if line.starts_with("-----BEGIN ENCRYPTED ") {
        "the private key has a passphrase; remove it with `ssh-keygen -p -f FILE`"
    } else if line.starts_with("-----BEGIN ") {
        "not an SSH private key in OpenSSH's form; convert it with `ssh-keygen -p -f FILE`"
    } else if line.starts_with("age1") || line.starts_with("ssh-") {
        "this is a public recipient; the private identity that belongs to it is needed"
    } else {
        "neither an age identity (`AGE-SECRET-KEY-1…`) nor an SSH private key nor a comment"
    })
}

fn ssh(pem: &str) -> Result<Identity, &'static str> {
    let identity = ssh::Identity::from_buffer(pem.as_bytes(), None)
        .map_err(|_| "the SSH private key is damaged; copy it again")?;
    match &identity {
        ssh::Identity::Unencrypted(_) => {}
        ssh::Identity::Encrypted(_)
        | ssh::Identity::Unsupported(
            UnsupportedKey::EncryptedPem | UnsupportedKey::EncryptedSsh(_),
        ) => {
            return Err(
                "the SSH private key has a passphrase; remove it with `ssh-keygen -p -f FILE`",
            );
        }
        ssh::Identity::Unsupported(UnsupportedKey::Hardware(_)) => {
            return Err("an SSH key on a security key cannot open age files; use another identity");
        }
        ssh::Identity::Unsupported(UnsupportedKey::Type(_)) => {
            return Err("only SSH keys of the types ssh-ed25519 and ssh-rsa can open age files");
        }
    }
    let recipient = ssh::Recipient::try_from(identity.clone())
        .map_err(|_| "the SSH private key holds no usable public key; make a new one")?;
    Ok(Identity::Ssh(Box::new((identity, recipient))))
}
