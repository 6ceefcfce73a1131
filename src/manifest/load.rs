//! How much the files of a revision may hold together. A few small files can
//! stand at a great many paths, so the limit of a source's bytes is not enough.

use std::ops::{Add, Sub};

use super::ParsedFile;
use super::document::ParsedResource;

/// The most errors of form that are kept.
const MAX_ERRORS: usize = 10_000;
/// The most that resources may take in memory, about, in bytes.
const MAX_MEMORY: usize = 128 << 20;
/// What a resource takes, about, in bytes, without its fields.
const RESOURCE: usize = 512;
/// What a field takes, about, in bytes, without its path: its place and its value.
const FIELD: usize = 192;

/// What files hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    errors: usize,
    memory: usize,
}

impl Load {
    /// What one file holds.
    pub(super) fn of(file: &ParsedFile) -> Self {
        Self {
            errors: file.diagnostics.len(),
            memory: file.resources.iter().map(memory).sum(),
        }
    }

    /// What there is too much of.
    pub(super) fn exceeded(self) -> Option<String> {
        if self.errors > MAX_ERRORS {
            Some(format!("more than {MAX_ERRORS} errors"))
        } else if self.memory > MAX_MEMORY {
            let mebibytes = MAX_MEMORY >> 20;
            Some(format!("resources of more than {mebibytes} MiB in memory"))
        } else {
            None
        }
    }
}

fn memory(resource: &ParsedResource) -> usize {
    let fields = resource.places.iter().map(|(path, _)| FIELD + path.len());
    RESOURCE + fields.sum::<usize>()
}

impl Add for Load {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            errors: self.errors + more.errors,
            memory: self.memory + more.memory,
        }
    }
}

impl Sub for Load {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            errors: self.errors - less.errors,
            memory: self.memory - less.memory,
        }
    }
}
