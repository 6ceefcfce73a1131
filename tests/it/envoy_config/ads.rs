//! The smallest ADS server: it says what it was given, in the order of types,
//! and keeps what Envoy refuses.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use windlass::model::Digest;
use windlass::xds::resource::ResourceType;
use windlass::xds::snapshot::Snapshot;
use windlass::xds::to_envoy::pack;

pub(super) struct Ads {
    pub(super) port: u16,
    snapshots: watch::Sender<Arc<Snapshot>>,
    refused: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Ads {
    pub(super) fn start(snapshot: Snapshot) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
        let refused = Arc::new(Mutex::new(Vec::new()));
        let service = AggregatedDiscoveryServiceServer::new(Service {
            snapshots: receiver,
            refused: refused.clone(),
        });
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            port,
            snapshots,
            refused,
            _runtime: runtime,
        }
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// What Envoy refused, in its own words.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().expect("no panic").clone()
    }
}

struct Service {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    refused: Arc<Mutex<Vec<String>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let talk = talk(
            request.into_inner(),
            self.snapshots.clone(),
            sender,
            self.refused.clone(),
        );
        tokio::spawn(talk);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

async fn talk(
    mut requests: Streaming<DiscoveryRequest>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    sender: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    refused: Arc<Mutex<Vec<String>>>,
) {
    let mut asked: BTreeMap<ResourceType, Vec<String>> = BTreeMap::new();
    let mut said: BTreeMap<ResourceType, Vec<Digest>> = BTreeMap::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                let Some(kind) = ResourceType::from_type_url(&request.type_url) else { continue };
                if let Some(error) = request.error_detail {
                    refused.lock().expect("no panic").push(format!("{kind}: {}", error.message));
                    continue;
                }
                if asked.get(&kind) != Some(&request.resource_names) {
                    asked.insert(kind, request.resource_names);
                    said.remove(&kind);
                }
            }
            changed = snapshots.changed() => if changed.is_err() { return },
        }
        let snapshot = snapshots.borrow().clone();
        for (&kind, names) in &asked {
            let wanted = |name: &str| names.is_empty() || names.iter().any(|known| known == name);
            let resources = snapshot.of(kind).iter();
            let resources: Vec<_> = resources.filter(|one| wanted(&one.name)).collect();
            let versions: Vec<_> = resources.iter().map(|resource| resource.version).collect();
            if said.get(&kind) == Some(&versions) {
                continue;
            }
            said.insert(kind, versions);
            if kind == ResourceType::Cluster {
                // A cluster that changed waits for its endpoints, also for the same.
                said.remove(&ResourceType::Endpoints);
            }
            number += 1;
            let response = DiscoveryResponse {
                version_info: number.to_string(),
                nonce: number.to_string(),
                type_url: kind.type_url().to_owned(),
                resources: resources
                    .into_iter()
                    .map(|resource| pack(resource))
                    .collect(),
                ..DiscoveryResponse::default()
            };
            if sender.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}
