//! Errors of the command line: a kind, a chain of causes and hints.

use std::error::Error;
use std::fmt;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The call or the input is wrong.
    User,
    /// The configuration is wrong.
    Config,
    /// Something that the program talks to failed.
    Unavailable,
    /// The program is wrong.
    Internal,
}

/// An error that ends a command.
#[derive(Debug)]
pub struct CliError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What went wrong, in a line; its own sources are printed below it.
    pub error: Box<dyn Error + Send + Sync>,
    /// Single violations, printed as `* field: message`.
    pub causes: Vec<String>,
    /// How to mend it, each printed as `hint: …`.
    pub hints: Vec<String>,
}

impl CliError {
    /// An error without hints.
    pub fn new(kind: ErrorKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            error: error.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// An error of the call or the input.
    pub fn user(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::User, error)
    }

    /// The same with one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with one more violation.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error: {}", self.error)?;
        let mut source = self.error.source();
        while let Some(error) = source {
            write!(f, "\n  caused by: {error}")?;
            source = error.source();
        }
        for cause in &self.causes {
            write!(f, "\n* {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}
