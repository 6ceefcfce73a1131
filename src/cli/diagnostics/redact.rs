//! The lines of a file that may be shown, without what may be a private key.

use super::{LONGEST_LINE, Shown, printable};
use crate::model::Diagnostic;

const MASK: &str = "[redacted]";

/// A file in lines. Those inside a private key are gone.
pub(super) struct Lines(Vec<Option<String>>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let unified = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut inside = false;
        let lines = unified.split('\n').map(|line| {
            let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
            let secret = inside || begins || line.contains("AGE-SECRET-KEY-");
            inside = (inside || begins) && !ends_key(line, begins);
            (!secret).then(|| line.to_owned())
        });
        Self(lines.collect())
    }

    /// The line of a diagnostic with the mark under its column; nothing where
    /// there is none.
    pub(super) fn show(&self, diagnostic: &Diagnostic) -> Option<Shown> {
        let index = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(diagnostic.column).ok()?.checked_sub(1)?;
        let Some(line) = self.0.get(index)? else {
            return Some(masked(""));
        };
        if let Some(end) = key_value(line) {
            return Some(masked(&line[..end]));
        }
        if diagnostic.field == "key" && column > 0 && !line.trim_start().starts_with("key") {
            return Some(masked(""));
        }
        let characters: Vec<char> = line.chars().collect();
        let column = column.min(characters.len());
        let first = column.saturating_sub(LONGEST_LINE / 2);
        let last = characters.len().min(first + LONGEST_LINE);
        let text = |range: &[char]| -> String {
            printable(&range.iter().collect::<String>().replace('\t', " ")).into_owned()
        };
        let before = text(&characters[first..column]);
        let length = token(&characters[column..last]);
        let marked = text(&characters[column..column + length]);
        let after = text(&characters[column + length..last]);
        let start = before.len();
        let end = start + marked.len();
        Some(Shown {
            line: mask_material(format!("{before}{marked}{after}")),
            mark: start..end,
        })
    }
}

/// Whether a private key that is open ends on this line.
fn ends_key(line: &str, begins: bool) -> bool {
    // In one line the END has to come behind the BEGIN.
    let rest = match line.rfind("-----BEGIN") {
        Some(at) if begins => &line[at..],
        _ => line,
    };
    rest.contains("-----END")
}

fn masked(start: &str) -> Shown {
    let start = printable(&start.replace('\t', " ")).into_owned();
    Shown {
        mark: start.len()..start.len() + MASK.len(),
        line: format!("{start}{MASK}"),
    }
}

/// Where the value of a field `key` starts, if the line has one that is not
/// the beginning of a block.
fn key_value(line: &str) -> Option<usize> {
    let at = ["key:", "\"key\":", "'key':"]
        .iter()
        .filter_map(|key| line.find(key).map(|at| (at, at + key.len())))
        .find(|(at, _)| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(|c| matches!(c, ' ' | '{' | ',' | '-' | '\t'))
        });
    let (_, end) = at?;
    let value = line[end..].trim();
    let is_block = value.starts_with(['|', '>']) && value.len() <= 3;
    (!is_block && !value.is_empty()).then(|| end + usize::from(line[end..].starts_with(' ')))
}

/// How many characters are marked: a quoted text, a list or map in one line, a word, or one character.
fn token(characters: &[char]) -> usize {
    let Some(first) = characters.first() else {
        return 0;
    };
    if matches!(first, '"' | '\'') {
        let close = characters.iter().skip(1).position(|c| c == first);
        return close.map_or(1, |at| at + 2);
    }
    if matches!(first, '[' | '{') {
        let mut depth = 0_usize;
        let close = characters.iter().position(|c| {
            depth += usize::from(matches!(c, '[' | '{'));
            depth -= usize::from(matches!(c, ']' | '}')).min(depth);
            depth == 0
        });
        return close.map_or(1, |at| at + 1);
    }
    let end = characters.iter().enumerate().position(|(index, c)| {
        let next = characters.get(index + 1);
        c.is_whitespace()
            || matches!(c, ',' | ']' | '}')
            || (*c == ':' && next.is_none_or(|c| c.is_whitespace()))
    });
    end.unwrap_or(characters.len()).max(1)
}

/// Masks long runs of base64, whatever they stand in.
fn mask_material(line: String) -> String {
    const LONGEST_RUN: usize = 40;
    let is_material = |run: &str| {
        run.len() >= LONGEST_RUN
            && run.bytes().any(|b| b.is_ascii_uppercase())
            && run.bytes().any(|b| b.is_ascii_lowercase())
            && run.bytes().any(|b| b.is_ascii_digit())
    };
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let mut runs = line.split(|c| !is_base64(c));
    if runs.any(is_material) {
        // Of equal length, so that the mark stays where it is.
        line.split_inclusive(|c| !is_base64(c))
            .map(|part| {
                let run = part.trim_end_matches(|c| !is_base64(c));
                if is_material(run) {
                    format!("{}{}", "*".repeat(run.len()), &part[run.len()..])
                } else {
                    part.to_owned()
                }
            })
            .collect()
    } else {
        line
    }
}
