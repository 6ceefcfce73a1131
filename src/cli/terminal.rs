//! Standard output and standard error, and whether they take colour.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use super::CliError;
use crate::model::printable;

/// Where a command writes.
pub struct Terminal {
    /// Data.
    pub out: Box<dyn Write + Send>,
    /// Everything else.
    pub err: Box<dyn Write + Send>,
    /// Whether `out` takes colour.
    pub color_out: bool,
    /// Whether `err` takes colour.
    pub color_err: bool,
}

impl Terminal {
    /// The process's own streams. Colour goes to a terminal only, and not
    /// where `NO_COLOR` is set.
    #[must_use]
    pub fn from_process() -> Self {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            color_out: color && io::stdout().is_terminal(),
            color_err: color && io::stderr().is_terminal(),
        }
    }

    /// Prints an error. A closed stream is nobody's concern any more.
    pub fn report(&mut self, error: &CliError) {
        for line in error.to_string().lines() {
            let _ = writeln!(self.err, "{}", printable(line));
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("color_out", &self.color_out)
            .field("color_err", &self.color_err)
            .finish_non_exhaustive()
    }
}
