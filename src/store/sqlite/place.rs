//! What SQLite's codes mean.

use std::path::Path;

use crate::store::StoreError;
use crate::store::place::Place;

/// The database at that path.
pub(super) fn at(path: &Path) -> Place {
    Place::new(path.display().to_string(), failed)
}

/// What SQLite could not do.
fn failed(at: String, action: &'static str, error: sqlx::Error) -> StoreError {
    let code = primary_code(&error);
    let source = error.into();
    // https://sqlite.org/rescode.html
    match code {
        // BUSY, LOCKED
        Some(5 | 6) => StoreError::Locked { action, at, source },
        // READONLY
        Some(8) => StoreError::ReadOnly { action, at, source },
        // CORRUPT, NOTADB
        Some(11 | 26) => StoreError::Damaged { at, source },
        // FULL
        Some(13) => StoreError::Full { action, at, source },
        // CANTOPEN
        Some(14) => StoreError::Open { at, source },
        _ => StoreError::Database { action, at, source },
    }
}

/// SQLite's primary result code: the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}
