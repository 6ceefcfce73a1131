//! `windlass.v1.DataplaneService`: what `dp run` asks beside its Envoy.
//!
//! Two unary calls on the xDS port, let in as a stream is: `Check` says whether
//! a stream would be, `RenewToken` gives the token its successor (decision 6).
//! The messages are written by hand; the client is in [`crate::dataplane::control`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::index::{Index, UnknownDataplane};
use super::server::auth;
use super::server::credential::Credential;
use crate::clock;
use crate::kubernetes::accounts::ServiceAccounts;
use crate::model::{DataplaneId, Timestamp};
use crate::token::{Claims, Keyring};

/// The service's name in paths.
pub(crate) const SERVICE: &str = "windlass.v1.DataplaneService";
/// The path of `Check`.
pub(crate) const CHECK: &str = "/windlass.v1.DataplaneService/Check";
/// The path of `RenewToken`.
pub(crate) const RENEW_TOKEN: &str = "/windlass.v1.DataplaneService/RenewToken";

/// The largest request, in bytes: a node id has 257 at most.
const MAX_REQUEST: usize = 4 * 1024;
/// How long a call may take, its request included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The least time between two tokens that are signed for one dataplane.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many tokens are signed at the same time: one core at most is kept busy.
const SIGNERS: usize = 1;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What both calls are asked with.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NodeRequest {
    /// `<mesh>.<dataplane>`.
    #[prost(string, tag = "1")]
    pub(crate) node_id: String,
}

/// The answer of `Check`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CheckResponse {
    /// When the token ends.
    #[prost(int64, tag = "1")]
    pub(crate) expires_at_unix_seconds: i64,
}

/// The answer of `RenewToken`. It does not print: `Debug` would show the token.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct RenewTokenResponse {
    /// The token.
    #[prost(string, tag = "1")]
    pub(crate) token: String,
    /// When it ends.
    #[prost(int64, tag = "2")]
    pub(crate) expires_at_unix_seconds: i64,
}

impl std::fmt::Debug for RenewTokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RenewTokenResponse")
            .field("expires_at_unix_seconds", &self.expires_at_unix_seconds)
            .finish_non_exhaustive()
    }
}

/// The service.
#[derive(Debug, Clone)]
pub(super) struct DataplaneService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: Arc<Index>,
    tokens: Arc<Keyring>,
    accounts: Option<Arc<ServiceAccounts>>,
    signers: Semaphore,
    /// The dataplanes that a token was signed for within the last [`INTERVAL`].
    renewed: Mutex<HashMap<DataplaneId, Timestamp>>,
}

impl DataplaneService {
    pub(super) fn new(
        index: Arc<Index>,
        tokens: Arc<Keyring>,
        accounts: Option<Arc<ServiceAccounts>>,
    ) -> Self {
        Self(Arc::new(Inner {
            index,
            tokens,
            accounts,
            signers: Semaphore::new(SIGNERS),
            renewed: Mutex::default(),
        }))
    }
}

impl Inner {
    async fn admit(&self, metadata: &MetadataMap, node_id: &str) -> Result<Credential, Status> {
        let accounts = self.accounts.as_deref();
        let credential = auth::authenticate(metadata, &self.tokens, accounts, clock::now());
        let credential = credential.await?;
        let node = Node {
            id: node_id.to_owned(),
            ..Node::default()
        };
        let dataplane = auth::authorize(&credential, Some(&node), &self.index, accounts)?;
        if self.index.knows(&dataplane) {
            Ok(credential)
        } else {
            Err(Status::not_found(UnknownDataplane(dataplane).to_string()))
        }
    }

    async fn check(
        self: Arc<Self>,
        request: Request<NodeRequest>,
    ) -> Result<CheckResponse, Status> {
        let node_id = &request.get_ref().node_id;
        let credential = self.admit(request.metadata(), node_id).await?;
        Ok(CheckResponse {
            expires_at_unix_seconds: credential.expires_at().unix_seconds(),
        })
    }

