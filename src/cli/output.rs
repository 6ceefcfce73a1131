//! What commands print: tables, YAML, JSON.

use std::fmt::Write as _;
use std::io;

use clap::ValueEnum;
use serde::Serialize;

use super::{CliError, ErrorKind, Outcome, Terminal};
pub(crate) use crate::model::printable;
use crate::model::{Timestamp, is_unprintable};

/// Text for people, or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TextOrJson {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// A table, YAML or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// All that is known, as YAML.
    Yaml,
    /// The same as JSON.
    Json,
}

impl Format {
    /// `value` for programs, or what `table` makes of it for people.
    pub(crate) fn print(
        self,
        value: &impl Serialize,
        table: impl FnOnce() -> String,
    ) -> Result<String, CliError> {
        match self {
            Self::Table => Ok(table()),
            Self::Yaml => to_yaml(value),
            Self::Json => to_json(value),
        }
    }
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
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    Ok(escape_json(&text) + "\n")
}

/// The same document with escapes for what a terminal would obey. Outside of
/// strings there is nothing to escape but the line ends, which stay.
fn escape_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if is_unprintable(character) && character != '\n' {
            // None of them is beyond the Basic Multilingual Plane.
            let _ = write!(safe, "\\u{:04x}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe
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

/// The time between two points in its largest unit: `119s`, `2m`, `47h`, `2d`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = to.since(from).as_secs();
    if seconds < 2 * MINUTE {
        format!("{seconds}s")
    } else if seconds < 2 * HOUR {
        format!("{}m", seconds / MINUTE)
    } else if seconds < 2 * DAY {
        format!("{}h", seconds / HOUR)
    } else {
        format!("{}d", seconds / DAY)
    }
}

/// A number of proxies in words.
pub(crate) fn proxies(number: usize) -> String {
    match number {
        1 => "1 proxy".to_owned(),
        many => format!("{many} proxies"),
    }
}
