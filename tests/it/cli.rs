//! The commands that talk to a control plane, and the reference of all of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::path::Path;

/// Compares a generated document with the file, or writes it where
/// `UPDATE_DOCS` is set.
pub(crate) fn assert_document(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{path} is out of date; `UPDATE_DOCS=1 cargo nextest run docs` writes it anew"
    );
}
