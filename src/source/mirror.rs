//! The bare clone of a URL in the cache folder.
//!
//! It is a cache: whatever is wrong with it, it is made anew beside the old
//! one and takes its place once it is whole. So a kill at any moment leaves a
//! mirror that works, or one that the next fetch replaces. The URL is not
//! written into it, so that no password is.
//!
//! libgit2 can wait for a server for ever, and this program cannot set its
//! time limits, since that is unsafe code. So a fetch has a thread of its own, which
//! is left behind when time is up; every callback of it ends it from then on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use git2::{
    AutotagOption, Direction, Error, ErrorClass, ErrorCode, FetchOptions, FetchPrune, ProxyOptions,
    RemoteCallbacks,
};

use super::credentials::Credentials;
use super::location::{Location, redact_url};
use super::repository::{FetchLimits, Head, revision};
use super::{GitError, SourceError};
use crate::model::Digest;

/// How many hanging fetches are left behind before no more are started.
const MAX_HANGING: usize = 8;
/// How many packs a mirror collects, one for each fetch, before it is made anew.
const MAX_PACKS: usize = 200;
/// How many references a server may have.
const MAX_REFERENCES: usize = 100_000;

/// Where the mirror of one URL is.
pub(super) struct Mirror {
    path: PathBuf,
    pub(super) limits: FetchLimits,
    /// Whether what a killed process left behind is gone.
    swept: bool,
    /// Counts the threads that still fetch, beside this one.
    running: Arc<()>,
}

/// What a fetch found.
pub(super) struct Fetched {
    pub(super) git: git2::Repository,
    pub(super) head: Head,
}

impl Mirror {
    pub(super) fn new(url: &str, cache_dir: &Path) -> Self {
        let name = Digest::of(redact_url(url).as_bytes()).to_hex();
        Self {
            path: cache_dir.join(format!("{}.git", &name[..16])),
            limits: FetchLimits::default(),
            swept: false,
            running: Arc::new(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches `branch` (or the branch of the server's HEAD), into a new
    /// mirror if there is none, it is damaged or worn out.
    pub(super) fn fetch(
        &mut self,
        location: &Location,
        branch: Option<&str>,
        everything: bool,
        damaged: bool,
    ) -> Result<Fetched, SourceError> {
        let wanted = Wanted {
            location: location.clone(),
            branch: branch.map(str::to_owned),
            everything,
            deadline: Instant::now() + self.limits.time,
            bytes: self.limits.bytes,
        };
        let usable = !damaged
            && packs(&self.path) <= MAX_PACKS
            && git2::Repository::open_bare(&self.path).is_ok();
        if usable {
            if !self.swept {
                sweep(&self.path).map_err(|error| self.cache_error(location, error))?;
                self.swept = true;
            }
            match self.run(wanted.clone(), &self.path) {
                Err(Failure::Git(error)) if is_about_mirror(&error) => {}
                Err(failure) => return Err(self.explain(location, failure)),
                Ok(head) => return self.open(location, head),
            }
        }
        let new = self.path.with_extension("new");
        prepare(&new).map_err(|error| self.cache_error(location, error))?;
        let head = self
            .run(wanted, &new)
            .map_err(|failure| self.explain(location, failure))?;
        // An old mirror may hold commits that a vanished branch no longer does.
        if matches!(head, Head::Commit(_)) || !self.path.exists() {
            remove(&self.path)
                .and_then(|()| fs::rename(&new, &self.path))
                .map_err(|error| self.cache_error(location, error))?;
        }
        self.swept = true;
        self.open(location, head)
    }

    fn open(&self, location: &Location, head: Head) -> Result<Fetched, SourceError> {
        let git = git2::Repository::open_bare(&self.path).map_err(|error| SourceError::Open {
            repo: location.redacted(),
            source: GitError::new(&error, location),
        })?;
        Ok(Fetched { git, head })
    }

    /// Fetches on a thread of its own and waits no longer than the deadline.
    fn run(&self, wanted: Wanted, into: &Path) -> Result<Head, Failure> {
        let hanging = Arc::strong_count(&self.running) - 1;
        if hanging >= MAX_HANGING {
            return Err(Failure::Hanging(hanging));
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let into = into.to_owned();
        let running = Arc::clone(&self.running);
        let deadline = wanted.deadline;
        thread::Builder::new()
            .name("git-fetch".to_owned())
            .spawn(move || {
                let _ = sender.send(wanted.fetch(&into));
                drop(running);
            })
            .map_err(|error| Failure::Git(Error::from_str(&error.to_string())))?;
        let left = deadline.saturating_duration_since(Instant::now());
        receiver.recv_timeout(left).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => Failure::Timeout,
                RecvTimeoutError::Disconnected => Failure::Git(Error::from_str("it panicked")),
            })
        })
    }

    fn explain(&self, location: &Location, failure: Failure) -> SourceError {
        let repo = location.redacted();
        match failure {
            Failure::Timeout => SourceError::Timeout {
                repo,
                limit: self.limits.time,
            },
            Failure::TooLarge => SourceError::TooLarge {
                repo,
                limit: self.limits.bytes,
            },
            Failure::Hanging(count) => SourceError::Hanging { repo, count },
            Failure::Git(error) => {
                let source = GitError::new(&error, location);
                match error.code() {
                    // The code is lost between libgit2's own transport and here.
                    _ if error.message().contains("not owned by current user") => {
                        let repo = repo.trim_start_matches("file://").to_owned();
                        SourceError::Owner { repo, source }
                    }
                    ErrorCode::Auth => SourceError::Access { repo, source },
                    ErrorCode::Certificate => SourceError::Untrusted { repo, source },
                    ErrorCode::Owner => SourceError::Owner { repo, source },
                    _ => SourceError::Fetch { repo, source },
                }
            }
        }
    }

    fn cache_error(&self, location: &Location, source: io::Error) -> SourceError {
        SourceError::Cache {
            repo: location.redacted(),
            path: self.path.clone(),
            source,
        }
    }
}

enum Failure {
    Git(Error),
    Timeout,
    TooLarge,
    Hanging(usize),
}

/// One fetch.
#[derive(Clone)]
struct Wanted {
    location: Location,
    branch: Option<String>,
    everything: bool,
    deadline: Instant,
    bytes: usize,
}

impl Wanted {
    fn fetch(&self, into: &Path) -> Result<Head, Failure> {
        let too_large = AtomicBool::new(false);
        self.connect(into, &too_large).map_err(|error| {
            if too_large.load(Ordering::Relaxed) {
                Failure::TooLarge
            } else if Instant::now() >= self.deadline {
                Failure::Timeout
            } else {
                Failure::Git(error)
            }
        })
    }

