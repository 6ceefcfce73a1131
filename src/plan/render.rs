//! Plans as JSON, as text and as a pull-request comment.

mod json;
mod markdown;
mod text;

pub use json::document;
pub use markdown::markdown;
pub use text::text;

use serde_json::Value;

use super::describe::List;
use super::{Change, MeshPlan, Outlook, Step};
use crate::model::Kind;

/// One leaf of a resource that differs.
struct FieldChange {
    field: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// The fields that an update changes, in order.
fn field_changes(change: &Change) -> Vec<FieldChange> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let (before, after) = (
        before.resource.to_universal(),
        after.resource.to_universal(),
    );
    compare("", Some(&before), Some(&after), &mut changes);
    changes
}

/// How transitions are carried out otherwise, where no Mesh resource shows it.
fn rule_changes(mesh: &MeshPlan) -> Vec<FieldChange> {
    let shown = |change: &Change| change.resource.kind == Kind::Mesh;
    let mut changes = Vec::new();
    if let Some(before) = &mesh.rules_before
        && !mesh.changes.iter().any(shown)
    {
        // Words, durations and nothing else.
        let (before, after) = (
            serde_json::to_value(before).unwrap_or_default(),
            serde_json::to_value(&mesh.progress.rules).unwrap_or_default(),
        );
        compare("transition", Some(&before), Some(&after), &mut changes);
    }
    changes
}

/// From what to what, in words.
fn way(outlook: &Outlook) -> String {
    crate::model::way(&outlook.from, &outlook.to)
}

/// The sentences about a transition as a whole, each with its subject.
fn sentences(mesh: &MeshPlan) -> Vec<(&'static str, String)> {
    let Some(outlook) = &mesh.outlook else {
        return Vec::new();
    };
    let mut sentences = Vec::new();
    if let Some(end) = outlook.replaces {
        let sentence = format!(
            "{} ends on {end}, and Windlass replaces it by itself.",
            outlook.from
        );
        sentences.push(("Rotation", sentence));
    }
    if let Some(window) = &outlook.plaintext {
        sentences.push(("Plaintext", format!("{window}.")));
    }
    if let Some(step) = mesh.steps.iter().find(|step| step.held.is_some())
        && let Some(phase) = step.phase
    {
        let number = step.number;
        sentences.push((
            "Hold",
            format!("stops before {phase}, step {number}, until `hold` is removed."),
        ));
    }
    if !outlook.passed_over.is_empty() {
        let sentence = format!(
            "nothing waits for {}. Until they are back and have what is new, they may be refused \
             and refuse others.",
            List(&outlook.passed_over)
        );
        sentences.push(("Passed over", sentence));
    }
    if !outlook.undrained.is_empty() {
        let sentence = format!(
            "Windlass does not configure {}, and cannot end connections that they accepted. \
             Restart them after they have new leaves.",
            List(&outlook.undrained)
        );
        sentences.push(("Not drained", sentence));
    }
    sentences
}

/// What a step waits for, where the step before it does not say so already.
fn new_gate(mesh: &MeshPlan, index: usize) -> Option<String> {
    let step = mesh.steps.get(index)?;
    let before = index.checked_sub(1).and_then(|it| mesh.steps.get(it));
    let same = |before: &Step| before.phase == step.phase && before.waits_for == step.waits_for;
    step.gate_in_words().filter(|_| !before.is_some_and(same))
}

fn compare(
    field: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<FieldChange>,
) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let path = if field.is_empty() {
                    key.clone()
                } else {
                    format!("{field}.{key}")
                };
                compare(&path, old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                let path = format!("{field}[{index}]");
                compare(&path, old.get(index), new.get(index), changes);
            }
        }
        _ => changes.push(FieldChange {
            field: field.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

/// A value on one line, cut where it is long.
fn short(value: Option<&Value>) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        None => return "(none)".to_owned(),
        Some(Value::String(text)) if !text.contains('\n') => text.clone(),
        Some(Value::String(text)) => {
            format!(
                "({} lines, {})",
                text.lines().count(),
                crate::model::Digest::of(text.as_bytes())
            )
        }
        Some(other) => other.to_string(),
    };
    if text.starts_with('(') || text.chars().count() <= LONGEST {
        text
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}
