//! SDS and ADS: what proxies are told, and what they answer.
//!
//! A published state becomes a proxy's view in [`snapshot`], gets its leaf
//! from [`leaf`] and reaches the proxy's streams through [`index`]. On a
//! stream, [`session`] decides what is sent and [`to_envoy`] writes it. What
//! the proxy answers is kept in [`evidence`].

mod accept;
pub(crate) mod dataplane_service;
pub mod evidence;
#[cfg(test)]
mod fixtures;
pub mod index;
mod keep;
pub mod leaf;
pub mod metrics;
pub mod resource;
mod server;
pub mod session;
pub mod snapshot;
pub mod tls;
pub mod to_envoy;

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use evidence::EvidenceBoard;
pub use metrics::XdsMetrics;
pub use tls::ServerIdentity;

use crate::ca::{Issuing, LeafKey};
use crate::clock;
use crate::kubernetes::accounts::ServiceAccounts;
use crate::state::Watch;
use crate::store::Store;
use crate::store::encryption::Vault;
use crate::token::Keyring;
use dataplane_service::DataplaneService;
use index::Index;
use leaf::LeafCache;
use server::{Ads, Shared, Xds};

/// The largest message of a proxy, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// The largest block of metadata, in bytes; a token has about 700.
const MAX_METADATA: u32 = 16 * 1024;
/// The most streams of one connection.
const MAX_STREAMS: u32 = 100;
/// How much of a message may lie unread, per stream and per connection, in
/// bytes: what a client can make the server hold.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// How often a connection is probed, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// How long proxies may take to let go when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often what is no longer needed is dropped.
const SWEEP: Duration = Duration::from_mins(1);
/// How leaves are made.
#[derive(Debug, Clone, Copy)]
pub struct XdsConfig {
    /// How long a leaf lives, and how many are reissued per second.
    pub issuing: Issuing,
    /// The kind of a leaf's key.
    pub leaf_key: LeafKey,
}

/// What the xDS server works with.
#[derive(Debug)]
pub struct Parts {
    /// What is served.
    pub state: Watch,
    /// Who is let in.
    pub tokens: Arc<Keyring>,
    /// Who is let in besides, by the word of Kubernetes.
    pub accounts: Option<Arc<ServiceAccounts>>,
    /// What opens the keys of tokens that other processes made.
    pub vault: Arc<Vault>,
    /// Where answers are noted.
    pub evidence: Arc<EvidenceBoard>,
    /// Where the evidence is kept.
    pub store: Arc<dyn Store>,
    /// Whether other replicas may share the store.
    pub shared: bool,
    /// Asks for what others wrote to be served.
    pub look: Arc<Notify>,
    /// How leaves are made.
    pub config: XdsConfig,
    /// What is counted.
    pub metrics: XdsMetrics,
}

/// The server stopped by itself.
#[derive(Debug, thiserror::Error)]
#[error("the xDS server failed")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves until `shutdown`, then ends all streams with `UNAVAILABLE`, lets the
/// connections drain for at most 5 s and writes the last evidence.
///
/// # Errors
///
/// Fails when the HTTP/2 server does.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    parts: Parts,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let Parts {
        state,
        tokens,
        accounts,
        vault,
        evidence,
        store,
        shared,
        look,
        config,
        metrics,
    } = parts;
    let rng = StdRng::from_os_rng();
    let leaves = Arc::new(LeafCache::new(
        config.issuing,
        config.leaf_key,
        rng,
        metrics.reissues_waiting.clone(),
    ));
    let index = Arc::new(Index::new(state.clone(), leaves.clone(), evidence.clone()));
    let xds = Xds(Arc::new(Shared {
        index: index.clone(),
        tokens: tokens.clone(),
        accounts: accounts.clone(),
        evidence: evidence.clone(),
        metrics,
        shutdown: shutdown.clone(),
    }));
    let sds = SecretDiscoveryServiceServer::new(xds.clone());
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(MAX_METADATA)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(sds.max_decoding_message_size(MAX_MESSAGE))
        .add_service(Ads(xds))
        .add_service(DataplaneService::new(
            index.clone(),
            tokens.clone(),
            accounts,
        ))
        .serve_with_incoming_shutdown(
            accept::incoming(listener, tls, shutdown.clone()),
            shutdown.clone().cancelled_owned(),
        );
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let keeper = keep::Keeper {
        evidence: &evidence,
        store: &*store,
        shared: shared.then(|| keep::Shared {
            index: &index,
            look: &look,
        }),
    };
    let result = tokio::select! {
        result = server => result.map_err(ServeError::from),
        () = drained => Ok(()),
        never = follow(&index) => match never {},
        never = sweep(&leaves, &evidence) => match never {},
        never = forget_gone(state, &index, &evidence) => match never {},
        never = keep::tokens(&tokens, &*store, &vault) => match never {},
        never = keeper.evidence() => match never {},
        never = keeper.exchange() => match never {},
    };
    if let Err(error) = evidence.flush(&*store).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the last evidence was not written; proxies will give it again"
        );
    }
    result
}

/// A task that ends with the server.
enum Never {}

async fn follow(index: &Index) -> Never {
    index.run().await;
    // The publisher is gone; the last state keeps being served.
    std::future::pending().await
}

async fn sweep(leaves: &LeafCache, evidence: &EvidenceBoard) -> Never {
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = clock::now();
        leaves.drop_stale(now);
        evidence.settle(now);
    }
}

/// A dataplane that comes back under the name of a deleted one is another.
async fn forget_gone(mut state: Watch, index: &Index, evidence: &EvidenceBoard) -> Never {
    loop {
        evidence.forget_gone(|dataplane| index.knows(dataplane));
        if state.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests;
