//! The token file: the one place where a token of a dataplane lies in clear.
//!
//! Others may replace it too, so it is read anew whenever it is needed. It
//! holds the token and nothing else: Envoy puts it into a header as it is, and
//! gRPC refuses a header with a line end.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::Builder;
use zeroize::Zeroizing;

use crate::model::PrivateKey;
use crate::token::MAX_TOKEN;

/// The permissions of everyone but the owner.
const OTHERS: u32 = 0o077;

/// A file that holds a token.
#[derive(Debug, Clone)]
pub struct TokenFile(PathBuf);

/// What the file holds.
#[derive(Debug)]
pub struct Content {
    /// The token, without anything around it.
    pub token: PrivateKey,
    /// Whether the file holds exactly the token, as Envoy needs it.
    pub is_bare: bool,
    /// Whether others than the owner can get at it.
    pub is_open: bool,
}

/// Why there is no token in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is not there.
    #[error("the file does not exist")]
    Missing,
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(io::Error),
    /// It is a folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Nothing is in it.
    #[error("the file is empty")]
    Empty,
    /// It is longer than any token.
    #[error("the file is larger than 8 KiB, which no token is")]
    Size,
    /// It is no text.
    #[error("it holds no dataplane token (a JWT)")]
    Text,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl TokenFile {
    /// The file at an absolute path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it.
    pub fn read(&self) -> Result<Content, ReadError> {
        // A pipe is not opened: that could take for ever.
        let metadata = fs::metadata(&self.0)?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 2));
        let limit = MAX_TOKEN as u64 + 2;
        File::open(&self.0)?.take(limit).read_to_end(&mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ReadError::Text)?;
        let token = text.trim();
        if token.is_empty() {
            return Err(ReadError::Empty);
        }
        if token.len() > MAX_TOKEN || bytes.len() == MAX_TOKEN + 2 {
            return Err(ReadError::Size);
        }
        Ok(Content {
            is_bare: token.len() == text.len(),
            is_open: metadata.permissions().mode() & OTHERS != 0,
            token: PrivateKey::new(Zeroizing::new(token.to_owned())),
        })
    }

    /// Puts another token in its place, at once: who reads gets the one or the
    /// other. A symlink stays; the file that it leads to is replaced. Owner and
    /// permissions stay as far as the process may set them.
    pub fn replace(&self, token: &PrivateKey) -> io::Result<()> {
        let file = fs::canonicalize(&self.0)?;
        let former = fs::metadata(&file)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        // Created exclusively, for the owner alone.
        let mut new = Builder::new().prefix(".windlass-").tempfile_in(folder)?;
        new.write_all(token.expose().as_bytes())?;
        keep_access(new.as_file(), &former)?;
        new.as_file().sync_all()?;
        new.persist(&file)?;
        File::open(folder)?.sync_all()
    }
}

/// Gives a new file the owner and the permissions of the former one.
fn keep_access(new: &File, former: &Metadata) -> io::Result<()> {
    let own = new.metadata()?;
    let is_same_owner = (own.uid(), own.gid()) == (former.uid(), former.gid());
    if is_same_owner || fchown(new, Some(former.uid()), Some(former.gid())).is_ok() {
        return new.set_permissions(Permissions::from_mode(former.mode() & 0o777));
    }
    // Another group must not get what was meant for the former one.
    new.set_permissions(Permissions::from_mode(former.mode() & 0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn file(content: &[u8]) -> (TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        (dir, TokenFile::new(path))
    }

    fn key(text: &str) -> PrivateKey {
        PrivateKey::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn the_token_is_what_stands_between_spaces() {
        let (_dir, bare) = file(b"a.b.c");
        let content = bare.read().unwrap();
        assert!(content.is_bare && content.token == key("a.b.c"));
        let (_dir, ended) = file(b"a.b.c\n");
        let content = ended.read().unwrap();
        assert!(!content.is_bare && content.token == key("a.b.c"));
    }

    #[test]
    fn files_without_a_token_are_told_apart() {
        let words = |content: &[u8]| file(content).1.read().unwrap_err().to_string();
        assert_eq!(words(b" \n"), "the file is empty");
        assert_eq!(words(&[0xff]), "it holds no dataplane token (a JWT)");
        let large = "the file is larger than 8 KiB, which no token is";
        assert_eq!(words(&vec![b'x'; MAX_TOKEN + 1]), large);
        assert_eq!(words(&vec![b'x'; 10 * MAX_TOKEN]), large);
        let (dir, _) = file(b"");
        let folder = TokenFile::new(dir.path().to_owned()).read().unwrap_err();
        assert_eq!(folder.to_string(), "it is not a regular file");
        let missing = TokenFile::new(dir.path().join("x")).read().unwrap_err();
        assert_eq!(missing.to_string(), "the file does not exist");
    }

    #[test]
    fn a_token_is_replaced_as_a_whole_and_the_permissions_stay() {
        let (dir, file) = file(b"old\n");
        file.replace(&key("new")).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"new");
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symlink_stays_one() {
        let (dir, file) = file(b"old");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        TokenFile::new(link.clone()).replace(&key("new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(file.path()).unwrap(), b"new");
    }
}
