//! A repository and the commits in it.
//!
//! A path is opened in place; a URL is mirrored (see [`super::mirror`]). A
//! local repository is opened anew for every fetch, so that one that vanished
//! is an error and not a repository without branches.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use git2::{Error, ErrorCode, Oid};

use super::location::Location;
use super::mirror::Mirror;
use super::snapshot::{self, FileChange, Problem, Snapshot};
use super::{GitError, SourceError, Watch, loose};
use crate::model::{CommitId, Revision};

/// Where the desired state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// A URL or a local path.
    pub repo: String,
    /// The branch; the repository's HEAD where not set.
    pub branch: Option<String>,
    /// The folder inside the repository, `.` for all of it.
    pub path: String,
    /// Where the mirror of a URL is kept. One process at a time may use it.
    pub cache_dir: PathBuf,
}

/// What one fetch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// The time from connecting to the last byte.
    pub time: Duration,
    /// The bytes that the server may send.
    pub bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_mins(2),
            bytes: 1 << 30,
        }
    }
}

/// Where the branch is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// At a commit.
    Commit(Revision),
    /// It has no commit yet.
    Empty,
    /// There is no such branch (any more).
    Missing,
}

/// A repository. Its methods block.
pub struct Repository {
    pub(super) location: Location,
    branch: Option<String>,
    path: String,
    mirror: Option<Mirror>,
    git: Option<git2::Repository>,
    /// Something in it could not be read: a mirror is made anew by the next fetch.
    damaged: Cell<bool>,
}

/// The repository that `start` is in: `start` itself or the first folder above
/// that is one.
#[must_use]
pub fn discover(start: &Path) -> Option<PathBuf> {
    let git = git2::Repository::discover(start).ok()?;
    Some(git.workdir().unwrap_or_else(|| git.path()).to_owned())
}

impl Repository {
    /// Opens a local repository. A URL is not contacted before [`Self::fetch`].
    pub fn open(config: &RepositoryConfig) -> Result<Self, SourceError> {
        let location = Location::parse(&config.repo)?;
        let repo = location.redacted();
        if let Some(branch) = &config.branch
            && !git2::Branch::name_is_valid(branch).unwrap_or(false)
        {
            return Err(SourceError::Branch {
                repo,
                branch: branch.clone(),
            });
        }
        let path = snapshot::normalize(&config.path).ok_or_else(|| SourceError::Path {
            repo,
            path: config.path.clone(),
        })?;
        let (mirror, git) = match &location {
            Location::Local(path) => (None, Some(open(path, &location)?)),
            Location::Remote(url) => {
                let mirror = Mirror::new(url, &config.cache_dir);
                let git = git2::Repository::open_bare(mirror.path()).ok();
                (Some(mirror), git)
            }
        };
        Ok(Self {
            location,
            branch: config.branch.clone(),
            path,
            mirror,
            git,
            damaged: Cell::new(false),
        })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: FetchLimits) -> Self {
        if let Some(mirror) = &mut self.mirror {
            mirror.limits = limits;
        }
        self
    }

