//! `.windlassignore`: which files and folders are not of the source.

use std::sync::Arc;

use git2::Oid;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// The name of the files, whose syntax is that of `.gitignore`. Each counts
/// from the folder it is in.
pub(super) const FILE_NAME: &str = ".windlassignore";
/// The largest such file, in bytes.
pub(super) const MAX_SIZE: usize = 64 * 1024;

/// The rules for the files below a folder: its own and those of the folders above.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Option<Arc<Layer>>);

#[derive(Debug)]
struct Layer {
    matcher: Gitignore,
    /// The file that the layer was read from.
    id: Oid,
    /// The length of the folder's path with its `/`: matching counts from there.
    prefix: usize,
    above: Rules,
}

impl Rules {
    /// These rules and those of the file `id` with `content` in the folder
    /// with the path `prefix` (empty, or ending in `/`). Lines that make no
    /// sense are left out and told.
    pub(super) fn with(self, prefix: &str, id: Oid, content: &str) -> (Self, Vec<BadLine>) {
        let mut builder = GitignoreBuilder::new("");
        let mut bad = Vec::new();
        for (index, line) in content.lines().enumerate() {
            // A byte order mark is no part of the first pattern.
            let line = line.trim_start_matches('\u{feff}');
            if let Err(error) = builder.add_line(None, line) {
                bad.push(BadLine {
                    number: index + 1,
                    problem: error.to_string(),
                });
            }
        }
        let matcher = builder.build().unwrap_or_else(|error| {
            bad.push(BadLine {
                number: 1,
                problem: error.to_string(),
            });
            Gitignore::empty()
        });
        let layer = Layer {
            matcher,
            id,
            prefix: prefix.len(),
            above: self,
        };
        (Self(Some(Arc::new(layer))), bad)
    }

    /// Whether the file or folder at `path` is left out. Folders above it were
    /// asked about before.
    pub(super) fn ignore(&self, path: &str, is_folder: bool) -> bool {
        let mut rules = self;
        while let Some(layer) = &rules.0 {
            let relative = path.get(layer.prefix..).unwrap_or(path);
            match layer.matcher.matched(relative, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => rules = &layer.above,
            }
        }
        false
    }
}

/// Rules are equal when they come from the same files.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                Arc::ptr_eq(a, b) || (a.id == b.id && a.prefix == b.prefix && a.above == b.above)
            }
            _ => false,
        }
    }
}

/// A line of a `.windlassignore` that is no pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) number: usize,
    pub(super) problem: String,
}
