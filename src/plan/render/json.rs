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
        "steps": plan.meshes.iter().flat_map(|mesh| steps(plan, mesh)).collect::<Vec<_>>(),
        "transitions": plan.meshes.iter().filter_map(transition).collect::<Vec<_>>(),
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

fn steps<'a>(plan: &Plan, mesh: &'a MeshPlan) -> impl Iterator<Item = Value> + use<'a> {
    let due = plan.due(mesh);
    mesh.steps.iter().enumerate().map(move |(index, step)| {
        json!({
            "id": mesh.step_id(step),
            "mesh": mesh.mesh,
            "kind": step.action.kind(),
            "summary": step.action.to_string(),
            "waitsFor": step.gate_in_words(),
            "risk": step.risk,
            "phase": step.phase,
            "due": index < due,
        })
    })
}

fn transition(mesh: &MeshPlan) -> Option<Value> {
    let outlook = mesh.outlook.as_ref()?;
    let step_id = |number: u32| format!("{}/{number}", mesh.mesh);
    Some(json!({
        "mesh": mesh.mesh,
        "from": outlook.from,
        "to": outlook.to,
        "strategy": outlook.strategy,
        "hold": outlook.hold,
        "plaintext": outlook.plaintext.map(|window| json!({
            "opens": window.opens.map(step_id),
            "since": window.since,
            "closes": window.closes.map(step_id),
        })),
        "replaces": outlook.replaces,
        "passedOver": outlook.passed_over.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "undrained": outlook.undrained.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "waiting": mesh.waiting.as_ref().map(|waiting| json!({
            "phase": waiting.phase,
            "for": (!waiting.gate.is_open()).then(|| waiting.gate.to_string()),
            "held": waiting.held,
            "awaited": waiting.awaited.iter().map(|awaited| json!({
                "dataplane": awaited.dataplane.to_string(),
                "reason": awaited.reason.to_string(),
            })).collect::<Vec<_>>(),
        })),
    }))
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