    fn connect(&self, into: &Path, too_large: &AtomicBool) -> Result<Head, Error> {
        let Location::Remote(url) = &self.location else {
            return Err(Error::from_str("not a URL"));
        };
        let git = git2::Repository::open_bare(into)?;
        let mut remote = git.remote_anonymous(url)?;
        let callbacks = Some(self.callbacks(too_large));
        let mut connection = remote.connect_auth(Direction::Fetch, callbacks, Some(proxy()))?;

        let name = match &self.branch {
            Some(branch) => Some(format!("refs/heads/{branch}")),
            None => default_branch(&connection)?,
        };
        let references = connection.list()?;
        if references.len() > MAX_REFERENCES {
            return Err(Error::from_str("the server has too many references"));
        }
        let empty = !references
            .iter()
            .any(|r| r.name().starts_with("refs/heads/"));
        let tip = name
            .and_then(|name| references.iter().find(|r| r.name() == name))
            .map(|reference| (reference.name().to_owned(), reference.oid()));
        if tip.is_none() && !self.everything {
            return Ok(if empty { Head::Empty } else { Head::Missing });
        }

        let has = |git: &git2::Repository, name: &str, oid| {
            git.refname_to_id(name).is_ok_and(|known| known == oid)
        };
        let known = tip
            .as_ref()
            .is_some_and(|(name, oid)| has(&git, name, *oid));
        if self.everything || !known {
            let refspecs = match &tip {
                Some((name, _)) if !self.everything => vec![format!("+{name}:{name}")],
                _ => vec![
                    "+refs/heads/*:refs/heads/*".to_owned(),
                    "+refs/tags/*:refs/tags/*".to_owned(),
                ],
            };
            let mut options = FetchOptions::new();
            options
                .remote_callbacks(self.callbacks(too_large))
                .proxy_options(proxy())
                .prune(FetchPrune::On)
                .download_tags(AutotagOption::None)
                .update_fetchhead(false);
            connection
                .remote()
                .fetch(&refspecs, Some(&mut options), None)?;
        }
        let Some((name, _)) = tip else {
            return Ok(if empty { Head::Empty } else { Head::Missing });
        };
        git.set_head(&name)?;
        let oid = git.refname_to_id(&name)?;
        // A mirror that lacks these is made anew.
        git.find_commit(oid)?.tree()?;
        let branch = name.strip_prefix("refs/heads/").unwrap_or(&name);
        Ok(Head::Commit(revision(branch, oid)?))
    }

    fn callbacks<'a>(&'a self, too_large: &'a AtomicBool) -> RemoteCallbacks<'a> {
        let mut credentials = Credentials::new(self.location.clone());
        let mut callbacks = RemoteCallbacks::new();
        callbacks
            .credentials(move |url, user, allowed| credentials.answer(url, user, allowed))
            .sideband_progress(|_| Instant::now() < self.deadline)
            .update_tips(|_, _, _| Instant::now() < self.deadline)
            .transfer_progress(|progress| {
                if progress.received_bytes() > self.bytes {
                    too_large.store(true, Ordering::Relaxed);
                }
                !too_large.load(Ordering::Relaxed) && Instant::now() < self.deadline
            });
        callbacks
    }
}

/// The branch that the server's HEAD names; `None` where it names none that exists.
fn default_branch(
    connection: &git2::RemoteConnection<'_, '_, '_>,
) -> Result<Option<String>, Error> {
    match connection.default_branch() {
        Ok(name) => Ok(name.as_str().ok().map(str::to_owned)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn proxy() -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

/// Whether the error may come from the mirror rather than from the server.
fn is_about_mirror(error: &Error) -> bool {
    use ErrorClass::{Index, Indexer, Object, Odb, Reference, Tree, Zlib};
    matches!(
        error.class(),
        Index | Indexer | Object | Odb | Reference | Tree | Zlib
    )
}

fn prepare(new: &Path) -> io::Result<()> {
    remove(new)?;
    fs::create_dir_all(new)?;
    git2::Repository::init_bare(new)
        .map(drop)
        .map_err(|error| io::Error::other(error.message().to_owned()))
}

/// How many packs the mirror at `path` holds.
fn packs(path: &Path) -> usize {
    let Ok(entries) = fs::read_dir(path.join("objects/pack")) else {
        return 0;
    };
    let pack = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "pack");
    entries.flatten().filter(pack).count()
}

/// Removes what a killed process left behind: locks, which would be in the way
/// for ever, and packs that were not whole yet.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep(&entry.path())?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".lock") || name.contains("_git2_") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
