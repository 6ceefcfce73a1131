//! How things are counted in what people read.

/// A number of things in words: `1 step`, `2 steps`.
#[must_use]
pub fn count(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}
