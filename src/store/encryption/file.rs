//! The identity file: read with care, made at most once.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use zeroize::Zeroizing;

use super::{Identities, VaultError};

/// The largest identity file that is read, in bytes.
const LARGEST: u64 = 16 * 1024;
/// How the name of an identity ends that is not in place yet.
const UNFINISHED: &str = ".new";

/// The most identities in a file: enough for one change that is under way and
/// another that was never tidied up.
const MOST: usize = 8;

pub(super) fn read(path: &Path) -> Result<Identities, VaultError> {
    let failed = |source| VaultError::Read {
        path: path.to_owned(),
        source,
    };
    let not_an_identity = |problem| VaultError::NotAnIdentity {
        path: path.to_owned(),
        problem,
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(not_an_identity("is not a file"));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !is_private(&metadata) {
        return Err(VaultError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > LARGEST {
        return Err(not_an_identity("is larger than 16 KiB"));
    }
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identities = lines
        .map(|line| {
            line.parse::<Identity>()
                .map_err(|_| not_an_identity("holds something else than X25519 identities"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if identities.is_empty() {
        return Err(not_an_identity("holds no identity"));
    }
    if identities.len() > MOST {
        return Err(not_an_identity("holds more than 8 identities"));
    }
    let identities = Identities(identities);
    let publics = identities.recipients();
    if publics.iter().collect::<BTreeSet<_>>().len() < publics.len() {
        return Err(not_an_identity("holds the same identity twice"));
    }
    Ok(identities)
}

/// Whether nobody else gets at a file. As an orchestrator mounts a secret, it
/// is root's, and a group that is made for one service may read it.
fn is_private(metadata: &Metadata) -> bool {
    let others = if metadata.uid() == 0 && !rustix::process::geteuid().is_root() {
        0o037
    } else {
        0o077
    };
    metadata.mode() & others == 0
}

pub(super) fn read_or_create(path: &Path) -> Result<Identities, VaultError> {
    let failed = |source| VaultError::Create {
        path: path.to_owned(),
        source,
    };
    let identities = match read(path) {
        Err(VaultError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(failed)?;
            read(path)?
        }
        other => other?,
    };
    settle(path).map_err(failed)?;
    Ok(identities)
}

/// Puts a new identity at `path` unless there is one by then: written whole to
/// a name of its own first, then linked, which never replaces.
pub(super) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder(path))?;
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    // The public half makes the name unlike any other's.
    let name = format!("{}{recipient}{UNFINISHED}", prefix(path)?);
    let unfinished = path.with_file_name(name);
    let linked = write(&unfinished, &identity, &recipient)
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    let _ = std::fs::remove_file(&unfinished);
    match linked {
        // Someone else was first, and may have swept this one's file away.
        Err(_) if path.exists() => Ok(()),
        linked => linked,
    }
}

fn write(unfinished: &Path, identity: &Identity, recipient: &str) -> io::Result<()> {
    let secret = identity.to_string();
    let text = Zeroizing::new(format!(
        "# The keys in the store of Windlass are sealed to this. Keep a copy in a safe place.\n\
         # public key: {recipient}\n{}\n",
        secret.expose_secret()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes what a process left behind that was killed while it made an
/// identity, and sees to it that the file's name outlives a power loss.
fn settle(path: &Path) -> io::Result<()> {
    let prefix = prefix(path)?;
    for entry in std::fs::read_dir(folder(path))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(UNFINISHED) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the names of unfinished identities start.
fn prefix(path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(format!(".{}.", name.to_string_lossy()))
}