    /// Whether the repository is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.mirror.is_none()
    }

    /// Looks where the branch is now, after fetching it if the repository is a
    /// URL. A branch that was force-pushed is simply where it is.
    pub fn fetch(&mut self) -> Result<Head, SourceError> {
        self.update(false)
    }

    /// Like [`Self::fetch`], with every branch and tag, so that
    /// [`Self::resolve`] finds them.
    pub fn fetch_all(&mut self) -> Result<Head, SourceError> {
        self.update(true)
    }

    fn update(&mut self, everything: bool) -> Result<Head, SourceError> {
        if let Location::Local(path) = &self.location {
            let git = open(path, &self.location)?;
            let head = self.local_head(&git);
            self.git = Some(git);
            return head;
        }
        let Some(mirror) = &mut self.mirror else {
            return Ok(Head::Missing);
        };
        let branch = self.branch.as_deref();
        let fetched = mirror.fetch(&self.location, branch, everything, self.damaged.get())?;
        self.damaged.set(false);
        self.git = Some(fetched.git);
        Ok(fetched.head)
    }

    fn local_head(&self, git: &git2::Repository) -> Result<Head, SourceError> {
        let damaged = |error| self.damage("HEAD", &error);
        let head = git.find_reference("HEAD").map_err(damaged)?;
        let head_branch = head.symbolic_target().map_err(damaged)?;
        let name = match (&self.branch, head_branch) {
            (Some(branch), _) => format!("refs/heads/{branch}"),
            (None, Some(target)) => target.to_owned(),
            // Detached.
            (None, None) => "HEAD".to_owned(),
        };
        let branch = name.strip_prefix("refs/heads/").unwrap_or(&name);
        let what = format!("the branch `{branch}`");
        match git.find_reference(&name) {
            Ok(reference) => {
                let tip = reference.resolve().map(|reference| reference.target());
                let tip = tip.map_err(|error| self.damage(&what, &error))?;
                let tip = tip.ok_or_else(|| self.damage(&what, &Error::from_str("no target")))?;
                let commit = find_commit(git, tip).map_err(|problem| self.fail(problem))?;
                let revision = revision(branch, commit.id());
                Ok(Head::Commit(
                    revision.map_err(|error| self.damage(&what, &error))?,
                ))
            }
            Err(error) if error.code() == ErrorCode::NotFound => {
                Ok(if head_branch == Some(&*name) {
                    Head::Empty
                } else {
                    Head::Missing
                })
            }
            Err(error) => Err(self.damage(&what, &error)),
        }
    }

    /// Finds a commit by branch, tag, commit id or any other of Git's
    /// spellings, or by a [`Revision`] as Windlass prints it. A remote branch
    /// of a clone is found by its short name too.
    pub fn resolve(&self, spec: &str) -> Result<Revision, SourceError> {
        let git = self.git()?;
        if let Ok(revision) = spec.parse::<Revision>() {
            self.commit(&revision.commit)?;
            return Ok(revision);
        }
        let (object, reference) = git
            .revparse_ext(spec)
            .or_else(|error| {
                git.revparse_ext(&format!("origin/{spec}"))
                    .map_err(|_| error)
            })
            .map_err(|error| self.unknown(spec, &error))?;
        let commit = object
            .peel_to_commit()
            .map_err(|error| self.unknown(spec, &error))?;
        // `main~3` is a commit of `main`.
        let reference = reference.or_else(|| {
            let start = spec
                .split(['~', '^'])
                .next()
                .filter(|start| *start != spec)?;
            git.revparse_ext(start).ok()?.1
        });
        let name = reference.as_ref().and_then(|reference| {
            let branch = reference.is_branch() || reference.is_remote();
            reference.shorthand().ok().filter(|_| branch)
        });
        revision(name.unwrap_or("HEAD"), commit.id()).map_err(|error| self.unknown(spec, &error))
    }

    /// Reads the files of a revision: what changed since `previous`, or all of
    /// them. The cost follows the change.
    pub fn read(
        &self,
        revision: &Revision,
        previous: Option<&Snapshot>,
    ) -> Result<(Snapshot, Vec<FileChange>), SourceError> {
        let git = self.git()?;
        let commit = self.commit(&revision.commit)?;
        snapshot::read(git, &commit, &self.path, previous).map_err(|problem| self.fail(problem))
    }

    /// Reads one file of a revision, as a report that quotes it needs. `file`
    /// is relative to the source's path. `None` where there is no such file or
    /// one that [`Self::read`] would refuse.
    pub fn read_file(
        &self,
        revision: &Revision,
        file: &str,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let git = self.git()?;
        let commit = self.commit(&revision.commit)?;
        snapshot::read_file(git, &commit, &self.path, file).map_err(|problem| self.fail(problem))
    }

    /// The commits after `from` up to `to` along first parents, oldest first.
    /// `None` when `from` is not among the `limit` nearest first-parent
    /// ancestors of `to`, or history ends early, as in a shallow clone.
    pub fn first_parent_path(
        &self,
        from: &CommitId,
        to: &CommitId,
        limit: usize,
    ) -> Result<Option<Vec<CommitId>>, SourceError> {
        let git = self.git()?;
        let mut commit = self.commit(to)?;
        let from = oid(from).map_err(|error| self.unknown(from.as_str(), &error))?;
        let mut path = Vec::new();
        while commit.id() != from {
            if path.len() == limit {
                return Ok(None);
            }
            let id = commit_id(commit.id()).map_err(|error| self.damage("a commit", &error))?;
            path.push(id);
            let Ok(parent) = commit.parent_id(0) else {
                return Ok(None);
            };
            if parent == from {
                break;
            }
            commit = match find_commit(git, parent) {
                Ok(commit) => commit,
                Err(Problem::Git(_, error)) if error.code() == ErrorCode::NotFound => {
                    return Ok(None);
                }
                Err(problem) => return Err(self.fail(problem)),
            };
        }
        path.reverse();
        Ok(Some(path))
    }

    /// Watches a local repository. `None` for a URL, or where the system
    /// allows no more watches; polling goes on in either case.
    pub fn watch(&self) -> Option<Watch> {
        if !self.is_local() {
            return None;
        }
        let git = self.git.as_ref()?;
        Watch::start(git.path(), git.commondir())
            .inspect_err(|error| {
                tracing::warn!(
                    repo = self.location.redacted(),
                    error = %error,
                    "cannot watch the repository; it is polled only"
                );
            })
            .ok()
    }

    fn git(&self) -> Result<&git2::Repository, SourceError> {
        self.git.as_ref().ok_or_else(|| SourceError::NotFetched {
            repo: self.location.redacted(),
        })
    }

    fn commit(&self, id: &CommitId) -> Result<git2::Commit<'_>, SourceError> {
        let git = self.git()?;
        let oid = oid(id).map_err(|error| self.unknown(id.as_str(), &error))?;
        find_commit(git, oid).map_err(|problem| match problem {
            Problem::Git(_, error) if error.code() == ErrorCode::NotFound => {
                self.damaged.set(true);
                self.unknown(id.as_str(), &error)
            }
            problem => self.fail(problem),
        })
    }

    fn fail(&self, problem: Problem) -> SourceError {
        match problem {
            Problem::Git(what, error) => self.damage(&what, &error),
            Problem::TooLarge(what) => SourceError::ObjectTooLarge {
                repo: self.location.redacted(),
                what,
                limit: snapshot::MAX_OBJECT,
            },
        }
    }

    fn unknown(&self, spec: &str, error: &git2::Error) -> SourceError {
        SourceError::Revision {
            repo: self.location.redacted(),
            spec: spec.to_owned(),
            source: GitError::new(error, &self.location),
        }
    }

    fn damage(&self, what: &str, error: &git2::Error) -> SourceError {
        self.damaged.set(true);
        SourceError::Damaged {
            repo: self.location.redacted(),
            what: what.to_owned(),
            source: GitError::new(error, &self.location),
        }
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("location", &self.location)
            .field("branch", &self.branch)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn open(path: &Path, location: &Location) -> Result<git2::Repository, SourceError> {
    git2::Repository::open(path).map_err(|error| {
        let repo = location.redacted();
        let source = GitError::new(&error, location);
        match error.code() {
            ErrorCode::NotFound => SourceError::NotFound { repo, source },
            ErrorCode::Owner => {
                // Git wants the whole path to be told.
                let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                let repo = whole.display().to_string();
                SourceError::Owner { repo, source }
            }
            _ => SourceError::Open { repo, source },
        }
    })
}

fn find_commit(git: &git2::Repository, id: Oid) -> Result<git2::Commit<'_>, Problem> {
    let failed = |error| Problem::Git(format!("the commit {id}"), error);
    let header = git.odb().and_then(|odb| odb.read_header(id));
    if header.map_err(failed)?.0 > snapshot::MAX_OBJECT {
        return Err(Problem::TooLarge(format!("the commit {id}")));
    }
    loose::check(git, id, snapshot::MAX_OBJECT)
        .and_then(|()| git.find_commit(id))
        .map_err(failed)
}

fn oid(id: &CommitId) -> Result<Oid, git2::Error> {
    id.as_str().parse()
}

fn commit_id(oid: Oid) -> Result<CommitId, git2::Error> {
    let text = oid.to_string();
    text.parse()
        .map_err(|_| git2::Error::from_str("not a SHA-1 object id"))
}

/// The revision of a commit on a branch.
pub(super) fn revision(branch: &str, oid: Oid) -> Result<Revision, git2::Error> {
    Ok(Revision {
        branch: Arc::from(branch),
        commit: commit_id(oid)?,
    })
}
