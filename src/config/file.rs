//! Reads the configuration file into settings, each with its line.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use serde::Deserializer;
use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_yaml::Spanned;

use super::keys;
use super::{ConfigError, Place, Setting};

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads and parses `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        )));
    }
    parse(&text, path)
}

/// Parses the text of the file at `path`. The first thing that is wrong ends it.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let place = |line| Place::File {
        path: path.to_owned(),
        line,
    };
    if text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    }) {
        return Ok(Vec::new());
    }
    let document: Document = serde_yaml::from_str_with_options(
        text,
        serde_yaml::options! {
            with_snippet: false,
        },
    )
    .map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = error.without_snippet().to_string();
        ConfigError::Invalid {
            subject: "the file".to_owned(),
            problem: in_our_words(&message),
            place: place(line),
        }
    })?;
    document
        .0
        .into_iter()
        .map(|entry| {
            let place = place(entry.line);
            match entry.content {
                Content::Value(key, value) => Ok(value.map(|value| Setting { key, value, place })),
                Content::Problem(subject, problem) => Err(ConfigError::Invalid {
                    subject,
                    problem,
                    place,
                }),
            }
        })
        .filter_map(Result::transpose)
        .collect()
}

/// The YAML library's message without its own idea of the place, and without
/// advice to whoever calls the library.
fn in_our_words(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default();
    let message = message.split(", set ").next().unwrap_or_default();
    message
        .replace("expected mapping start", "expected a mapping of settings")
        .replace("expected string scalar", "expected a single value")
}

/// What the file says at one place.
struct Entry {
    line: u64,
    content: Content,
}

enum Content {
    Value(&'static keys::Key, Option<String>),
    Problem(String, String),
}

struct Document(Vec<Entry>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = Vec::new();
        let section = Section {
            path: String::new(),
            entries: &mut entries,
        };
        section.deserialize(deserializer)?;
        Ok(Self(entries))
    }
}

/// Reads one mapping of the file, guided by the table of keys.
struct Section<'a> {
    path: String,
    entries: &'a mut Vec<Entry>,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str("a mapping of settings")
        } else {
            write!(f, "a mapping of settings below `{}`", self.path)
        }
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let path = if self.path.is_empty() {
                name.value
            } else {
                format!("{}.{}", self.path, name.value)
            };
            let line = name.referenced.line();
            let content = if let Some(key) = keys::find(&path) {
                let value = map.next_value::<Option<String>>()?;
                Content::Value(key, value)
            } else if keys::is_section(&path) {
                map.next_value_seed(Section {
                    path,
                    entries: self.entries,
                })?;
                continue;
            } else {
                map.next_value::<IgnoredAny>()?;
                let problem = unknown(&path);
                Content::Problem(path, problem)
            };
            self.entries.push(Entry { line, content });
        }
        Ok(())
    }
}

fn unknown(path: &str) -> String {
    let paths = keys::ALL.iter().map(|key| key.path);
    let sections = keys::ALL
        .iter()
        .flat_map(|key| key.path.match_indices('.').map(|(dot, _)| &key.path[..dot]));
    match keys::nearest(path, paths.chain(sections)) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => "unknown key; docs/configuration.md lists them all".to_owned(),
    }
}
