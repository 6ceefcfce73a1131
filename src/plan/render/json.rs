//! The plan as the JSON document that programs read.

use serde_json::{Value, json};

use crate::model::{Digest, Origin};
use crate::plan::{Change, MeshPlan, Plan};

/// The plan as JSON, in the shape that `format_version` 1.0 promises.
///
/// `digest` is over everything else in the document but the two revisions:
/// two plans of equal digest do the same to the same store.
#[must_use]
pub fn document(plan: &Plan) -> Value {
    let body = json!({
        "generation": plan.generation,
        "changes": plan.meshes.iter().flat_map(|mesh| &mesh.changes).map(change).collect::<Vec<_>>(),
        "steps": plan.meshes.iter().flat_map(steps).collect::<Vec<_>>(),
        "authorization": plan.meshes.iter().flat_map(authorization).collect::<Vec<_>>(),
        "diagnostics": plan.diagnostics,
        "summary": plan.summary(),
        "blocked": plan.is_blocked(),
    });
    let mut document = json!({
        "format_version": "1.0",
        "head": plan.head,
        "base": plan.base,
        "digest": Digest::of(body.to_string().as_bytes()),
    });
    if let (Value::Object(document), Value::Object(body)) = (&mut document, body) {
        document.extend(body);
    }
    document
}

fn change(change: &Change) -> Value {
    let action = match (&change.before, &change.after) {
        (None, _) => "create",
        (Some(_), Some(_)) => "update",
        (Some(_), None) => "delete",
    };
    let origin_file = change
        .before
        .as_ref()
        .and_then(|before| match &before.origin {
            Origin::Source { file, .. } => Some(file.clone()),
            Origin::Api {} => None,
        });
    let location = change.after.as_ref().map(|after| &after.location);
    json!({
        "address": change.resource.to_string(),
        "type": change.resource.kind,
        "mesh": change.resource.mesh,
        "name": change.resource.name,
        "actions": [action],
        "before": change.before.as_ref().map(|before| before.resource.to_universal()),
        "after": change.after.as_ref().map(|after| after.resource.to_universal()),
        "file": location.map(|location| location.file.clone()).or(origin_file),
        "line": location.map(|location| location.line),
    })
}

fn steps(mesh: &MeshPlan) -> impl Iterator<Item = Value> + '_ {
    mesh.steps.iter().map(|step| {
        json!({
            "id": mesh.step_id(step),
            "mesh": mesh.mesh,
            "kind": step.action.kind(),
            "summary": step.action.to_string(),
            "waitsFor": step.waits_for.as_ref().map(ToString::to_string),
            "risk": step.risk,
        })
    })
}

fn authorization(mesh: &MeshPlan) -> impl Iterator<Item = Value> + '_ {
    mesh.authorization.iter().map(|change| {
        json!({
            "mesh": change.mesh,
            "source": change.source,
            "destination": change.destination,
            "before": change.before,
            "after": change.after,
        })
    })
}
