//! What goes wrong with a repository. A repository's URL is printed without
//! its user and password, in messages of libgit2 too.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::location::Location;

/// An error of libgit2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    message: String,
    code: git2::ErrorCode,
}

impl GitError {
    pub(super) fn new(error: &git2::Error, location: &Location) -> Self {
        Self {
            message: location.scrub(error.message()),
            code: error.code(),
        }
    }
}

/// A repository that cannot be reached or read. [`SourceError::hint`] says how
/// to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The scheme of the URL is not supported.
    #[error("the repository `{repo}` has an unsupported URL: {problem}")]
    Url {
        /// The repository.
        repo: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The branch's name is not one of Git's.
    #[error("`{branch}` is not the name of a branch of the repository `{repo}`")]
    Branch {
        /// The repository.
        repo: String,
        /// The name.
        branch: String,
    },
    /// The path leads out of the repository.
    #[error("`{path}` is not a folder inside the repository `{repo}`")]
    Path {
        /// The repository.
        repo: String,
        /// The path.
        path: String,
    },
    /// There is no repository.
    #[error("there is no Git repository at `{repo}`")]
    NotFound {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The repository belongs to another user of the machine.
    #[error("the repository `{repo}` belongs to another user, so Git does not trust it")]
    Owner {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The repository cannot be opened.
    #[error("failed to open the repository `{repo}`")]
    Open {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The folder of the clone cannot be written.
    #[error("failed to write the clone of `{repo}` at `{path}`")]
    Cache {
        /// The repository.
        repo: String,
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The repository cannot be reached.
    #[error("failed to fetch from `{repo}`")]
    Fetch {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The server does not let Windlass in.
    #[error("access to `{repo}` was denied")]
    Access {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The server's certificate or host key is not trusted.
    #[error("the server of `{repo}` is not trusted")]
    Untrusted {
        /// The repository.
        repo: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// The server took too long.
    #[error("fetching from `{repo}` took longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// The repository.
        repo: String,
        /// The limit.
        limit: Duration,
    },
    /// Fetches that ran out of time still hang.
    #[error("{count} fetches from `{repo}` hang")]
    Hanging {
        /// The repository.
        repo: String,
        /// How many.
        count: usize,
    },
    /// The server sent too much.
    #[error("`{repo}` sent more than {limit} bytes in one fetch")]
    TooLarge {
        /// The repository.
        repo: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nothing was fetched yet.
    #[error("the repository `{repo}` was not fetched yet")]
    NotFetched {
        /// The repository.
        repo: String,
    },
    /// There is no such revision.
    #[error("`{spec}` names no commit of the repository `{repo}`")]
    Revision {
        /// The repository.
        repo: String,
        /// What was looked for.
        spec: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// A part of the repository is missing or damaged.
    #[error("failed to read {what} of the repository `{repo}`")]
    Damaged {
        /// The repository.
        repo: String,
        /// What cannot be read.
        what: String,
        /// What libgit2 says.
        source: GitError,
    },
    /// A commit or tree object is larger than any honest one.
    #[error("{what} of the repository `{repo}` is larger than {limit} bytes")]
    ObjectTooLarge {
        /// The repository.
        repo: String,
        /// The object.
        what: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl SourceError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Url { .. } => {
                "use a path, https://…, ssh://…, user@host:path or file://…".to_owned()
            }
            Self::Branch { .. } => "set `source.branch` to a branch, such as `main`".to_owned(),
            Self::Path { .. } => {
                "set `source.path` to a folder relative to the repository's root, such as `meshes`"
                    .to_owned()
            }
            Self::NotFound { repo, .. } => {
                format!("check `source.repo`, or make one with `git init {repo}`")
            }
            Self::Owner { repo, .. } => format!(
                "change its owner, or run `git config --global --add safe.directory {repo}` as the user that runs windlass"
            ),
            Self::Open { .. } | Self::ObjectTooLarge { .. } => {
                "check the repository with `git fsck`".to_owned()
            }
            Self::Cache { .. } => "check the space and the permissions of the folder".to_owned(),
            Self::Fetch { .. } => {
                "check the URL and the network; `git ls-remote` shows what Git gets".to_owned()
            }
            Self::Access { .. } => {
                "give access through an SSH agent, a Git credential helper or the URL".to_owned()
            }
            Self::Untrusted { .. } => {
                "add its CA to the system's certificates, or its host key to `known_hosts` after checking it"
                    .to_owned()
            }
            Self::Timeout { .. } => {
                "check the network and the server; it is tried again".to_owned()
            }
            Self::Hanging { .. } => "check the network and restart windlass".to_owned(),
            Self::TooLarge { .. } => {
                "keep the policy in a repository of its own, without large files".to_owned()
            }
            Self::NotFetched { .. } => "fetch it first".to_owned(),
            Self::Revision { .. } => {
                "name a branch, a tag or a commit; `git log --oneline` lists commits".to_owned()
            }
            Self::Damaged { .. } => {
                "check the repository with `git fsck`; a shallow clone lacks history (`git fetch --unshallow`)"
                    .to_owned()
            }
        }
    }
}
