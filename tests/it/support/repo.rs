//! A Git repository with a working tree that tests commit to.

use std::fs;
use std::path::{Path, PathBuf};

use git2::{IndexAddOption, Repository, RepositoryInitOptions, Signature, Time};

/// The folder of the sample repository.
pub(crate) const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples-repo");

/// A repository on branch `main`.
pub(crate) struct Repo {
    repository: Repository,
    path: PathBuf,
}

impl Repo {
    /// Makes an empty one.
    pub(crate) fn init(path: &Path) -> Self {
        let repository =
            Repository::init_opts(path, RepositoryInitOptions::new().initial_head("main"))
                .expect("a new repository");
        Self {
            repository,
            path: path.to_owned(),
        }
    }

    /// Makes one of the sample repository, committed.
    pub(crate) fn from_examples(path: &Path) -> Self {
        let repo = Self::init(path);
        copy(Path::new(EXAMPLES), path);
        repo.commit(&[], "the sample repository");
        repo
    }

    /// Opens one that is there.
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            repository: Repository::open(path).expect("a repository"),
            path: path.to_owned(),
        }
    }

    /// The path of its working tree.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files (`None` deletes one) and commits the whole working tree.
    /// Returns the commit's id.
    pub(crate) fn commit(&self, files: &[(&str, Option<&str>)], message: &str) -> String {
        for (name, content) in files {
            let file = self.path.join(name);
            match content {
                Some(content) => {
                    let folder = file.parent().expect("a file has a folder");
                    fs::create_dir_all(folder).expect("a folder for the file");
                    fs::write(&file, content).expect("a written file");
                }
                None => fs::remove_file(&file).expect("a file to delete"),
            }
        }
        self.commit_working_tree(message)
            .expect("a commit")
            .to_string()
    }

    fn commit_working_tree(&self, message: &str) -> Result<git2::Oid, git2::Error> {
        let mut index = self.repository.index()?;
        index.add_all(["*"], IndexAddOption::FORCE, None)?;
        index.update_all(["*"], None)?;
        index.write()?;
        let tree = self.repository.find_tree(index.write_tree()?)?;
        let parent = self
            .repository
            .head()
            .and_then(|head| head.peel_to_commit())
            .ok();
        let author = Signature::new(
            "test",
            "test@windlass.invalid",
            &Time::new(1_767_225_600, 0),
        )?;
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        self.repository
            .commit(Some("HEAD"), &author, &author, message, &tree, &parents)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder to copy to");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry to copy");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copied file");
        }
    }
}
