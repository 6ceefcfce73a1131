//! Resources in the Kubernetes form.

use serde_json::{Map, Value, json};

use super::document::API_VERSION;
use crate::model::{Resource, ResourceName};

/// The resource in the Kubernetes form, with only its own name and namespace
/// as metadata. A ProvidedCa's key is left out.
#[must_use]
pub fn to_kubernetes(resource: &Resource) -> Value {
    let mut spec = match resource.to_universal() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for header in ["type", "mesh", "name", "namespace"] {
        spec.remove(header);
    }
    let key = resource.key();
    let mut metadata = json!({ "name": key.name });
    if let Some(namespace) = namespace(resource) {
        metadata["namespace"] = json!(namespace);
    }
    let mut form = json!({
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": metadata,
        "spec": spec,
    });
    if !matches!(resource, Resource::Mesh(_)) {
        form["mesh"] = json!(key.mesh);
    }
    form
}

/// The namespace of the Kubernetes form, where the resource has one.
fn namespace(resource: &Resource) -> Option<&ResourceName> {
    match resource {
        Resource::TrafficPermission(permission) => permission.namespace.as_ref(),
        Resource::Dataplane(dataplane) => dataplane.namespace.as_ref(),
        Resource::Mesh(_) | Resource::ProvidedCa(_) => None,
    }
}
