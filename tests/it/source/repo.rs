//! Repositories whose commits are made entry by entry, without a working tree.

use std::path::{Path, PathBuf};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, RepositoryInitOptions, Signature, Time};
use tempfile::TempDir;
use windlass::model::Revision;
use windlass::source::{
    Content, FileChange, Head, Repository, RepositoryConfig, Snapshot, SourceError,
};

/// What a commit puts at a path.
pub(super) enum Put<'a> {
    File(&'a str),
    Link(&'a str),
    Submodule,
    Nothing,
}

pub(super) struct Repo {
    pub(super) git: git2::Repository,
    home: TempDir,
}

impl Repo {
    /// An empty bare repository whose HEAD is `main`.
    pub(super) fn bare() -> Self {
        Self::init(true)
    }

    /// An empty repository with a working tree whose HEAD is `main`.
    pub(super) fn with_working_tree() -> Self {
        Self::init(false)
    }

    fn init(bare: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(bare).initial_head("main");
        let git = git2::Repository::init_opts(home.path().join("repo"), &options).unwrap();
        Self { git, home }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.path().join("repo")
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Commits on `main`.
    pub(super) fn commit(&self, entries: &[(&str, Put<'_>)]) -> Oid {
        self.commit_on("main", entries)
    }

    pub(super) fn commit_on(&self, branch: &str, entries: &[(&str, Put<'_>)]) -> Oid {
        let parent = self.git.find_branch(branch, git2::BranchType::Local).ok();
        let parent = parent.map(|branch| branch.get().peel_to_commit().unwrap());
        let baseline = match &parent {
            Some(parent) => parent.tree().unwrap(),
            None => self.empty_tree(),
        };
        let mut builder = TreeUpdateBuilder::new();
        for (path, put) in entries {
            match put {
                Put::File(content) => {
                    let id = self.git.blob(content.as_bytes()).unwrap();
                    builder.upsert(*path, id, FileMode::Blob)
                }
                Put::Link(target) => {
                    let id = self.git.blob(target.as_bytes()).unwrap();
                    builder.upsert(*path, id, FileMode::Link)
                }
                Put::Submodule => {
                    // A submodule's commit is in another repository; libgit2 wants to see one.
                    let tree = self.empty_tree();
                    let who = signature();
                    let id = self.git.commit(None, &who, &who, "", &tree, &[]).unwrap();
                    builder.upsert(*path, id, FileMode::Commit)
                }
                Put::Nothing => builder.remove(*path),
            };
        }
        let tree = builder.create_updated(&self.git, &baseline).unwrap();
        self.commit_tree(branch, tree)
    }

    /// Commits a whole tree.
    pub(super) fn commit_tree(&self, branch: &str, tree: Oid) -> Oid {
        let parent = self.git.find_branch(branch, git2::BranchType::Local).ok();
        let parent = parent.map(|branch| branch.get().peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let tree = self.git.find_tree(tree).unwrap();
        let who = signature();
        self.git
            .commit(
                Some(&format!("refs/heads/{branch}")),
                &who,
                &who,
                "a commit",
                &tree,
                &parents,
            )
            .unwrap()
    }

    /// Puts `branch` on a commit without history: a force-push.
    pub(super) fn force(&self, branch: &str, entries: &[(&str, Put<'_>)]) -> Oid {
        let id = self.commit_on("scratch", entries);
        self.git
            .find_reference("refs/heads/scratch")
            .unwrap()
            .delete()
            .unwrap();
        self.git
            .reference(&format!("refs/heads/{branch}"), id, true, "forced")
            .unwrap();
        id
    }

    /// A tree of `entries`, whose names are not checked.
    pub(super) fn tree(&self, entries: &[(&[u8], Oid, i32)]) -> Oid {
        let mut entries = entries.to_vec();
        entries.sort();
        let mut data = Vec::new();
        for (name, id, mode) in entries {
            data.extend_from_slice(format!("{mode:o} ").as_bytes());
            data.extend_from_slice(name);
            data.push(0);
            data.extend_from_slice(id.as_bytes());
        }
        let odb = self.git.odb().unwrap();
        odb.write(git2::ObjectType::Tree, &data).unwrap()
    }

    fn empty_tree(&self) -> git2::Tree<'_> {
        self.git.find_tree(self.tree(&[])).unwrap()
    }

    /// The repository as a source, opened in place.
    pub(super) fn source(&self) -> Repository {
        self.open(&self.path().display().to_string(), None, ".")
            .unwrap()
    }

    /// The repository as a source at `path` of it.
    pub(super) fn source_at(&self, path: &str) -> Repository {
        self.open(&self.path().display().to_string(), None, path)
            .unwrap()
    }

    /// The repository as a source through its URL.
    pub(super) fn mirrored(&self, branch: Option<&str>) -> Repository {
        self.open(&self.url(), branch, ".").unwrap()
    }

    pub(super) fn open(
        &self,
        repo: &str,
        branch: Option<&str>,
        path: &str,
    ) -> Result<Repository, SourceError> {
        Repository::open(&RepositoryConfig {
            repo: repo.to_owned(),
            branch: branch.map(str::to_owned),
            path: path.to_owned(),
            cache_dir: self.home.path().join("cache"),
        })
    }
}

pub(super) fn signature() -> Signature<'static> {
    Signature::new(
        "test",
        "test@windlass.invalid",
        &Time::new(1_767_225_600, 0),
    )
    .unwrap()
}

/// A source and what was read of it last.
pub(super) struct Reader {
    pub(super) source: Repository,
    pub(super) last: Option<Snapshot>,
}

impl Reader {
    pub(super) fn new(source: Repository) -> Self {
        Self { source, last: None }
    }

    /// Fetches and reads; what changed, a line each, and the snapshot.
    pub(super) fn next(&mut self) -> (Vec<String>, Snapshot) {
        let revision = head(&mut self.source);
        let (snapshot, changes) = self.source.read(&revision, self.last.as_ref()).unwrap();
        self.last = Some(snapshot.clone());
        (changes.iter().map(line).collect(), snapshot)
    }

    /// What changed, a line each.
    pub(super) fn changes(&mut self) -> Vec<String> {
        self.next().0
    }
}

/// The revision that the source is at.
pub(super) fn head(source: &mut Repository) -> Revision {
    match source.fetch().unwrap() {
        Head::Commit(revision) => revision,
        head => panic!("{head:?}"),
    }
}

fn line(change: &FileChange) -> String {
    let path = &change.path;
    match &change.content {
        Content::Removed => format!("- {path}"),
        Content::Bytes(content) => format!("+ {path} {}", String::from_utf8_lossy(content)),
        Content::Refused(diagnostic) => {
            assert!(
                diagnostic.is_error() && diagnostic.mesh.is_none(),
                "{diagnostic:?}"
            );
            assert!(diagnostic.hint.is_some(), "{diagnostic:?}");
            if **path != *"." {
                assert_eq!(diagnostic.file, *path, "the diagnostic names the place");
                assert!(
                    diagnostic.line > 0 && diagnostic.column > 0,
                    "{diagnostic:?}"
                );
            }
            format!("! {path} {}", diagnostic.code)
        }
    }
}
