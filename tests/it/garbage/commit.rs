//! Commits that no working tree is needed for.

use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, Signature, Time, Tree};

/// What a commit puts at a path.
#[derive(Clone, Copy)]
pub(super) enum Put<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Submodule,
    /// A file or folder that the repository holds already.
    Known(Oid, FileMode),
}

/// Commits on top of `main`.
pub(super) fn on_branch(repo: &Path, puts: &[(&str, Put<'_>)]) -> String {
    let git = Repository::open(repo).unwrap();
    let parent = git.find_branch("main", git2::BranchType::Local).unwrap();
    let parent = parent.get().peel_to_commit().unwrap();
    commit(&git, puts, Some(&parent))
}

/// Puts `main` on a commit without history: a force-push.
pub(super) fn instead_of_branch(repo: &Path, puts: &[(&str, Put<'_>)]) -> String {
    commit(&Repository::open(repo).unwrap(), puts, None)
}

fn commit(git: &Repository, puts: &[(&str, Put<'_>)], parent: Option<&git2::Commit<'_>>) -> String {
    let mut tree = TreeUpdateBuilder::new();
    for (path, put) in puts {
        let (id, mode) = match put {
            Put::File(content) => (git.blob(content).unwrap(), FileMode::Blob),
            Put::Link(target) => (git.blob(target.as_bytes()).unwrap(), FileMode::Link),
            // Any commit will do: that of a submodule is in another repository.
            Put::Submodule => {
                let empty = empty_tree(git);
                let id = git.commit(None, &who(), &who(), "", &empty, &[]);
                (id.unwrap(), FileMode::Commit)
            }
            Put::Known(id, mode) => (*id, *mode),
        };
        tree.upsert(*path, id, mode);
    }
    let before = parent.map_or_else(|| empty_tree(git), |parent| parent.tree().unwrap());
    let tree = tree.create_updated(git, &before).unwrap();
    let tree = git.find_tree(tree).unwrap();
    let parents: Vec<_> = parent.into_iter().collect();
    let id = git.commit(None, &who(), &who(), "garbage", &tree, &parents);
    let id = id.unwrap();
    git.reference("refs/heads/main", id, true, "garbage")
        .unwrap();
    id.to_string()
}

fn empty_tree(git: &Repository) -> Tree<'_> {
    let id = git.treebuilder(None).unwrap().write().unwrap();
    git.find_tree(id).unwrap()
}

fn who() -> Signature<'static> {
    let time = Time::new(1_767_225_600, 0);
    Signature::new("test", "test@windlass.invalid", &time).unwrap()
}
