//! The walk through a commit's folders, against the one before.

use std::sync::Arc;

use git2::{ObjectType, Odb, Oid, Tree};

use super::super::ignored::{self, Rules};
use super::super::loose;
use super::{Content, Cost, FileChange, MAX_FILE, MAX_OBJECT, Named, Problem, refusal};
use crate::model::Diagnostic;

/// How deeply folders may be nested below the source's path.
pub(super) const MAX_DEPTH: usize = 64;
const MAX_FILES: usize = 50_000;
const MAX_FOLDERS: usize = 50_000;
/// Entries of any kind: small trees that repeat can span a huge number of paths.
const MAX_ENTRIES: usize = 2_000_000;
const MAX_IGNORE_FILES: usize = 1_000;
const MAX_BYTES: usize = 128 << 20;

/// The kinds of tree entries, as in their modes.
pub(super) mod kind {
    pub(in super::super) const MASK: i32 = 0o170_000;
    pub(in super::super) const FOLDER: i32 = 0o040_000;
    pub(in super::super) const FILE: i32 = 0o100_000;
    pub(in super::super) const SYMLINK: i32 = 0o120_000;
    pub(in super::super) const SUBMODULE: i32 = 0o160_000;
}

/// A folder as it was read.
#[derive(Debug)]
pub(super) struct Folder {
    id: Oid,
    /// The rules of the folders above.
    above: Rules,
    /// Those and its own.
    rules: Rules,
    ignore_file: Option<(Oid, i32)>,
    files: Named<Leaf>,
    folders: Named<Arc<Folder>>,
    /// Of this folder and all below it.
    pub(super) total: Total,
}

/// A file, or what is refused in its place. Whether it is refused follows from
/// its id, kind and place.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    id: Oid,
    kind: i32,
    /// How many bytes of it were read.
    size: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    pub(super) files: usize,
    folders: usize,
    entries: usize,
    ignore_files: usize,
    bytes: usize,
}

/// Why a walk ended early.
pub(super) enum Stop {
    Problem(Problem),
    /// There is more than this.
    TooMuch(String),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

pub(super) struct Walk<'git> {
    git: &'git git2::Repository,
    odb: Odb<'git>,
    changes: Vec<FileChange>,
    cost: Cost,
    total: Total,
}

/// The tree `id` at `path`, unless it is larger than any honest one.
pub(super) fn tree<'git>(
    git: &'git git2::Repository,
    id: Oid,
    path: &str,
) -> Result<Tree<'git>, Problem> {
    let what = || format!("the folder `/{path}`");
    let header = git.odb().and_then(|odb| odb.read_header(id));
    let (size, _) = header.map_err(|error| Problem::Git(what(), error))?;
    if size > MAX_OBJECT {
        return Err(Problem::TooLarge(what()));
    }
    loose::check(git, id, MAX_OBJECT)
        .and_then(|()| git.find_tree(id))
        .map_err(|error| Problem::Git(what(), error))
}

impl<'git> Walk<'git> {
    pub(super) fn new(git: &'git git2::Repository) -> Result<Self, Problem> {
        let odb = git.odb();
        Ok(Self {
            git,
            odb: odb.map_err(|error| Problem::Git("the objects".to_owned(), error))?,
            changes: Vec::new(),
            cost: Cost::default(),
            total: Total::default(),
        })
    }

    /// Walks the source's path itself.
    pub(super) fn top(&mut self, id: Oid, old: Option<&Arc<Folder>>) -> Result<Arc<Folder>, Stop> {
        self.folder(id, old, "", &Rules::default(), 0)
    }

    pub(super) fn finish(self) -> (Vec<FileChange>, Cost) {
        (self.changes, self.cost)
    }

