//! Where a database is, as every error names it, and the JSON in its columns.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// Reads what a database could not do: where, what, and its own words.
type Reading = fn(String, &'static str, sqlx::Error) -> StoreError;

/// A database.
#[derive(Debug, Clone)]
pub(super) struct Place {
    at: String,
    reading: Reading,
}

impl Place {
    /// The database at `at`, whose errors are read like that.
    pub(super) fn new(at: String, reading: Reading) -> Self {
        Self { at, reading }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.at
    }

    /// What the database could not do.
    pub(super) fn failed(&self, action: &'static str, error: sqlx::Error) -> StoreError {
        (self.reading)(self.at.clone(), action, error)
    }

    /// What was read and is not what this version writes.
    pub(super) fn corrupt(
        &self,
        what: String,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Corrupt {
            what,
            at: self.at.clone(),
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
            at: self.at.clone(),
            source: error.into(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}
