//! The mesh that is served: a hundred services, each offered by a hundredth
//! of the dataplanes, each calling the next three.

use serde_json::json;
use windlass::model::{Origin, Resource, StoredResource};

/// The name of the mesh.
pub(crate) const MESH: &str = "bench";
/// How many services there are.
pub(crate) const SERVICES: usize = 100;

/// The name of a dataplane.
pub(crate) fn dataplane(number: usize) -> String {
    format!("dp-{number}")
}

/// Everything that is in the mesh from the start.
pub(crate) fn resources(dataplanes: usize) -> Vec<StoredResource> {
    let mesh =
        json!({"type": "Mesh", "name": MESH, "mtls": {"enabled": true, "ca": {"builtin": {}}}});
    let permissions = (0..SERVICES).map(|service| {
        permission(
            &format!("to-{service}"),
            &name(service + SERVICES - 1),
            &name(service),
        )
    });
    let dataplanes = (0..dataplanes).map(|number| {
        let service = number % SERVICES;
        let address = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
        let outbound: Vec<_> = (1..=3)
            .map(|step| json!({"port": 20_000 + step, "service": name(service + step)}))
            .collect();
        json!({
            "type": "Dataplane", "mesh": MESH, "name": dataplane(number),
            "networking": {
                "address": address,
                "inbound": [{"port": 8080, "servicePort": 8081, "tags": {"service": name(service)}}],
                "outbound": outbound,
            },
        })
    });
    std::iter::once(mesh)
        .chain(permissions)
        .chain(dataplanes)
        .map(stored)
        .collect()
}

/// A permission that comes and goes: of one service, or of all.
pub(crate) fn passing(service: Option<usize>) -> StoredResource {
    let destination = service.map_or("*".to_owned(), name);
    stored(permission("passing", "monitor", &destination))
}

fn name(service: usize) -> String {
    format!("service-{}", service % SERVICES)
}

fn permission(called: &str, source: &str, destination: &str) -> serde_json::Value {
    json!({
        "type": "TrafficPermission", "mesh": MESH, "name": called,
        "sources": [{"match": {"service": source}}],
        "destinations": [{"match": {"service": destination}}],
    })
}

fn stored(document: serde_json::Value) -> StoredResource {
    let resource: Resource = serde_json::from_value(document).expect("a resource");
    StoredResource::new(resource, Origin::Api {})
}
