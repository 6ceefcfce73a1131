//! Tables of conversations: each line is what the proxy says and what goes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::{Delta, Next, Response, Session, Sotw, Variant, Verdict};
use crate::xds::fixtures::secrets;
use crate::xds::resource::{Body, IDENTITY_CERT, MESH_CA, Resource, ResourceType};
use crate::xds::snapshot::Snapshot;

const BOTH: &[&str] = &[IDENTITY_CERT, MESH_CA];

/// A resource by its content: `ca1`, `id2`.
fn content(resource: &Resource) -> String {
    match &resource.body {
        Body::TrustBundle(bundle) => bundle.pem.to_string(),
        Body::Identity(leaf) => leaf.certificate.to_string(),
        Body::Encoded(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The contents of resources, in their order.
fn contents(resources: &[Arc<Resource>]) -> String {
    let contents: Vec<_> = resources.iter().map(|it| content(it)).collect();
    contents.join(" ")
}

/// What goes out: `send ca1`, `send c1 c2 -c3`, `send no clusters`.
fn sent(response: &Response) -> String {
    let mut text = contents(&response.resources);
    for name in &response.removed {
        text = format!("{text} -{name}");
    }
    if text.is_empty() {
        text = format!("no {}", response.kind);
    }
    format!("send {}", text.trim_start())
}

/// A request that names its type; none is a secret.
trait Typed {
    fn kind(&self) -> ResourceType;
}

impl Typed for DiscoveryRequest {
    fn kind(&self) -> ResourceType {
        ResourceType::from_type_url(&self.type_url).unwrap_or(ResourceType::Secret)
    }
}

impl Typed for DeltaDiscoveryRequest {
    fn kind(&self) -> ResourceType {
        ResourceType::from_type_url(&self.type_url).unwrap_or(ResourceType::Secret)
    }
}

/// A session, and all that it did.
struct Talk<V> {
    session: Session<V>,
    snapshot: Snapshot,
    sent: Vec<Response>,
}

impl<V: Variant<Request: Typed>> Talk<V> {
    fn new(session: Session<V>, snapshot: Snapshot) -> Self {
        let sent = Vec::new();
        Self {
            session,
            snapshot,
            sent,
        }
    }

    /// Does all that is to be done and says what that was.
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            assert!(events.len() < 100, "it spins: {events:?}");
            match self.session.next(&self.snapshot) {
                Next::Send(response) => {
                    events.push(sent(&response));
                    self.sent.push(response);
                }
                Next::Holds(held) => events.push(format!("holds {}", contents(&held.resources))),
                Next::AwaitVerdict => {
                    events.push("await".to_owned());
                    return events;
                }
                Next::Nothing => return events,
            }
        }
    }

    fn says(&mut self, request: &V::Request) -> Vec<String> {
        let mut events = Vec::new();
        match self.session.on_request(request.kind(), request) {
            Some(Verdict::Accepted { resources, .. }) => {
                events.push(format!("ack {}", contents(&resources)));
            }
            Some(Verdict::Rejected {
                resources, message, ..
            }) => events.push(format!("nack {}: {message}", contents(&resources))),
            None => {}
        }
        events.extend(self.events());
        events
    }

    fn sees(&mut self, snapshot: Snapshot) -> Vec<String> {
        self.snapshot = snapshot;
        self.events()
    }

    fn last(&self) -> &Response {
        self.sent.last().unwrap()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn error(message: &str) -> Status {
    Status {
        code: 3,
        message: message.to_owned(),
        ..Status::default()
    }
}

fn subscribe(resource_names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names(resource_names),
        ..DiscoveryRequest::default()
    }
}

fn ack(response: &Response, resource_names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version.clone(),
        response_nonce: response.nonce.clone(),
        ..subscribe(resource_names)
    }
}

fn nack(response: &Response, version: &str, resource_names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: version.to_owned(),
        response_nonce: response.nonce.clone(),
        error_detail: Some(error("bad")),
        ..subscribe(resource_names)
    }
}

fn sotw(mesh_ca: &str, identity_cert: &str) -> Talk<Sotw> {
    Talk::new(
        Session::new(BTreeSet::new()),
        secrets(mesh_ca, identity_cert),
    )
}

fn delta(mesh_ca: &str, identity_cert: &str) -> Talk<Delta> {
    Talk::new(
        Session::new(BTreeSet::new()),
        secrets(mesh_ca, identity_cert),
    )
}

fn delta_subscribe(resource_names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: names(resource_names),
        ..DeltaDiscoveryRequest::default()
    }
}

fn delta_ack(response: &Response) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn delta_nack(response: &Response) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        error_detail: Some(error("bad")),
        ..delta_ack(response)
    }
}

mod aggregate;
mod delta_table;
mod order_table;
mod reconnect_table;
mod sotw_table;
mod wide_delta_table;
mod wide_reconnect_table;
mod wide_sotw_table;
