//! The composition root: builds every part, starts and drains the tasks.

use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::api::{self, Adoption, ApiContext, EvidenceSource, PublicTls, Writer, WriterParts};
use crate::clock;
use crate::config::Config;
use crate::kubernetes::webhook;
use crate::model::{Current, SourceName};
use crate::reconcile::report::ReportWatch;
use crate::reconcile::{Parts, Reconciler};
use crate::replicas::{self, Replicas};
use crate::state::{Publisher, Watch};
use crate::store::{EvidenceMark, Replica, Store};
use crate::telemetry::Metrics;
use crate::xds::evidence::EvidenceBoard;
use crate::xds::tls::ServerIdentity;
use crate::xds::{self, XdsConfig};

mod cluster;
mod error;
mod foundation;
mod listeners;

use cluster::Cluster;

pub use error::AppError;
use foundation::Foundation;
pub use foundation::{open_existing_store, open_store, open_to_rekey};
pub use listeners::{Bound, Listeners};

/// How long the tasks have to come to an end.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to take leave of the other replicas.
const FAREWELL: Duration = Duration::from_secs(1);
/// The name of the one source.
pub const SOURCE: &str = "default";

/// A daemon that runs.
#[derive(Debug)]
pub struct App {
    bound: Bound,
    reports: ReportWatch,
    ready: watch::Receiver<bool>,
    serving: Watch,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    store: Arc<dyn Store>,
    /// The name under which others know this replica.
    name: Arc<str>,
    /// Held as long as the daemon runs.
    _lock: File,
}

