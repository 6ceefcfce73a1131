//! YAML in, resources and diagnostics out. Source positions live here and nowhere else.
//!
//! [`parse_file`] reads one file in two steps: bytes to trees whose nodes know
//! their places (`yaml`), then a reader for each kind that walks its tree
//! and collects every violation. [`Manifest`] holds the files of one revision
//! and follows the changes from one revision to the next.

use std::sync::Arc;

pub use self::kubernetes::to_kubernetes;
pub use self::revision::Manifest;
pub use self::single::parse_resource;
pub use self::write::{documents_yaml, provided_ca_yaml, to_yaml};
use crate::model::{Diagnostic, RepositoryPolicy, SourceName};

pub mod codes;
mod dataplane;
mod document;
mod kubernetes;
mod load;
mod mesh;
mod node;
mod permission;
mod policy;
mod provided_ca;
mod reader;
mod revision;
mod single;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

/// The most diagnostics that are kept of one file.
const MAX_DIAGNOSTICS: usize = 1000;

/// What one file holds.
#[derive(Debug, Clone, Default)]
pub struct ParsedFile {
    resources: Vec<document::ParsedResource>,
    diagnostics: Vec<Diagnostic>,
    policy: Option<RepositoryPolicy>,
}

/// Reads one file. `path` is relative to the source's path; that of the
/// repository's policy is `windlass.yaml`.
#[must_use]
pub fn parse_file(path: &Arc<str>, bytes: &[u8]) -> ParsedFile {
    let mut file = ParsedFile::default();
    let text = match yaml::decode(bytes) {
        Ok(text) => text,
        Err(problem) => {
            file.diagnostics.push(of_problem(problem, path));
            return file;
        }
    };
    let stream = yaml::read(text);
    for problem in stream.failures {
        file.diagnostics.push(of_problem(problem, path));
    }
    if &**path == policy::PATH {
        file.read_policy(&stream.documents, path);
    } else {
        file.read_resources(&stream.documents, path);
    }
    file
}

/// Reads all files of a revision at once.
#[must_use]
pub fn parse(files: &[(Arc<str>, Vec<u8>)], source: SourceName) -> Manifest {
    let mut manifest = Manifest::new(source);
    for (path, bytes) in files {
        if manifest.is_full() {
            break;
        }
        manifest.update(path, Some(parse_file(path, bytes)));
    }
    manifest
}

impl ParsedFile {
    fn read_resources(&mut self, documents: &[yaml::Document<'_>], path: &Arc<str>) {
        for document in documents {
            let (resource, mut diagnostics) = document::read(document, path);
            self.resources.extend(resource);
            if self.diagnostics.len() + diagnostics.len() <= MAX_DIAGNOSTICS {
                self.diagnostics.append(&mut diagnostics);
                continue;
            }
            let room = MAX_DIAGNOSTICS.saturating_sub(self.diagnostics.len());
            self.diagnostics.extend(diagnostics.drain(..room));
            // What is not listed may concern any mesh.
            let message = format!("the file has more than {MAX_DIAGNOSTICS} errors");
            self.diagnostics.push(of_problem(
                yaml::Problem {
                    code: codes::TOO_MANY_ERRORS,
                    position: document.root.position,
                    message,
                    hint: None,
                },
                path,
            ));
            return;
        }
    }

    fn read_policy(&mut self, documents: &[yaml::Document<'_>], path: &Arc<str>) {
        let mut reader = reader::Reader::default();
        let filled = documents
            .iter()
            .filter(|document| document.root.value != node::Value::Null);
        for (index, document) in filled.enumerate() {
            let root = reader::At {
                node: &document.root,
                position: document.root.position,
                field: String::new(),
            };
            if index > 0 {
                let message = "the policy must be one document";
                reader.violation_at(codes::INVALID_POLICY, &root, message);
                break;
            }
            self.policy = Some(policy::read(&mut reader, &root));
        }
        for problem in documents.iter().flat_map(|document| &document.problems) {
            self.diagnostics.push(of_problem(problem.clone(), path));
        }
        let violations = reader.violations.into_iter().take(MAX_DIAGNOSTICS);
        self.diagnostics
            .extend(violations.map(|violation| document::diagnostic(violation, path)));
    }
}

fn of_problem(problem: yaml::Problem, path: &Arc<str>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(problem.code, problem.message)
        .at(&document::location(path, problem.position));
    diagnostic.hint = problem.hint;
    diagnostic
}

/// The longest part of the input that a message repeats, in characters.
const LONGEST_QUOTE: usize = 64;

/// The beginning of a text from the input.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text from the input in quotes, with control characters escaped.
fn quote(text: &str) -> String {
    format!("{:?}", shorten(text))
}

/// The word that was probably meant, if any is near.
fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    if text.len() > LONGEST_QUOTE {
        return None;
    }
    let lower = text.to_lowercase();
    words
        .iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&lower, &word.to_lowercase()),
                *word,
            )
        })
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
