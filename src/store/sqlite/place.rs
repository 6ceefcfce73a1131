//! Where the database is, as every error names it, and what SQLite's codes mean.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::StoreError;

/// The path of the database.
#[derive(Debug, Clone)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.display().to_string())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What SQLite could not do.
    pub(super) fn failed(&self, action: &'static str, error: sqlx::Error) -> StoreError {
        let at = self.0.clone();
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

    /// What was read and is not what this version writes.
    pub(super) fn corrupt(
        &self,
        what: String,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt {
            what,
            at: self.0.clone(),
            source: source.into(),
        }
    }

    /// Reads a JSON column.
    pub(super) fn decode<T: DeserializeOwned>(
        &self,
        what: impl FnOnce() -> String,
        text: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(what(), error))
    }

    /// Writes a JSON column.
    pub(super) fn encode<T: Serialize>(&self, value: &T) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| StoreError::Database {
            action: "write a value as JSON",
            at: self.0.clone(),
            source: error.into(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SQLite's primary result code: the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}
