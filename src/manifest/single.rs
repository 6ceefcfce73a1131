//! One resource on its own: the body of a call whose path says which it is.

use std::borrow::Cow;
use std::sync::Arc;

use super::document::{self, text_of};
use super::node::{Entry, Node, Value};
use super::{MAX_DIAGNOSTICS, codes, of_problem, yaml};
use crate::model::{DesiredResource, Diagnostic, Kind, ResourceKey};

/// Reads the resource `key`, in the Universal or the Kubernetes form, as YAML
/// or JSON. What `key` says already may be left out in the Universal form.
///
/// # Errors
///
/// All that is wrong with it: what is wrong in a file of a source, and where it
/// is another resource than `key`.
pub fn parse_resource(
    bytes: &[u8],
    key: &ResourceKey,
) -> Result<Arc<DesiredResource>, Vec<Diagnostic>> {
    let nowhere = Arc::from("");
    let text = yaml::decode(bytes).map_err(|problem| vec![of_problem(problem, &nowhere)])?;
    let stream = yaml::read(text);
    if !stream.failures.is_empty() {
        let failures = stream.failures.into_iter().map(|mut problem| {
            let at = problem.position;
            problem.message = format!(
                "{} (line {}, column {})",
                problem.message, at.line, at.column
            );
            of_problem(problem, &nowhere)
        });
        return Err(failures.collect());
    }
    let mut documents = stream.documents.into_iter().filter(|document| {
        !matches!(document.root.value, Value::Null) || !document.problems.is_empty()
    });
    let (Some(mut document), None) = (documents.next(), documents.next()) else {
        let message = "the body must be one resource";
        return Err(vec![Diagnostic::error(codes::KIND, message)]);
    };
    if let Some(other) = other_kind(&document.root, key.kind) {
        return Err(vec![other]);
    }
    complete(&mut document.root, key);
    let (resource, mut diagnostics) = document::read(&document, &nowhere);
    if let Some(resource) = &resource {
        diagnostics.extend(misnamed(&resource.key, key));
    }
    diagnostics.truncate(MAX_DIAGNOSTICS);
    match resource.and_then(|resource| resource.desired) {
        Some(resource) if !diagnostics.iter().any(Diagnostic::is_error) => Ok(resource),
        _ if diagnostics.is_empty() => {
            let message = "the body must be a resource";
            Err(vec![Diagnostic::error(codes::KIND, message)])
        }
        _ => Err(diagnostics),
    }
}

/// A kind that is known, but not the one of the path: nothing else is worth saying.
fn other_kind(root: &Node<'_>, wanted: Kind) -> Option<Diagnostic> {
    let found = |field| Some((field, text_of(root, field)?.parse::<Kind>().ok()?));
    let (field, kind) = found("type").or_else(|| found("kind"))?;
    let message = format!("must be {wanted}, as the path says");
    (kind != wanted).then(|| Diagnostic::error(codes::KIND, message).on_field(field))
}

/// Fills in what the path says and the body does not.
fn complete(root: &mut Node<'_>, key: &ResourceKey) {
    let position = root.position;
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    let kubernetes = ["kind", "apiVersion"];
    let kubernetes = entries
        .iter()
        .any(|entry| kubernetes.contains(&&*entry.key));
    let mut known = vec![];
    if key.kind != Kind::Mesh {
        known.push(("mesh", key.mesh.as_str()));
    }
    if !kubernetes {
        known.extend([("type", key.kind.as_str()), ("name", key.name.as_str())]);
    }
    for (field, text) in known {
        if entries.iter().all(|entry| entry.key != field) {
            entries.push(Entry {
                key: Cow::Borrowed(field),
                position,
                value: Node {
                    position,
                    value: Value::Text(Cow::Owned(text.to_owned())),
                },
            });
        }
    }
}

/// What names another resource than the path does.
fn misnamed(found: &ResourceKey, wanted: &ResourceKey) -> Vec<Diagnostic> {
    let mesh =
        (wanted.kind != Kind::Mesh).then_some(("mesh", found.mesh.as_str(), wanted.mesh.as_str()));
    let name = ("name", found.name.as_str(), wanted.name.as_str());
    mesh.into_iter()
        .chain([name])
        .filter(|(_, found, wanted)| found != wanted)
        .map(|(field, _, wanted)| {
            let message = format!("must be {wanted}, as the path says");
            Diagnostic::error(codes::INVALID_NAME, message).on_field(field)
        })
        .collect()
}
