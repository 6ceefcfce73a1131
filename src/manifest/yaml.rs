//! Bytes to trees: the first of the two steps in which a file is read.
//!
//! The trees are built from the events of serde-saphyr's own parser, since its
//! serde side stops at the first error and loses positions. Every limit of a
//! file is kept here, so what is behind need not think of bombs: aliases are
//! not followed, depth and the number of nodes are bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_yaml::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Tag};

use super::codes;
use super::node::{Entry, Node, Position, Value};

/// The largest file, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting of lists and maps.
pub(super) const MAX_DEPTH: usize = 64;
/// The most nodes of a file.
pub(super) const MAX_NODES: usize = 250_000;
/// The most documents of a file.
pub(super) const MAX_DOCUMENTS: usize = 10_000;
/// The most syntax errors of a file: one a document.
const MAX_FAILURES: usize = 100;

/// The keys at the root or in `metadata` that say what a resource is.
const IDENTIFYING: [&str; 6] = ["type", "kind", "apiVersion", "mesh", "name", "metadata"];

/// Something wrong with the YAML itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) position: Position,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// A document that could be read.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) root: Node<'a>,
    /// What is wrong with single nodes of it.
    pub(super) problems: Vec<Problem>,
    /// Whether it is uncertain which resource it is: a key that says so stands twice.
    pub(super) ambiguous: bool,
}

/// The documents of a file.
#[derive(Debug, Default)]
pub(super) struct Stream<'a> {
    pub(super) documents: Vec<Document<'a>>,
    /// Why parts of the file could not be read at all.
    pub(super) failures: Vec<Problem>,
}

/// The text of a file, without its byte-order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > MAX_BYTES {
        return Err(Problem {
            code: codes::FILE_TOO_LARGE,
            position: Position::START,
            message: format!("the file has more than {MAX_BYTES} bytes"),
            hint: Some("split it into several files".to_owned()),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
        Problem {
            code: codes::NOT_UTF8,
            position: end_of(&good),
            message: "the file is not UTF-8".to_owned(),
            hint: utf16.then(|| "it looks like UTF-16; save it as UTF-8".to_owned()),
        }
    })?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

/// The place right behind `text`.
fn end_of(text: &str) -> Position {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let last = lines.rsplit('\n').next().unwrap_or_default();
    Position {
        line: count(lines.matches('\n').count()),
        column: count(last.chars().count()),
    }
}

/// A count from 0 as a number from 1.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1)
}

/// Reads every document of a text. After a syntax error it goes on with the
/// next document.
pub(super) fn read(text: &str) -> Stream<'_> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut stream = Stream::default();
    let mut builder = Builder::default();
    let mut nodes = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                stream.failures.push(syntax(&error));
                if stream.failures.len() < MAX_FAILURES
                    && matches!(parser.proceed_next_document(), Ok(true))
                {
                    continue;
                }
                break;
            }
        };
        let position = Position {
            line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
            column: count(span.start.col()),
        };
        if matches!(event, Event::DocumentStart(..)) {
            builder = Builder::default();
        }
        nodes += usize::from(event.is_node());
        if let Some(what) = exceeded(nodes, builder.open.len(), stream.documents.len()) {
            stream.failures.push(too_much(position, &what));
            break;
        }
        if builder.take(event, position) {
            stream
                .documents
                .extend(std::mem::take(&mut builder).finish());
        }
    }
    stream
}

fn exceeded(nodes: usize, depth: usize, documents: usize) -> Option<String> {
    if nodes > MAX_NODES {
        Some(format!("the file has more than {MAX_NODES} nodes"))
    } else if depth > MAX_DEPTH {
        Some(nested_too_deep())
    } else if documents > MAX_DOCUMENTS {
        Some(format!("the file has more than {MAX_DOCUMENTS} documents"))
    } else {
        None
    }
}

fn nested_too_deep() -> String {
    format!("lists and maps are nested deeper than {MAX_DEPTH} levels")
}

fn too_much(position: Position, message: &str) -> Problem {
    Problem {
        code: codes::TOO_MUCH,
        position,
        message: message.to_owned(),
        hint: None,
    }
}

fn syntax(error: &ScanError) -> Problem {
    use granit_parser::ErrorKind as Kind;
    let marker = error.marker();
    let position = Position {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX).max(1),
        column: count(marker.col()),
    };
    let hint = match error.kind() {
        Kind::RecursionLimitExceeded => return too_much(position, &nested_too_deep()),
        Kind::TabInIndentation
        | Kind::TabInBlockIndentation
        | Kind::TabNotAllowed
        | Kind::TabAtBlockScalarStart => Some("indent with spaces"),
        Kind::UnclosedQuotedScalar => Some("the quote that opens here is never closed"),
        Kind::MappingValueNotAllowed => {
            Some("put a text that holds `: ` in quotes, and check the indentation")
        }
        _ => None,
    };
    Problem {
        code: codes::SYNTAX,
        position,
        message: format!("the YAML is not valid: {}", error.info()),
        hint: hint.map(str::to_owned),
    }
}

