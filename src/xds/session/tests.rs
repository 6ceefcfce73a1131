//! Tables of conversations: each line is what the proxy says and what goes out.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::{DeltaSession, Next, Response, Session, SotwSession, Verdict};
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

/// A session, and all that it did.
struct Talk<S> {
    session: S,
    snapshot: Snapshot,
    sent: Vec<Response>,
}

impl<S: Session> Talk<S> {
    fn new(session: S, snapshot: Snapshot) -> Self {
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
                    events.push(format!("send {}", content(&response.resource)));
                    self.sent.push(response);
                }
                Next::Holds(resource) => events.push(format!("holds {}", content(&resource))),
                Next::AwaitVerdict => {
                    events.push("await".to_owned());
                    return events;
                }
                Next::Nothing => return events,
            }
        }
    }

    fn says(&mut self, request: &S::Request) -> Vec<String> {
        let mut events = Vec::new();
        match self.session.on_request(request) {
            Some(Verdict::Accepted(resource)) => events.push(format!("ack {}", content(&resource))),
            Some(Verdict::Rejected { resource, message }) => {
                events.push(format!("nack {}: {message}", content(&resource)));
            }
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

fn sotw(mesh_ca: &str, identity_cert: &str) -> Talk<SotwSession> {
    Talk::new(
        SotwSession::new(BTreeSet::new()),
        secrets(mesh_ca, identity_cert),
    )
}

fn delta(mesh_ca: &str, identity_cert: &str) -> Talk<DeltaSession> {
    Talk::new(
        DeltaSession::new(BTreeSet::new()),
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

mod delta_table;
mod reconnect_table;
mod sotw_table;
