//! Walks a tree and collects every violation: the second of the two steps.

use std::str::FromStr;

use super::codes;
use super::node::{Entry, Node, Position, Value};
use crate::model::InvalidName;

/// Something wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: &'static str,
    pub(super) field: String,
    pub(super) position: Position,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// A node with its place and the path of its field.
#[derive(Debug, Clone)]
pub(super) struct At<'n, 'a> {
    pub(super) node: &'n Node<'a>,
    pub(super) position: Position,
    /// The path from the root of the resource's own fields; empty at the root.
    pub(super) field: String,
}

/// A map whose fields are known.
#[derive(Debug, Clone)]
pub(super) struct Fields<'n, 'a> {
    entries: &'n [Entry<'a>],
    pub(super) position: Position,
    pub(super) field: String,
}

/// What reading a resource has found so far.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) violations: Vec<Violation>,
    /// The place of every field that was met, by its path.
    pub(super) places: Vec<(Box<str>, Position)>,
}

/// The path of a field below another.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

impl<'n, 'a> Fields<'n, 'a> {
    /// The field of that name.
    pub(super) fn get(&self, name: &str) -> Option<At<'n, 'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(At {
            node: &entry.value,
            position: entry.place(),
            field: join(&self.field, name),
        })
    }

    /// A map without entries, standing in for one that is missing.
    pub(super) fn missing(position: Position, field: impl Into<String>) -> Self {
        Self {
            entries: &[],
            position,
            field: field.into(),
        }
    }
}

impl At<'_, '_> {
    pub(super) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }
}

impl Reader {
    /// Adds a violation of `field`. Of more than will be listed only the last is kept.
    pub(super) fn violation(
        &mut self,
        code: &'static str,
        field: impl Into<String>,
        position: Position,
        message: impl Into<String>,
    ) -> &mut Violation {
        let field = field.into();
        self.violations.truncate(super::MAX_DIAGNOSTICS);
        self.violations.push(Violation {
            code,
            field: if field.is_empty() {
                ".".to_owned()
            } else {
                field
            },
            position,
            message: message.into(),
            hint: None,
        });
        let last = self.violations.len() - 1;
        &mut self.violations[last]
    }

    /// Adds a violation of the field at `at`.
    pub(super) fn violation_at(
        &mut self,
        code: &'static str,
        at: &At<'_, '_>,
        message: impl Into<String>,
    ) -> &mut Violation {
        self.violation(code, at.field.clone(), at.position, message)
    }

    /// Says that a value should have been `expected`.
    pub(super) fn wrong_type(&mut self, at: &At<'_, '_>, expected: &str) {
        let found = &at.node.value;
        if *found == Value::Unknown {
            return;
        }
        let message = format!("must be {expected}, found {}", found.kind());
        let violation = self.violation_at(codes::WRONG_TYPE, at, message);
        if expected == "a text"
            && matches!(found, Value::Boolean(_) | Value::Integer(_) | Value::Float)
        {
            violation.hint = Some("put the value in quotes".to_owned());
        }
        if expected == "a boolean"
            && let Value::Text(text) = found
        {
            let word = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => "true",
                "no" | "off" | "n" | "false" => "false",
                _ => return,
            };
            violation.hint = Some(format!("write {word}, without quotes"));
        }
    }

    /// Opens a map that may hold the fields `known` and no other.
    pub(super) fn map<'n, 'a>(
        &mut self,
        at: &At<'n, 'a>,
        known: &[&str],
    ) -> Option<Fields<'n, 'a>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_type(at, "a map");
            return None;
        };
        for entry in entries {
            let field = join(&at.field, &super::shorten(&entry.key));
            if known.contains(&&*entry.key) {
                self.places.push((field.into(), entry.place()));
                continue;
            }
            let hint = super::nearest(&entry.key, known)
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| match known {
                    [] => Some("no field is allowed here".to_owned()),
                    _ if entry.key == "<<" => Some("merge keys are not supported".to_owned()),
                    _ => Some(format!("the fields are {}", known.join(", "))),
                });
            let message = format!("the field {} is unknown", super::quote(&entry.key));
            self.violation(codes::UNKNOWN_FIELD, field, entry.position, message)
                .hint = hint;
        }
        Some(Fields {
            entries,
            position: at.position,
            field: at.field.clone(),
        })
    }

    /// The items of a list; none where there is nothing.
    pub(super) fn list<'n, 'a>(&mut self, at: &At<'n, 'a>) -> Option<Vec<At<'n, 'a>>> {
        let items = match &at.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_type(at, "a list");
                return None;
            }
        };
        let items = items.iter().enumerate().map(|(index, node)| At {
            node,
            position: node.position,
            field: format!("{}[{index}]", at.field),
        });
        let items: Vec<_> = items.collect();
        for item in &items {
            self.places
                .push((item.field.as_str().into(), item.position));
        }
        Some(items)
    }

    /// The entries of a map with keys of the user's; none where there is nothing.
    pub(super) fn entries<'n, 'a>(
        &mut self,
        at: &At<'n, 'a>,
    ) -> Option<Vec<(&'n str, At<'n, 'a>)>> {
        let entries = match &at.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_type(at, "a map");
                return None;
            }
        };
        let entries = entries.iter().map(|entry| {
            let at = At {
                node: &entry.value,
                position: entry.place(),
                field: format!("{}[{}]", at.field, super::quote(&entry.key)),
            };
            (&*entry.key, at)
        });
        let entries: Vec<_> = entries.collect();
        for (_, at) in &entries {
            self.places.push((at.field.as_str().into(), at.position));
        }
        Some(entries)
    }

    pub(super) fn text<'n>(&mut self, at: &At<'n, '_>) -> Option<&'n str> {
        if let Value::Text(text) = &at.node.value {
            Some(text)
        } else {
            self.wrong_type(at, "a text");
            None
        }
    }

    pub(super) fn boolean(&mut self, at: &At<'_, '_>) -> Option<bool> {
        if let Value::Boolean(boolean) = at.node.value {
            Some(boolean)
        } else {
            self.wrong_type(at, "a boolean");
            None
        }
    }

    pub(super) fn integer(&mut self, at: &At<'_, '_>) -> Option<i64> {
        if let Value::Integer(integer) = at.node.value {
            Some(integer)
        } else {
            self.wrong_type(at, "an integer");
            None
        }
    }

    /// A name of any kind.
    pub(super) fn name<T: FromStr<Err = InvalidName>>(&mut self, at: &At<'_, '_>) -> Option<T> {
        let text = self.text(at)?;
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.violation_at(codes::INVALID_NAME, at, error.problem());
                None
            }
        }
    }

    /// One of the words of `table`.
    pub(super) fn word<T: Copy>(&mut self, at: &At<'_, '_>, table: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        if let Some((_, value)) = table.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
        let message = format!("must be one of {}", words.join(", "));
        self.violation_at(codes::INVALID_VALUE, at, message).hint =
            super::nearest(text, &words).map(|near| format!("did you mean `{near}`?"));
        None
    }
}
