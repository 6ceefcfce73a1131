//! The files of a commit, and what changed in them since the last time.
//!
//! A [`Snapshot`] remembers the ids of folders and files. Reading the next
//! commit against it looks only into folders whose id changed and reads only
//! files whose id changed; an unchanged tree costs nothing.
//!
//! Files are those with the ending `.yaml` or `.yml` below the source's path,
//! without hidden folders and what `.windlassignore` names. What cannot be
//! read as such is refused at its place: a file that is too large, a symlink
//! with a file's name (other symlinks are no files of the source, and none is
//! followed), a submodule, a name that is not UTF-8, folders nested too
//! deeply. A source that is too large or not there is refused as a whole, at
//! the path `.`.

use std::collections::BTreeMap;
use std::sync::Arc;

use git2::{Commit, Oid};

use self::walk::{Folder, Stop, Walk, kind};
use crate::model::Diagnostic;

mod refusal;
mod walk;

/// The largest file, in bytes.
pub(super) const MAX_FILE: usize = 1 << 20;
/// The largest commit or tree object, in bytes.
pub(super) const MAX_OBJECT: usize = 16 << 20;

/// What was read of a commit. Clones share it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    key: Key,
    top: Top,
    cost: Cost,
}

/// What a snapshot was made from: equal keys make equal snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// The tree of the source's path.
    Folder(Oid),
    /// The tree of the commit, which has no such folder.
    Commit(Oid),
}

#[derive(Debug, Clone)]
enum Top {
    Folder(Arc<Folder>),
    Missing(Diagnostic),
    Refused(Diagnostic),
}

/// What a read cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cost {
    files: usize,
    folders: usize,
}

/// A file that differs from the previous snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The file, relative to the source's path, with `/` between folders; `.`
    /// where the source is refused as a whole.
    pub path: Arc<str>,
    /// What is there now.
    pub content: Content,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing any more.
    Removed,
    /// A file with this content.
    Bytes(Vec<u8>),
    /// Something that is not read; the diagnostic holds back the commit.
    Refused(Diagnostic),
}

impl Snapshot {
    /// How many files there are, those that are refused included.
    pub fn len(&self) -> usize {
        match &self.top {
            Top::Folder(folder) => folder.total.files,
            Top::Missing(_) | Top::Refused(_) => 0,
        }
    }

    /// Whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the commit does not hold the source's path.
    pub fn is_missing(&self) -> bool {
        matches!(self.top, Top::Missing(_))
    }

    /// How many files the read that made this snapshot took out of the repository.
    pub fn files_read(&self) -> usize {
        self.cost.files
    }

    /// How many folders the read that made this snapshot looked into.
    pub fn folders_read(&self) -> usize {
        self.cost.folders
    }

    fn folder(&self) -> Option<&Arc<Folder>> {
        match &self.top {
            Top::Folder(folder) => Some(folder),
            Top::Missing(_) | Top::Refused(_) => None,
        }
    }

    fn refusal(&self) -> Option<&Diagnostic> {
        match &self.top {
            Top::Folder(_) => None,
            Top::Missing(diagnostic) | Top::Refused(diagnostic) => Some(diagnostic),
        }
    }
}

/// Why a commit could not be read.
pub(super) enum Problem {
    /// An object is missing or damaged.
    Git(String, git2::Error),
    /// An object is larger than [`MAX_OBJECT`].
    TooLarge(String),
}

impl Problem {
    fn file(place: &str, error: git2::Error) -> Self {
        Self::Git(format!("the file `{place}`"), error)
    }
}

/// The path without `.` and empty parts; `None` where it leads out of the repository.
pub(super) fn normalize(path: &str) -> Option<String> {
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let inside =
        !path.starts_with('/') && !path.contains('\0') && !parts.clone().any(|p| p == "..");
    inside.then(|| parts.by_ref().collect::<Vec<_>>().join("/"))
}

/// Reads what changed below `path` of `commit` since `previous`.
pub(super) fn read(
    git: &git2::Repository,
    commit: &Commit<'_>,
    path: &str,
    previous: Option<&Snapshot>,
) -> Result<(Snapshot, Vec<FileChange>), Problem> {
    let found = find(git, commit.tree_id(), path)?;
    let key = match &found {
        Found::Folder(id) => Key::Folder(*id),
        _ => Key::Commit(commit.tree_id()),
    };
    if let Some(same) = previous.filter(|previous| previous.key == key) {
        let cost = Cost::default();
        return Ok((
            Snapshot {
                cost,
                ..same.clone()
            },
            Vec::new(),
        ));
    }

    let old = previous.and_then(Snapshot::folder);
    let mut changes = Vec::new();
    let mut cost = Cost::default();
    let top = match found {
        Found::Missing(diagnostic) => Top::Missing(diagnostic),
        Found::Refused(diagnostic) => Top::Refused(diagnostic),
        Found::Folder(id) => {
            let mut walk = Walk::new(git)?;
            match walk.top(id, old) {
                Ok(folder) => {
                    (changes, cost) = walk.finish();
                    Top::Folder(folder)
                }
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::TooMuch(what)) => Top::Refused(refusal::too_much(&what)),
            }
        }
    };
    let snapshot = Snapshot { key, top, cost };

    // A source that is refused as a whole has no files.
    if let (None, Some(old)) = (snapshot.folder(), old) {
        old.remove_all("", &mut changes);
    }
    let (new, old) = (snapshot.refusal(), previous.and_then(Snapshot::refusal));
    if new != old {
        let content = match new {
            Some(diagnostic) => Content::Refused(diagnostic.clone()),
            None => Content::Removed,
        };
        let path = Arc::from(".");
        changes.push(FileChange { path, content });
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((snapshot, changes))
}

/// Reads the file `file` below `path` of `commit`.
pub(super) fn read_file(
    git: &git2::Repository,
    commit: &Commit<'_>,
    path: &str,
    file: &str,
) -> Result<Option<Vec<u8>>, Problem> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let folder = format!("{path}/{folder}");
    let Found::Folder(id) = find(git, commit.tree_id(), &folder)? else {
        return Ok(None);
    };
    let tree = walk::tree(git, id, &folder)?;
    let Some(entry) = tree.get_name(name) else {
        return Ok(None);
    };
    if entry.filemode_raw() & kind::MASK != kind::FILE {
        return Ok(None);
    }
    let walk = Walk::new(git)?;
    if walk.size(entry.id(), file)? > MAX_FILE {
        return Ok(None);
    }
    walk.content(entry.id(), file).map(Some)
}

enum Found {
    Folder(Oid),
    Missing(Diagnostic),
    Refused(Diagnostic),
}

/// Looks for the folder `path` of the tree `id`, following no symlink.
fn find(git: &git2::Repository, id: Oid, path: &str) -> Result<Found, Problem> {
    let mut id = id;
    let mut walked = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let tree = walk::tree(git, id, &walked)?;
        walked = format!("{walked}{part}");
        let Some(entry) = tree.get_name(part) else {
            return Ok(Found::Missing(refusal::path_missing(path, &walked)));
        };
        if entry.filemode_raw() & kind::MASK != kind::FOLDER {
            let kind = entry.filemode_raw() & kind::MASK;
            return Ok(Found::Refused(refusal::path_not_folder(
                path, &walked, kind,
            )));
        }
        id = entry.id();
        walked.push('/');
    }
    Ok(Found::Folder(id))
}

type Named<T> = BTreeMap<Box<str>, T>;
