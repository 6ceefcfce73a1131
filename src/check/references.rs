//! What the resources of a mesh say of each other.

use crate::manifest::codes;
use crate::model::{CaSpec, DesiredMesh, Diagnostic, Kind, ResourceKey};

const NO_CERTIFICATE: &str = "There is no signing certificate in provided CA for a given mesh.";

pub(super) fn check(mesh: &DesiredMesh) -> Vec<Diagnostic> {
    if !mesh.resources.contains_key(&ResourceKey::mesh(&mesh.name)) {
        return orphans(mesh);
    }
    provided_ca(mesh).into_iter().collect()
}

/// Everything that belongs to a mesh which is not there.
fn orphans(mesh: &DesiredMesh) -> Vec<Diagnostic> {
    let orphan = |key: &ResourceKey| {
        let message = format!("there is no Mesh {} in this revision", mesh.name);
        Diagnostic::error(codes::UNKNOWN_MESH, message)
            .on_field("mesh")
            .on_resource(key)
            .hint(format!(
                "add a Mesh with the name {}, or correct the `mesh` of this {}",
                mesh.name, key.kind
            ))
    };
    mesh.resources.keys().map(orphan).collect()
}

fn provided_ca(mesh: &DesiredMesh) -> Option<Diagnostic> {
    let CaSpec::Provided { name: wanted } = &mesh.mesh()?.mtls.ca else {
        return None;
    };
    let names: Vec<&str> = mesh
        .resources
        .keys()
        .filter(|key| key.kind == Kind::ProvidedCa)
        .map(|key| key.name.as_str())
        .collect();
    let list = names.join(", ");
    let (code, message, hint) = match wanted {
        None if names.is_empty() => (
            codes::NO_SIGNING_CERTIFICATE,
            NO_CERTIFICATE.to_owned(),
            "add a ProvidedCa to the mesh; `windlass seal` writes one".to_owned(),
        ),
        None if names.len() > 1 => (
            codes::AMBIGUOUS_PROVIDED_CA,
            format!("the mesh has several provided CAs and must name one: {list}"),
            format!("write `provided: {{name: {}}}`", names[0]),
        ),
        Some(name) if names.is_empty() => (
            codes::NO_SIGNING_CERTIFICATE,
            format!("{NO_CERTIFICATE} It has no ProvidedCa named {name}"),
            "add the ProvidedCa; `windlass seal` writes one".to_owned(),
        ),
        Some(name) if !names.contains(&name.as_str()) => (
            codes::NO_SIGNING_CERTIFICATE,
            format!("{NO_CERTIFICATE} It has no ProvidedCa named {name}"),
            format!("the mesh has {list}"),
        ),
        _ => return None,
    };
    Some(
        Diagnostic::error(code, message)
            .on_field("mtls.ca.provided")
            .on_resource(&ResourceKey::mesh(&mesh.name))
            .hint(hint),
    )
}
