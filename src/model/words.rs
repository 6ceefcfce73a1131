//! What people read: counts in words, and the words of others made harmless.

use std::borrow::Cow;

/// A number of things in words: `1 step`, `2 steps`.
#[must_use]
pub fn count(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}

/// A text of someone else on one line, with escapes for what a terminal would
/// obey and for marks that are not seen or turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unprintable(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Whether [`printable`] escapes the character.
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    let unseen = matches!(
        character,
        '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
    );
    unseen || character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        assert_eq!(printable("Grüße, 世界 \\ `x`"), "Grüße, 世界 \\ `x`");
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}\n\t\u{202e}\u{7f}\u{200b}"),
            r"a\u{1b}[2J\u{9b}\n\t\u{202e}\u{7f}\u{200b}"
        );
    }
}
