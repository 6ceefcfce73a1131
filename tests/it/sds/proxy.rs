//! What a proxy says over SDS, and what it makes of the answers.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Node};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming};
use windlass::ca::CertificateInfo;
use windlass::model::{AuthorityId, DataplaneId};

use super::harness::DEADLINE;

pub(super) const MESH_CA: &str = "mesh_ca";
pub(super) const IDENTITY_CERT: &str = "identity_cert";
pub(super) const BOTH: &[&str] = &[MESH_CA, IDENTITY_CERT];
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

pub(super) fn id(name: &str) -> DataplaneId {
    DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

pub(super) fn node(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        ..Node::default()
    }
}

pub(super) fn authorized<T>(message: T, token: Option<String>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.parse().unwrap());
    }
    request
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub(super) fn subscribe(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: owned(names),
        type_url: SECRET.to_owned(),
        ..DiscoveryRequest::default()
    }
}

pub(super) fn with_node(name: &str, request: DiscoveryRequest) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(node(&format!("demo.{name}"))),
        ..request
    }
}

pub(super) fn delta_subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resource_names_subscribe: owned(names),
        type_url: SECRET.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

async fn receive<T>(responses: &mut Result<Streaming<T>, Status>) -> Result<T, Status> {
    let stream = responses.as_mut().map_err(|status| status.clone())?;
    tokio::time::timeout(DEADLINE, stream.message())
        .await
        .expect("neither a response nor a status came")
        .map(|message| message.expect("the stream ended without a status"))
}

/// A state-of-the-world stream.
pub(super) struct Sotw {
    pub(super) requests: mpsc::Sender<DiscoveryRequest>,
    pub(super) responses: Result<Streaming<DiscoveryResponse>, Status>,
    /// What the answers subscribe to; what was received, if empty.
    pub(super) names: Vec<String>,
}

impl Sotw {
    pub(super) async fn receive(&mut self) -> Result<DiscoveryResponse, Status> {
        receive(&mut self.responses).await
    }

    pub(super) async fn send(&self, request: DiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// The next secret, accepted.
    pub(super) async fn accept(&mut self) -> Received {
        let response = self.receive().await.unwrap();
        let secret = unpack(&response.resources);
        let names = if self.names.is_empty() {
            vec![secret.name.clone()]
        } else {
            self.names.clone()
        };
        self.send(DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: names,
            ..subscribe(&[])
        })
        .await;
        Received {
            version: response.version_info,
            secret,
        }
    }

    /// The next secret, rejected.
    pub(super) async fn reject(&mut self, message: &str) -> Received {
        let response = self.receive().await.unwrap();
        let secret = unpack(&response.resources);
        self.send(DiscoveryRequest {
            response_nonce: response.nonce.clone(),
            resource_names: vec![secret.name.clone()],
            error_detail: Some(rpc::Status {
                code: 3,
                message: message.to_owned(),
                ..rpc::Status::default()
            }),
            ..subscribe(&[])
        })
        .await;
        Received {
            version: response.version_info,
            secret,
        }
    }

    /// The status with which the server ends the stream, whatever it sent before.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.receive().await {
                return status;
            }
        }
    }
}

/// An incremental stream.
pub(super) struct Delta {
    pub(super) requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(super) responses: Result<Streaming<DeltaDiscoveryResponse>, Status>,
}

impl Delta {
    pub(super) async fn receive(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        receive(&mut self.responses).await
    }

    pub(super) async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// The next secret, accepted.
    pub(super) async fn accept(&mut self) -> Received {
        let response = self.receive().await.unwrap();
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce.clone(),
            ..delta_subscribe(&[])
        };
        self.send(answer).await;
        let [resource] = response.resources.try_into().unwrap();
        Received {
            version: resource.version,
            secret: unpack(&[resource.resource.unwrap()]),
        }
    }
}

/// A secret that was received.
pub(super) struct Received {
    pub(super) version: String,
    pub(super) secret: Secret,
}

pub(super) fn unpack(resources: &[Any]) -> Secret {
    let [resource] = resources else {
        panic!("{} resources in one response", resources.len());
    };
    Secret::decode(resource.value.as_slice()).unwrap()
}

impl Received {
    pub(super) fn name(&self) -> &str {
        &self.secret.name
    }

    /// The certificates in it.
    pub(super) fn pem(&self) -> String {
        match self.secret.r#type.as_ref().unwrap() {
            Type::TlsCertificate(pair) => text(pair.certificate_chain.as_ref()),
            Type::ValidationContext(context) => text(context.trusted_ca.as_ref()),
            other => panic!("{other:?}"),
        }
    }

    /// The authorities in a trust bundle.
    pub(super) fn authorities(&self) -> BTreeSet<AuthorityId> {
        let end = "-----END CERTIFICATE-----\n";
        let pem = self.pem();
        pem.split_inclusive(end)
            .filter(|pem| !pem.trim().is_empty())
            .map(|pem| CertificateInfo::from_pem(pem).unwrap().id)
            .collect()
    }
}

fn text(source: Option<&DataSource>) -> String {
    match source.unwrap().specifier.as_ref().unwrap() {
        Specifier::InlineBytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The private key in an `identity_cert`.
pub(super) fn private_key(received: &Received) -> String {
    match received.secret.r#type.as_ref().unwrap() {
        Type::TlsCertificate(pair) => text(pair.private_key.as_ref()),
        other => panic!("{other:?}"),
    }
}
