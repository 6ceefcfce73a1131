//! The files of a working tree that a commit of it would hold as resources.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ignore::{DirEntry, WalkBuilder};

use super::CliError;
use crate::manifest::codes;
use crate::model::Diagnostic;
use crate::source;

/// The most bytes that are read of a file: enough to see that it is too large.
const MOST_BYTES: u64 = (1 << 20) + 1;
/// The most bytes of all files together, as of a commit.
const MOST_BYTES_TOGETHER: usize = 128 << 20;

/// A file of the tree.
pub(super) enum Entry {
    /// Its bytes.
    File(Vec<u8>),
    /// Why it is not read.
    Refused(Diagnostic),
}

/// Reads a folder or one file; the paths are relative to the folder.
pub(super) fn read(path: &Path) -> Result<BTreeMap<Arc<str>, Entry>, CliError> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        CliError::user(format!("cannot read `{}`: {error}", path.display()))
            .hint("name a folder of resources, or one file")
    })?;
    let mut files = BTreeMap::new();
    if !metadata.is_dir() {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let entry = if metadata.is_file() {
            read_file(path)
        } else {
            special()
        };
        files.insert(Arc::from(name.to_string_lossy()), entry);
        return Ok(files);
    }
    let walk = WalkBuilder::new(path)
        .standard_filters(false)
        .add_custom_ignore_filename(".windlassignore")
        .follow_links(false)
        .filter_entry(|entry| entry.depth() == 0 || !is_hidden_folder(entry))
        .build();
    let mut bytes = 0;
    for entry in walk {
        let entry = entry.map_err(|error| {
            CliError::user(format!("cannot read `{}`: {error}", path.display()))
        })?;
        let relative = entry.path().strip_prefix(path).unwrap_or(entry.path());
        if !is_yaml(relative) || entry.file_type().is_some_and(|kind| kind.is_dir()) {
            continue;
        }
        let content = of_entry(&entry);
        if let Entry::File(content) = &content {
            bytes += content.len();
        }
        if bytes > MOST_BYTES_TOGETHER {
            let limit = MOST_BYTES_TOGETHER >> 20;
            let message = format!("`{}` holds more than {limit} MiB of YAML", path.display());
            return Err(CliError::user(message).hint(
                "name a smaller folder, or list what holds no resources in `.windlassignore`",
            ));
        }
        files.insert(Arc::from(relative.to_string_lossy()), content);
    }
    Ok(files)
}

fn is_hidden_folder(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_dir())
        && entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_yaml(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(b".yaml") || name.ends_with(b".yml")
}

fn of_entry(entry: &DirEntry) -> Entry {
    match entry.file_type() {
        Some(kind) if kind.is_file() => read_file(entry.path()),
        Some(kind) if kind.is_symlink() => refused(
            source::codes::SYMLINK,
            "file is a symlink; symlinks are not followed",
        ),
        _ => special(),
    }
}

fn special() -> Entry {
    let message = "the file is a device, pipe or socket, and only regular files are read";
    refused(codes::UNREADABLE, message)
}

/// A file of the tree that is not read.
fn refused(code: &str, message: impl Into<String>) -> Entry {
    let mut diagnostic = Diagnostic::error(code, message);
    diagnostic.line = 1;
    diagnostic.column = 1;
    Entry::Refused(diagnostic)
}

fn read_file(path: &Path) -> Entry {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Entry::File(bytes),
        Err(error) => refused(
            codes::UNREADABLE,
            format!("the file cannot be read: {error}"),
        ),
    }
}