impl App {
    /// Builds every part and starts it. Nothing is served before all
    /// listeners are bound and what the store holds is loaded.
    ///
    /// # Errors
    ///
    /// Fails when the state folder, the store, a key or a listener cannot be had.
    #[expect(
        clippy::too_many_lines,
        reason = "one part after the other, each with what it works with"
    )]
    pub async fn start(mut config: Config) -> Result<Self, AppError> {
        let source = config.source.clone().ok_or(AppError::NoSource)?;
        let Foundation {
            lock,
            identities,
            vault,
            store,
            shared,
            replica,
            tokens,
            identity,
        } = Foundation::lay(&config, &source).await?;
        let cluster = Cluster::find(&config).await?;
        let current = Arc::new(store.load().await?);
        let evidence = Arc::new(evidence_board(&config, &replica, &*store, &current).await?);
        let mut metrics = Metrics::new();
        let xds_metrics = xds::XdsMetrics::register(metrics.registry_mut());
        let metrics = Arc::new(metrics);

        let publisher = Arc::new(Publisher::new(Arc::clone(&store), Arc::clone(&vault)));
        publisher.publish(Arc::clone(&current)).await;
        let name: SourceName = SOURCE.parse().map_err(|_| AppError::NoSource)?;
        let applied = store.source_status(&name).await?;
        let applied = applied.and_then(|status| status.applied);
        let look = Arc::new(Notify::new());
        let parts = Parts {
            cache_dir: config.state_dir.join("repositories"),
            source,
            name,
            identities,
            issuing: config.ca.issuing(),
            store: Arc::clone(&store),
            vault: Arc::clone(&vault),
            publisher: Arc::clone(&publisher),
            evidence: Arc::clone(&evidence),
            metrics: Arc::clone(&metrics),
            look: Arc::clone(&look),
            replica: Arc::clone(&replica.name),
            shared,
        };
        let reconciler = Reconciler::new(parts, current, applied);
        let (reports, ready) = (reconciler.reports(), reconciler.ready());

        let public = config.admin_public.as_ref().map(PublicTls::open);
        let public = public.transpose().map_err(AppError::AdminPublic)?;
        let listeners = Listeners::bind(&config).await?;
        let bound = listeners.announce(&mut config)?;
        let serving = publisher.subscribe();
        let replicas = Replicas::new(
            replicas::Parts {
                store: Arc::clone(&store),
                evidence: Arc::clone(&evidence),
                serving: serving.clone(),
                leading: reconciler.leading(),
                vault: Arc::clone(&vault),
                shared,
            },
            replica.clone(),
        );
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let xds_parts = xds::Parts {
            state: serving.clone(),
            tokens: Arc::clone(&tokens),
            accounts: cluster.accounts(&config)?,
            vault: Arc::clone(&vault),
            evidence: Arc::clone(&evidence),
            store: Arc::clone(&store),
            shared,
            look,
            config: xds_config(&config),
            metrics: xds_metrics,
        };
        let kept = Arc::clone(&store);
        let evidence: EvidenceSource = Arc::new(move || evidence.snapshot());
        let writer = writer(WriterParts {
            store: Arc::clone(&store),
            vault: Arc::clone(&vault),
            serving: serving.clone(),
            evidence: Arc::clone(&evidence),
            issuing: config.ca.issuing(),
        });
        let webhook = (cluster.webhook(&config, &*store, &vault, &writer)).await?;
        let context = ApiContext {
            serving: serving.clone(),
            reports: reports.clone(),
            evidence,
            writer,
            tokens,
            store,
            metrics,
            roster: replicas.roster(),
            replica: Arc::clone(&replica.name),
            xds_ca_pem: identity.ca_pem(),
            config: Arc::new(config),
            ready: ready.clone(),
        };
        let app = Self {
            bound,
            reports,
            ready,
            serving,
            shutdown: shutdown.clone(),
            tasks,
            store: kept,
            name: replica.name,
            _lock: lock,
        };
        let tls = identity.config()?;
        app.spawn("reconciler", always(reconciler.run(shutdown.clone())));
        app.spawn("replicas", replicas.run(shutdown.clone()));
        app.spawn(
            "xds",
            xds::serve(listeners.xds, tls, xds_parts, shutdown.clone()),
        );
        app.spawn("xds certificate", keep_fresh(identity, shutdown));
        app.spawn_webhook(listeners.webhook, webhook);
        app.spawn_public_admin(listeners.admin_public, public, &context);
        let (api, admin) = (listeners.api, listeners.admin);
        app.spawn_http(api, admin, listeners.diagnostics, &context);
        app.tasks.close();
        Ok(app)
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// What is served.
    #[must_use]
    pub fn serving(&self) -> Watch {
        self.serving.clone()
    }

    /// How the source stands.
    #[must_use]
    pub fn reports(&self) -> ReportWatch {
        self.reports.clone()
    }

    /// Becomes true with the first snapshot that is reconciled.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    /// Resolves when a part has failed for good and the daemon comes to an end.
    pub async fn failed(&self) {
        self.shutdown.cancelled().await;
    }

    /// Stops accepting, finishes what is under way, and closes the store.
    pub async fn stop(self) {
        info!("stopping");
        self.shutdown.cancel();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                seconds = DRAIN.as_secs(),
                "some tasks did not come to an end in time"
            );
        }
        // Who cannot be told notices.
        let _ = tokio::time::timeout(FAREWELL, self.store.forget_replica(&self.name)).await;
        self.store.close().await;
        info!("stopped");
    }

    /// Runs the admission webhook, where there is one.
    fn spawn_webhook(&self, listener: Option<TcpListener>, parts: Option<webhook::Parts>) {
        if let (Some(listener), Some(parts)) = (listener, parts) {
            let serve = webhook::serve(listener, parts, self.shutdown.clone());
            self.spawn("admission webhook", serve);
        }
    }

    /// Runs the admin server for other machines, where there is one.
    fn spawn_public_admin(
        &self,
        listener: Option<TcpListener>,
        tls: Option<PublicTls>,
        context: &ApiContext,
    ) {
        if let (Some(listener), Some(tls)) = (listener, tls) {
            let (context, shutdown) = (context.clone(), self.shutdown.clone());
            let serve = api::serve_public_admin(listener, tls, context, shutdown);
            self.spawn("public admin", serve);
        }
    }

    /// Runs the three HTTP servers.
    fn spawn_http(
        &self,
        api: TcpListener,
        admin: TcpListener,
        diagnostics: TcpListener,
        context: &ApiContext,
    ) {
        let own = || (context.clone(), self.shutdown.clone());
        let (context, shutdown) = own();
        self.spawn("api", api::serve_api(api, context, shutdown));
        let (context, shutdown) = own();
        self.spawn("admin", api::serve_admin(admin, context, shutdown));
        let (context, shutdown) = own();
        let diagnostics = api::serve_diagnostics(diagnostics, context, shutdown);
        self.spawn("diagnostics", diagnostics);
    }

    /// Runs a part. One that ends before the daemon does takes it with it:
    /// half a control plane is worse than a restart.
    fn spawn<E>(
        &self,
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let guard = shutdown.clone().drop_guard();
            if let Err(error) = work.await {
                tracing::error!(part, error = %crate::telemetry::chain(&error), "failed");
            } else if !shutdown.is_cancelled() {
                tracing::error!(part, "ended by itself");
            }
            drop(guard);
        });
    }
}

/// What carries out calls, those included that someone made past Windlass.
fn writer(parts: WriterParts) -> Arc<Writer> {
    let store = Arc::clone(&parts.store);
    let writer = Arc::new(Writer::new(parts));
    store.adopt_with(Arc::new(Adoption::by(Arc::clone(&writer))));
    writer
}

/// What proxies have acknowledged before, on the board of this replica.
async fn evidence_board(
    config: &Config,
    replica: &Replica,
    store: &dyn Store,
    current: &Current,
) -> Result<EvidenceBoard, AppError> {
    let known = store.evidence_since(EvidenceMark(0)).await?;
    let leaf_lifetime = config.ca.leaf_lifetime;
    let board = EvidenceBoard::restore(known, &replica.name, leaf_lifetime, clock::now());
    board.compare(current);
    Ok(board)
}

fn xds_config(config: &Config) -> XdsConfig {
    XdsConfig {
        issuing: config.ca.issuing(),
        leaf_key: config.ca.leaf_key,
    }
}

async fn keep_fresh(
    identity: Arc<ServerIdentity>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    shutdown.run_until_cancelled(identity.keep_fresh()).await;
    Ok(())
}

/// A part that does not fail.
async fn always(work: impl Future<Output = ()>) -> Result<(), Infallible> {
    work.await;
    Ok(())
}
