//! An error with all that caused it, on one line.

use std::error::Error;
use std::fmt;

/// Prints an error and its sources, `: ` between them.
#[derive(Debug)]
pub struct Chain<'a>(&'a dyn Error);

/// `error` with all that caused it, for logs and conditions.
#[must_use]
pub fn chain(error: &dyn Error) -> Chain<'_> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
