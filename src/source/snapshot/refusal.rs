//! The diagnostics of what is not read, each with the way out.

use super::super::codes;
use super::super::ignored::{BadLine, FILE_NAME, MAX_SIZE};
use super::MAX_FILE;
use super::walk::{MAX_DEPTH, kind};
use crate::manifest;
use crate::model::{Diagnostic, Location};

fn at(path: &str, line: usize, code: &str, message: String) -> Diagnostic {
    Diagnostic::error(code, message).at(&Location {
        file: path.into(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: 1,
    })
}

fn ignoring(path: &str) -> String {
    format!("list `/{path}` in `{FILE_NAME}`")
}

pub(super) fn file_too_large(path: &str, size: usize) -> Diagnostic {
    let message = format!("file has {size} bytes, more than the {MAX_FILE} that are read");
    at(path, 1, manifest::codes::FILE_TOO_LARGE, message).hint(format!(
        "split it, or {} if it holds no resources",
        ignoring(path)
    ))
}

pub(super) fn symlink(path: &str) -> Diagnostic {
    let message = "file is a symlink; symlinks are not followed".to_owned();
    at(path, 1, codes::SYMLINK, message)
        .hint(format!("commit the file itself, or {}", ignoring(path)))
}

pub(super) fn submodule(path: &str) -> Diagnostic {
    let message = "folder is a submodule, whose content is not part of the commit".to_owned();
    at(path, 1, codes::SUBMODULE, message).hint(format!(
        "commit the files themselves, or {}",
        ignoring(path)
    ))
}

pub(super) fn bad_name(path: &str) -> Diagnostic {
    let message = "name is not UTF-8, or holds control characters".to_owned();
    at(path, 1, codes::BAD_NAME, message).hint(format!(
        "rename it, or list a pattern for it in `{FILE_NAME}`"
    ))
}

pub(super) fn too_deep(path: &str) -> Diagnostic {
    let message = format!("folders are nested more than {MAX_DEPTH} levels deep");
    at(path, 1, codes::TOO_DEEP, message).hint(format!("move it up, or {}", ignoring(path)))
}

pub(super) fn too_much(what: &str) -> Diagnostic {
    let message = format!("the source holds more than {what}");
    Diagnostic::error(codes::TOO_MANY_FILES, message).hint(format!(
        "set `source.path` to the folder with the resources, or list the others in `{FILE_NAME}`"
    ))
}

pub(super) fn path_missing(path: &str, walked: &str) -> Diagnostic {
    let message = format!("the commit holds no `{walked}`, so there is no source at `{path}`");
    Diagnostic::error(codes::PATH_MISSING, message)
        .hint("bring the folder back, or set `source.path`; nothing is deleted meanwhile")
}

pub(super) fn path_not_folder(path: &str, walked: &str, kind: i32) -> Diagnostic {
    let (code, what) = match kind {
        kind::SYMLINK => (codes::SYMLINK, "a symlink, which is not followed"),
        kind::SUBMODULE => (codes::SUBMODULE, "a submodule"),
        _ => (codes::PATH_NOT_FOLDER, "no folder"),
    };
    let message = format!("`{walked}` is {what}, so there is no source at `{path}`");
    Diagnostic::error(code, message).hint("set `source.path` to a folder of the commit")
}

pub(super) fn bad_ignore_line(path: &str, line: &BadLine) -> Diagnostic {
    let message = format!("not a pattern: {}", line.problem);
    at(path, line.number, codes::BAD_IGNORE_FILE, message).hint("write it as in a `.gitignore`")
}

pub(super) fn bad_ignore_file(path: &str, problem: &str) -> Diagnostic {
    at(path, 1, codes::BAD_IGNORE_FILE, format!("file {problem}"))
        .hint(format!("make it a text file of at most {MAX_SIZE} bytes"))
}
