//! SDS and ADS over gRPC: who may ask, and the streams.

mod ads;
pub(super) mod auth;
mod conversation;
pub(super) mod credential;
mod fetch;
mod outgoing;
mod protocol;
mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

pub(super) use self::ads::Ads;
use self::credential::Credential;
use self::outgoing::Outgoing;
use self::protocol::{Delta, Protocol, Service, Sotw};
use super::evidence::EvidenceBoard;
use super::index::Index;
use super::metrics::{CodeLabel, XdsMetrics};
use crate::clock;
use crate::kubernetes::accounts::ServiceAccounts;
use crate::token::Keyring;

/// How long a stream may take to send its first message, and a fetch to be answered.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// The longest name that a stream may subscribe to, in bytes.
const MAX_NAME: usize = 256;

/// The discovery services.
#[derive(Debug, Clone)]
pub(super) struct Xds(pub(super) Arc<Shared>);

/// What all streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) index: Arc<Index>,
    pub(super) tokens: Arc<Keyring>,
    pub(super) accounts: Option<Arc<ServiceAccounts>>,
    pub(super) evidence: Arc<EvidenceBoard>,
    pub(super) metrics: XdsMetrics,
    pub(super) shutdown: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl std::ops::Deref for Xds {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Xds {
    /// Lets a stream in whose token is good. Everything else is answered on the stream.
    async fn open<P: Protocol>(
        &self,
        service: Service,
        request: Request<Streaming<P::Request>>,
    ) -> Result<Response<Responses<P::Response>>, Status> {
        let credential = self.authenticate(request.metadata()).await;
        let credential = credential.map_err(|status| self.refused(status))?;
        let (items, receiver) = mpsc::channel(1);
        let (end, outgoing) = Outgoing::new(receiver);
        let xds = self.clone();
        let inbound = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = stream::run::<P>(&xds, service, credential, inbound, items).await {
                // Fails only when the proxy has gone.
                let _ = end.send(xds.refused(status));
            }
        });
        Ok(Response::new(Box::pin(outgoing)))
    }

    /// Who is calling.
    async fn authenticate(&self, metadata: &MetadataMap) -> Result<Credential, Status> {
        let accounts = self.accounts.as_deref();
        auth::authenticate(metadata, &self.tokens, accounts, clock::now()).await
    }

    fn refused(&self, status: Status) -> Status {
        let label = CodeLabel::of(status.code());
        self.metrics.ended.get_or_create(&label).inc();
        status
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Xds {
    type StreamSecretsStream = Responses<DiscoveryResponse>;
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        self.open::<Sotw>(Service::Secrets, request).await
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        self.open::<Delta>(Service::Secrets, request).await
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        fetch::run(self, request)
            .await
            .map(Response::new)
            .map_err(|status| self.refused(status))
    }
}
