//! Diagnostics as text for people: the place, the line and a hint, as rustc prints them.
//!
//! What is printed comes from files of others: control characters are replaced,
//! and lines that may hold a private key are not shown.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use self::redact::Lines;
use crate::model::{Diagnostic, Severity, count, printable};

mod redact;

/// The longest line that is shown, in characters.
const LONGEST_LINE: usize = 200;

/// Renders diagnostics. `read` gives the text of a file where it is at hand;
/// `prefix` stands before every path.
pub(crate) fn render(
    diagnostics: &[Diagnostic],
    prefix: &str,
    color: bool,
    read: &dyn Fn(&str) -> Option<String>,
) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut files: BTreeMap<Arc<str>, Option<Lines>> = BTreeMap::new();
    let mut text = String::new();
    for diagnostic in diagnostics {
        let lines = files
            .entry(diagnostic.file.clone())
            .or_insert_with(|| read(&diagnostic.file).map(|text| Lines::new(&text)));
        let shown = lines.as_ref().and_then(|lines| lines.show(diagnostic));
        text.push_str(&one(diagnostic, prefix, shown, &renderer));
        text.push_str("\n\n");
    }
    text
}

/// `3 errors and 1 warning`, or nothing where there is none.
pub(crate) fn summary(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let counts = [(errors, "error"), (diagnostics.len() - errors, "warning")];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| count(number, word))
        .collect();
    (!counts.is_empty()).then(|| counts.join(" and "))
}

/// A line that may be shown, and what of it is marked.
struct Shown {
    line: String,
    /// In bytes of `line`.
    mark: Range<usize>,
}

impl Shown {
    /// Whether the mark stands in the column that the diagnostic names.
    fn is_in_column(&self, column: u32) -> bool {
        let before = self.line[..self.mark.start].chars().count();
        u32::try_from(before + 1) == Ok(column)
    }
}

fn one(diagnostic: &Diagnostic, prefix: &str, shown: Option<Shown>, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = if diagnostic.field == "." {
        printable(&diagnostic.message).into_owned()
    } else {
        printable(&format!("{}: {}", diagnostic.field, diagnostic.message)).into_owned()
    };
    let group = level.primary_title(title).id(diagnostic.code.clone());
    let line = usize::try_from(diagnostic.line).unwrap_or(usize::MAX);
    let path = printable(&format!("{prefix}{}", diagnostic.file)).into_owned();
    let snippet = shown.map(|shown| {
        let in_column = shown.is_in_column(diagnostic.column);
        let snippet = Snippet::source(shown.line)
            .line_start(line)
            .annotation(AnnotationKind::Primary.span(shown.mark));
        (snippet, in_column)
    });
    let origin = || {
        let origin = Origin::path(path.clone());
        if line == 0 {
            return origin;
        }
        origin
            .line(line)
            .char_column(usize::try_from(diagnostic.column).unwrap_or(usize::MAX))
    };
    let mut report = match snippet {
        Some((snippet, true)) => group.element(snippet.path(path)),
        Some((snippet, false)) => group.element(origin()).element(snippet),
        None if diagnostic.file.is_empty() => group.elements(Vec::<Origin<'_>>::new()),
        None => group.element(origin()),
    };
    if let Some(hint) = &diagnostic.hint {
        report = report.element(Level::HELP.message(printable(hint)));
    }
    renderer.render(&[report])
}