    /// Walks the folder `id` at `path`, which is empty or ends in `/`.
    fn folder(
        &mut self,
        id: Oid,
        old: Option<&Arc<Folder>>,
        path: &str,
        above: &Rules,
        depth: usize,
    ) -> Result<Arc<Folder>, Stop> {
        if let Some(same) = old.filter(|old| old.id == id && old.above == *above) {
            self.charge(same.total)?;
            return Ok(Arc::clone(same));
        }
        let before = self.total;
        let tree = tree(self.git, id, path)?;
        self.cost.folders += 1;
        self.charge(Total {
            folders: 1,
            entries: tree.len(),
            ..Total::default()
        })?;

        let mut here = Here {
            new: Folder {
                id,
                above: above.clone(),
                rules: above.clone(),
                ignore_file: None,
                files: Named::new(),
                folders: Named::new(),
                total: Total::default(),
            },
            old,
            path,
        };
        self.rules(&tree, &mut here)?;
        for entry in &tree {
            let (id, kind) = (entry.id(), entry.filemode_raw() & kind::MASK);
            let name = entry.name_bytes();
            let is_folder = matches!(kind, kind::FOLDER | kind::SUBMODULE);
            let wanted = if is_folder {
                !name.starts_with(b".")
            } else {
                name.ends_with(b".yaml") || name.ends_with(b".yml")
            };
            if !wanted {
                continue;
            }
            let place = here.place(&String::from_utf8_lossy(name));
            if here.new.rules.ignore(&place, is_folder) {
                continue;
            }
            let Some(name) = sound(name) else {
                let name = name.escape_ascii().to_string();
                self.refuse(&mut here, &name, id, kind, refusal::bad_name)?;
                continue;
            };
            match kind {
                kind::FOLDER if depth == MAX_DEPTH => {
                    self.refuse(&mut here, name, id, kind, refusal::too_deep)?;
                }
                kind::FOLDER => {
                    let old = old.and_then(|old| old.folders.get(name));
                    let path = format!("{place}/");
                    let folder = self.folder(id, old, &path, &here.new.rules, depth + 1)?;
                    here.new.folders.insert(name.into(), folder);
                }
                kind::SUBMODULE => {
                    self.refuse(&mut here, name, id, kind, refusal::submodule)?;
                }
                kind::FILE => self.file(&mut here, name, id)?,
                _ => self.refuse(&mut here, name, id, kind, refusal::symlink)?,
            }
        }
        let mut new = here.new;
        if let Some(old) = old {
            old.remove_gone(&new, path, &mut self.changes);
        }
        new.total = self.total.since(before);
        Ok(Arc::new(new))
    }

    /// Takes in the folder's own `.windlassignore`.
    fn rules(&mut self, tree: &Tree<'_>, here: &mut Here<'_>) -> Result<(), Stop> {
        let Some(entry) = tree.get_name(ignored::FILE_NAME) else {
            return Ok(());
        };
        let (id, kind) = (entry.id(), entry.filemode_raw() & kind::MASK);
        self.charge(Total {
            ignore_files: 1,
            ..Total::default()
        })?;
        here.new.ignore_file = Some((id, kind));
        let same = |old: &&Arc<Folder>| {
            old.ignore_file == here.new.ignore_file && old.above == here.new.above
        };
        if let Some(old) = here.old.filter(same) {
            here.new.rules = old.rules.clone();
            if let Some(leaf) = old.files.get(ignored::FILE_NAME) {
                here.new.files.insert(ignored::FILE_NAME.into(), *leaf);
                self.charge_file(0)?;
            }
            return Ok(());
        }
        let place = here.place(ignored::FILE_NAME);
        let problem = match self.ignore_file(id, kind, &place)? {
            Err(problem) => refusal::bad_ignore_file(&place, problem),
            Ok(content) => {
                let (rules, bad) = here.new.above.clone().with(here.path, id, &content);
                here.new.rules = rules;
                match bad.first() {
                    Some(line) => refusal::bad_ignore_line(&place, line),
                    None => return Ok(()),
                }
            }
        };
        self.refuse(here, ignored::FILE_NAME, id, kind, |_| problem)
    }

