//! REST, admin server and diagnostics.
//!
//! Handlers that read do so from immutable snapshots, and wait for neither the
//! reconciler nor a proxy. Those that write go the way of a commit, through the
//! one [`Writer`], and leave alone what Git owns.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::model::Evidence;
use crate::reconcile::report::ReportWatch;
use crate::replicas::Roster;
use crate::state;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::token::Keyring;

mod admin;
mod bootstrap;
mod catalog;
mod certificates;
mod diagnostics;
mod error;
mod form;
mod guard;
mod history;
mod insight;
mod public;
mod replicas;
mod resources;
mod server;
mod snapshot;
mod status;
mod transition;
mod write;
mod writer;

pub use catalog::{AdminApi, BootstrapApi, Catalog, CatalogApis, DataplaneTokenApi};
pub use certificates::SigningCertificate;
pub use error::{Cause, ErrorBody};
pub use insight::{Insight, PartInsight};
pub use public::{PublicTls, PublicTlsError};
pub use replicas::{ReplicaStatus, StoreStatus};
pub use resources::Items;
pub use snapshot::StateDocument;
pub use status::{AuthorityStatus, DataplanesStatus, MeshStatus, MtlsStatus, SourceStatus, Status};
pub use transition::{
    Approval, AwaitedStatus, BlockedStatus, GateStatus, LeavesStatus, RemainingStep,
    TransitionStatus,
};
pub use writer::{Adoption, Judgement, Writer, WriterParts};

/// Asks the xDS server what proxies have acknowledged.
pub type EvidenceSource = Arc<dyn Fn() -> Evidence + Send + Sync>;

/// What the servers answer from.
#[derive(Clone)]
pub struct ApiContext {
    /// What is served.
    pub serving: state::Watch,
    /// What the reconciler says of itself.
    pub reports: ReportWatch,
    /// What proxies have acknowledged.
    pub evidence: EvidenceSource,
    /// Changes what the store holds.
    pub writer: Arc<Writer>,
    /// Signs dataplane tokens.
    pub tokens: Arc<Keyring>,
    /// Holds the history.
    pub store: Arc<dyn Store>,
    /// The program's metrics.
    pub metrics: Arc<Metrics>,
    /// Who else serves.
    pub roster: watch::Receiver<Roster>,
    /// The name of this replica.
    pub replica: Arc<str>,
    /// The CA of the xDS server's certificate, as PEM.
    pub xds_ca_pem: Arc<str>,
    /// The configuration, with the addresses that the servers really have.
    pub config: Arc<Config>,
    /// Turns true with the first snapshot that is reconciled.
    pub ready: watch::Receiver<bool>,
}

impl fmt::Debug for ApiContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiContext")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Serves the HTTP API until `shutdown`, then ends the requests under way
/// within a bounded time.
pub async fn serve_api(
    listener: TcpListener,
    ctx: ApiContext,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let config = ctx.config.clone();
    let router = resources::routes()
        .merge(status::routes())
        .merge(history::routes())
        .merge(catalog::routes())
        .merge(snapshot::routes())
        .merge(bootstrap::routes())
        .merge(write::routes())
        .merge(transition::routes())
        .with_state(ctx);
    server::serve(listener, router, &config, shutdown).await;
    Ok(())
}

/// Serves the admin API, which issues tokens, likewise.
pub async fn serve_admin(
    listener: TcpListener,
    ctx: ApiContext,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let config = ctx.config.clone();
    let router = admin::routes()
        .merge(certificates::routes())
        .with_state(ctx);
    server::serve(listener, router, &config, shutdown).await;
    Ok(())
}

/// Serves the same to other machines: over TLS, and only to the clients that
/// `tls` knows.
pub async fn serve_public_admin(
    listener: TcpListener,
    tls: PublicTls,
    ctx: ApiContext,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let config = ctx.config.clone();
    let router = admin::routes()
        .merge(certificates::routes())
        .with_state(ctx);
    let tls = Some(Arc::new(tls));
    server::serve_over(listener, tls, router, &config, shutdown).await;
    Ok(())
}

/// Serves `/healthy`, `/ready` and `/metrics` likewise.
pub async fn serve_diagnostics(
    listener: TcpListener,
    ctx: ApiContext,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let config = ctx.config.clone();
    let router = diagnostics::routes().with_state(ctx);
    server::serve(listener, router, &config, shutdown).await;
    Ok(())
}
