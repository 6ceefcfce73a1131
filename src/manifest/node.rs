//! The tree of a YAML document, every node with its place.

use std::borrow::Cow;

/// A place in a file: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// A node of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'a> {
    pub(super) position: Position,
    pub(super) value: Value<'a>,
}

/// What a node holds (YAML 1.2, core schema).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    /// An integer; what does not fit is the nearest that does.
    Integer(i64),
    Float,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>),
    /// A node that could not be read; that is reported already.
    Unknown,
}

/// An entry of a map. Keys are unique.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) position: Position,
    pub(super) value: Node<'a>,
}

impl Entry<'_> {
    /// Where the entry is pointed at: at its value where that starts on the
    /// line of the key, else at the key.
    pub(super) fn place(&self) -> Position {
        let value = &self.value;
        if value.position.line == self.position.line && value.value != Value::Null {
            value.position
        } else {
            self.position
        }
    }
}

impl<'a> Value<'a> {
    /// The value of a plain scalar.
    pub(super) fn plain(text: Cow<'a, str>) -> Self {
        match &*text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Boolean(true),
            "false" | "False" | "FALSE" => Self::Boolean(false),
            number => integer(number)
                .map(Self::Integer)
                .or_else(|| is_float(number).then_some(Self::Float))
                .unwrap_or(Self::Text(text)),
        }
    }

    /// The value's type in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Unknown => "something else",
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let (digits, radix) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        _ => (text.strip_prefix(['+', '-']).unwrap_or(text), 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let limit = if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    let magnitude = i64::from_str_radix(digits, radix).ok();
    Some(magnitude.map_or(limit, |n| if limit < 0 { -n } else { n }))
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let plain = |text: &'static str| Value::plain(Cow::Borrowed(text));
        assert_eq!(plain("~"), Value::Null);
        assert_eq!(plain("true"), Value::Boolean(true));
        assert_eq!(plain("-12"), Value::Integer(-12));
        assert_eq!(plain("0x1F"), Value::Integer(31));
        assert_eq!(plain("0o17"), Value::Integer(15));
        assert_eq!(plain("99999999999999999999"), Value::Integer(i64::MAX));
        assert_eq!(plain("-99999999999999999999"), Value::Integer(i64::MIN));
        assert_eq!(plain("1e3"), Value::Float);
        assert_eq!(plain("-.5"), Value::Float);
        for text in ["yes", "on", "0x", "1.2.3", "-", "+", ".", "infinity", "v1"] {
            assert_eq!(plain(text), Value::Text(Cow::Borrowed(text)), "{text}");
        }
    }
}