    /// The text of a `.windlassignore`, or why it is none.
    fn ignore_file(
        &self,
        id: Oid,
        kind: i32,
        place: &str,
    ) -> Result<Result<String, &'static str>, Problem> {
        if kind != kind::FILE {
            return Ok(Err("is no regular file"));
        }
        if self.size(id, place)? > ignored::MAX_SIZE {
            return Ok(Err("is too large"));
        }
        let content = String::from_utf8(self.content(id, place)?);
        Ok(content.map_err(|_| "is not UTF-8"))
    }

    /// Takes in a regular file.
    fn file(&mut self, here: &mut Here<'_>, name: &str, id: Oid) -> Result<(), Stop> {
        if let Some(size) = here.keep(name, id, kind::FILE) {
            return self.charge_file(size);
        }
        let place = here.place(name);
        let size = self.size(id, &place)?;
        if size > MAX_FILE {
            let too_large = |place: &str| refusal::file_too_large(place, size);
            return self.refuse(here, name, id, kind::FILE, too_large);
        }
        self.charge_file(size)?;
        let kind = kind::FILE;
        here.new.files.insert(name.into(), Leaf { id, kind, size });
        let content = self.content(id, &place)?;
        self.cost.files += 1;
        self.push(place, Content::Bytes(content));
        Ok(())
    }

    /// Takes in something that is not read.
    fn refuse(
        &mut self,
        here: &mut Here<'_>,
        name: &str,
        id: Oid,
        kind: i32,
        diagnostic: impl FnOnce(&str) -> Diagnostic,
    ) -> Result<(), Stop> {
        self.charge_file(0)?;
        if here.keep(name, id, kind).is_none() {
            let size = 0;
            here.new.files.insert(name.into(), Leaf { id, kind, size });
            let place = here.place(name);
            let diagnostic = diagnostic(&place);
            self.push(place, Content::Refused(diagnostic));
        }
        Ok(())
    }

    fn push(&mut self, path: String, content: Content) {
        let path = Arc::from(path);
        self.changes.push(FileChange { path, content });
    }

    /// The size of a file, without reading it.
    pub(super) fn size(&self, id: Oid, place: &str) -> Result<usize, Problem> {
        match self.odb.read_header(id) {
            Ok((size, ObjectType::Blob)) => Ok(size),
            Ok(_) => Err(Problem::file(place, git2::Error::from_str("not a blob"))),
            Err(error) => Err(Problem::file(place, error)),
        }
    }

    pub(super) fn content(&self, id: Oid, place: &str) -> Result<Vec<u8>, Problem> {
        loose::check(self.git, id, MAX_OBJECT)
            .and_then(|()| self.odb.read(id))
            .map(|object| object.data().to_vec())
            .map_err(|error| Problem::file(place, error))
    }

    fn charge_file(&mut self, bytes: usize) -> Result<(), Stop> {
        self.charge(Total {
            files: 1,
            bytes,
            ..Total::default()
        })
    }

    /// Counts what was found, before it is read.
    fn charge(&mut self, more: Total) -> Result<(), Stop> {
        let total = self.total.plus(more);
        self.total = total;
        let too_much = if total.files > MAX_FILES {
            format!("{MAX_FILES} files")
        } else if total.folders > MAX_FOLDERS {
            format!("{MAX_FOLDERS} folders")
        } else if total.entries > MAX_ENTRIES {
            format!("{MAX_ENTRIES} entries of any kind")
        } else if total.ignore_files > MAX_IGNORE_FILES {
            format!("{MAX_IGNORE_FILES} `{}` files", ignored::FILE_NAME)
        } else if total.bytes > MAX_BYTES {
            format!("{MAX_BYTES} bytes in all files together")
        } else {
            return Ok(());
        };
        Err(Stop::TooMuch(too_much))
    }
}

/// A folder during the walk.
struct Here<'a> {
    new: Folder,
    old: Option<&'a Arc<Folder>>,
    path: &'a str,
}

impl Here<'_> {
    fn place(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Takes over what was at `name` before if it is the same, and tells its size.
    fn keep(&mut self, name: &str, id: Oid, kind: i32) -> Option<usize> {
        let old = self.old?.files.get(name).copied();
        let same = old.filter(|old| old.id == id && old.kind == kind)?;
        self.new.files.insert(name.into(), same);
        Some(same.size)
    }
}

impl Folder {
    /// Tells what was removed between this folder at `path` and `new`.
    fn remove_gone(&self, new: &Self, path: &str, changes: &mut Vec<FileChange>) {
        let gone = self
            .files
            .keys()
            .filter(|name| !new.files.contains_key(*name));
        changes.extend(gone.map(|name| removed(path, name)));
        for (name, folder) in &self.folders {
            if !new.folders.contains_key(name) {
                folder.remove_all(&format!("{path}{name}/"), changes);
            }
        }
    }

    /// Tells that all below this folder at `path` was removed.
    pub(super) fn remove_all(&self, path: &str, changes: &mut Vec<FileChange>) {
        changes.extend(self.files.keys().map(|name| removed(path, name)));
        for (name, folder) in &self.folders {
            folder.remove_all(&format!("{path}{name}/"), changes);
        }
    }
}

fn removed(path: &str, name: &str) -> FileChange {
    FileChange {
        path: Arc::from(format!("{path}{name}")),
        content: Content::Removed,
    }
}

impl Total {
    fn plus(self, more: Self) -> Self {
        Self {
            files: self.files + more.files,
            folders: self.folders + more.folders,
            entries: self.entries + more.entries,
            ignore_files: self.ignore_files + more.ignore_files,
            bytes: self.bytes + more.bytes,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            files: self.files - before.files,
            folders: self.folders - before.folders,
            entries: self.entries - before.entries,
            ignore_files: self.ignore_files - before.ignore_files,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// A name that can be printed and cannot be taken for another path.
fn sound(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let sound = !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '/');
    sound.then_some(name)
}