/// Builds the tree of one document from events.
#[derive(Default)]
struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    problems: Vec<Problem>,
    ambiguous: bool,
}

/// A list or map whose end has not come yet.
struct Open<'a> {
    position: Position,
    contents: Contents<'a>,
}

enum Contents<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<Entry<'a>>,
        /// The line of every key so far.
        lines: BTreeMap<Cow<'a, str>, u32>,
        key: Key<'a>,
    },
}

/// The key whose value comes next.
enum Key<'a> {
    None,
    Some(Cow<'a, str>, Position),
    /// The key is reported already; its value is dropped.
    Bad,
}

impl<'a> Builder<'a> {
    /// Takes the next event; answers whether the document is complete.
    fn take(&mut self, event: Event<'a>, position: Position) -> bool {
        match event {
            Event::Scalar(text, style, _, tag) => {
                self.scalar(text, style, tag.as_deref(), position);
            }
            Event::SequenceStart(_, _, tag) => {
                self.check_tag(tag.as_deref(), "seq", position);
                self.open.push(Open {
                    position,
                    contents: Contents::List(Vec::new()),
                });
            }
            Event::MappingStart(_, _, tag) => {
                self.check_tag(tag.as_deref(), "map", position);
                self.open.push(Open {
                    position,
                    contents: Contents::Map {
                        entries: Vec::new(),
                        lines: BTreeMap::new(),
                        key: Key::None,
                    },
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.contents {
                        Contents::List(items) => Value::List(items),
                        Contents::Map { entries, .. } => Value::Map(entries),
                    };
                    self.attach(open.position, value);
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problem(
                    codes::YAML_FEATURE,
                    position,
                    "aliases are not supported".to_owned(),
                    Some("write the value out".to_owned()),
                );
                self.attach(position, Value::Unknown);
            }
            Event::DocumentEnd => return true,
            _ => {}
        }
        false
    }

    fn finish(self) -> Option<Document<'a>> {
        Some(Document {
            root: self.root?,
            problems: self.problems,
            ambiguous: self.ambiguous,
        })
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        position: Position,
    ) {
        let is_key = matches!(
            self.open.last(),
            Some(Open {
                contents: Contents::Map { key: Key::None, .. },
                ..
            })
        );
        let is_text = self.check_tag(tag, "str", position) || style != ScalarStyle::Plain;
        if is_text || is_key {
            self.attach(position, Value::Text(text));
        } else {
            self.attach(position, Value::plain(text));
        }
    }

    /// Whether a node has the tag `!!<known>`; any other tag is a problem.
    fn check_tag(&mut self, tag: Option<&Tag>, known: &str, position: Position) -> bool {
        let Some(tag) = tag else { return false };
        let is_known = tag.core_suffix() == Some(known);
        if !is_known {
            let message = format!("the tag {} is not supported", super::quote(&tag.original()));
            let hint = Some("leave the tag out".to_owned());
            self.problem(codes::YAML_FEATURE, position, message, hint);
        }
        is_known
    }

    /// Takes note of a problem, as far as it will be listed.
    fn problem(
        &mut self,
        code: &'static str,
        position: Position,
        message: String,
        hint: Option<String>,
    ) {
        if self.problems.len() <= super::MAX_DIAGNOSTICS {
            self.problems.push(Problem {
                code,
                position,
                message,
                hint,
            });
        }
    }

    /// Puts a finished node where it belongs.
    fn attach(&mut self, position: Position, value: Value<'a>) {
        let depth = self.open.len();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(Node { position, value });
            return;
        };
        match &mut open.contents {
            Contents::List(items) => items.push(Node { position, value }),
            Contents::Map {
                entries,
                lines,
                key,
            } => match std::mem::replace(key, Key::None) {
                Key::Some(name, at) => entries.push(Entry {
                    key: name,
                    position: at,
                    value: Node { position, value },
                }),
                Key::Bad => {}
                Key::None => {
                    *key = Key::Bad;
                    let Value::Text(name) = value else {
                        if value != Value::Unknown {
                            let message = "a key must be a text".to_owned();
                            self.problem(codes::YAML_FEATURE, position, message, None);
                        }
                        return;
                    };
                    if let Some(first) = lines.get(&name) {
                        let hint = format!("the first one is on line {first}; remove one");
                        let message = format!("the key {} is a duplicate", super::quote(&name));
                        self.problem(codes::DUPLICATE_KEY, position, message, Some(hint));
                        self.ambiguous |= depth <= 2 && IDENTIFYING.contains(&&*name);
                    } else {
                        lines.insert(name.clone(), position.line);
                        *key = Key::Some(name, position);
                    }
                }
            },
        }
    }
}
