//! What commands print: tables, YAML, JSON.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use clap::ValueEnum;
use serde::Serialize;

use super::{CliError, ErrorKind, Outcome, Terminal};

/// Text for people, or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes data and ends the command. A closed pipe is the reader's way to say `enough`.
pub(crate) fn print(terminal: &mut Terminal, text: &str) -> Result<Outcome, CliError> {
    let written = terminal
        .out
        .write_all(text.as_bytes())
        .and_then(|()| terminal.out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::new(ErrorKind::Unavailable, error))
        }
        _ => Ok(Outcome::Done),
    }
}

/// JSON with a newline at its end.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    text.push('\n');
    Ok(text)
}

/// YAML with a newline at its end.
pub(crate) fn to_yaml(value: &impl Serialize) -> Result<String, CliError> {
    serde_yaml::to_string(value).map_err(|error| CliError::new(ErrorKind::Internal, error))
}

/// Columns of equal width, three spaces apart.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
    text
}

/// A text of someone else on one line and without what a terminal would obey.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        let escaped = text.chars().map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        });
        Cow::Owned(escaped.collect())
    } else {
        Cow::Borrowed(text)
    }
}