    async fn renew(
        self: Arc<Self>,
        request: Request<NodeRequest>,
    ) -> Result<RenewTokenResponse, Status> {
        let node_id = &request.get_ref().node_id;
        let credential = self.admit(request.metadata(), node_id).await?;
        let now = clock::now();
        let claims = match credential {
            Credential::Dataplane(claims) if is_due(&claims, now) => claims,
            // What was signed once need not be signed again, and the tokens of
            // service accounts are Kubernetes' own to replace.
            other => {
                return Ok(RenewTokenResponse {
                    token: auth::token(request.metadata())?.to_owned(),
                    expires_at_unix_seconds: other.expires_at().unix_seconds(),
                });
            }
        };
        self.take_turn(&claims.dataplane, now)?;
        let (token, expires_at) = self.sign(&claims).await.map_err(|error| {
            tracing::error!(
                dataplane = %claims.dataplane,
                error = %crate::telemetry::chain(&*error),
                "a token was not renewed"
            );
            Status::internal("the token could not be renewed")
        })?;
        tracing::info!(dataplane = %claims.dataplane, %expires_at, "token renewed");
        Ok(RenewTokenResponse {
            token,
            expires_at_unix_seconds: expires_at.unix_seconds(),
        })
    }

    /// Signs off the threads that serve streams, and a few at a time.
    async fn sign(self: &Arc<Self>, claims: &Claims) -> Result<(String, Timestamp), Failure> {
        let _signer = self.signers.acquire().await?;
        let (inner, claims) = (Arc::clone(self), claims.clone());
        let signed = tokio::task::spawn_blocking(move || {
            let now = clock::now();
            let token = inner.tokens.renew(&claims, now)?;
            let life = claims.expires_at.since(claims.issued_at);
            Ok((token, now + life))
        });
        signed.await?
    }

    /// Lets one renewal of a dataplane through in each [`INTERVAL`].
    fn take_turn(&self, dataplane: &DataplaneId, now: Timestamp) -> Result<(), Status> {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back ends an interval, too.
        renewed.retain(|_, at| *at <= now && now < *at + INTERVAL);
        if renewed.contains_key(dataplane) {
            return Err(Status::resource_exhausted(format!(
                "the token of dataplane {dataplane} was renewed a moment ago; try again in {} s",
                INTERVAL.as_secs()
            )));
        }
        renewed.insert(dataplane.clone(), now);
        Ok(())
    }
}

/// Whether a token is old enough to be renewed: a third of its life is over.
fn is_due(claims: &Claims, now: Timestamp) -> bool {
    let life = claims.expires_at.since(claims.issued_at);
    now.since(claims.issued_at) >= life / 3
}

impl NamedService for DataplaneService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for DataplaneService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let work = async move {
            match request.uri().path() {
                CHECK => server().unary(Check(inner), request).await,
                RENEW_TOKEN => server().unary(Renew(inner), request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            }
        };
        Box::pin(async move {
            let late = |_| Status::deadline_exceeded("the request took too long").into_http();
            Ok(tokio::time::timeout(TIMEOUT, work)
                .await
                .unwrap_or_else(late))
        })
    }
}

fn server<Answer>() -> Grpc<ProstCodec<Answer, NodeRequest>>
where
    Answer: prost::Message + 'static,
{
    Grpc::new(ProstCodec::default()).apply_max_message_size_config(Some(MAX_REQUEST), None)
}

struct Check(Arc<Inner>);

impl UnaryService<NodeRequest> for Check {
    type Response = CheckResponse;
    type Future = BoxFuture<Response<CheckResponse>, Status>;

    fn call(&mut self, request: Request<NodeRequest>) -> Self::Future {
        let work = Arc::clone(&self.0).check(request);
        Box::pin(async move { work.await.map(Response::new) })
    }
}

struct Renew(Arc<Inner>);

impl UnaryService<NodeRequest> for Renew {
    type Response = RenewTokenResponse;
    type Future = BoxFuture<Response<RenewTokenResponse>, Status>;

    fn call(&mut self, request: Request<NodeRequest>) -> Self::Future {
        let work = Arc::clone(&self.0).renew(request);
        Box::pin(async move { work.await.map(Response::new) })
    }
}
