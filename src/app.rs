//! The composition root: builds every part, starts and drains the tasks.

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::api::{self, ApiContext, EvidenceSource, Writer, WriterParts};
use crate::clock;
use crate::config::{Config, EncryptionConfig, SourceConfig, StoreConfig};
use crate::model::{Current, SourceName};
use crate::reconcile::report::ReportWatch;
use crate::reconcile::{Parts, Reconciler};
use crate::source::decryption::Identities;
use crate::state::{Publisher, Watch};
use crate::store::encryption::{Vault, VaultError};
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{EvidenceMark, Store};
use crate::telemetry::Metrics;
use crate::token::Keyring;
use crate::xds::evidence::EvidenceBoard;
use crate::xds::tls::ServerIdentity;
use crate::xds::{self, XdsConfig};

mod error;
mod listeners;

pub use error::AppError;
pub use listeners::{Bound, Listeners};

/// How long the tasks have to come to an end.
const DRAIN: Duration = Duration::from_secs(10);
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
    pub async fn start(mut config: Config) -> Result<Self, AppError> {
        let source = config.source.clone().ok_or(AppError::NoSource)?;
        let Foundation {
            lock,
            identities,
            vault,
            store,
            tokens,
            identity,
        } = Foundation::lay(&config, &source).await?;
        let current = Arc::new(store.load().await?);
        let evidence = Arc::new(evidence_board(&config, &*store, &current).await?);
        let mut metrics = Metrics::new();
        let xds_metrics = xds::XdsMetrics::register(metrics.registry_mut());
        let metrics = Arc::new(metrics);

        let publisher = Arc::new(Publisher::new(Arc::clone(&store), Arc::clone(&vault)));
        publisher.publish(Arc::clone(&current)).await;
        let name: SourceName = SOURCE.parse().map_err(|_| AppError::NoSource)?;
        let applied = store.source_status(&name).await?;
        let applied = applied.and_then(|status| status.applied);
        let (sync, written) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
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
            sync: Arc::clone(&sync),
            written: Arc::clone(&written),
        };
        let reconciler = Reconciler::new(parts, current, applied);
        let (reports, ready) = (reconciler.reports(), reconciler.ready());

        let listeners = Listeners::bind(&config).await?;
        let bound = listeners.announce(&mut config)?;
        let serving = publisher.subscribe();
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let xds_parts = xds::Parts {
            state: serving.clone(),
            tokens: Arc::clone(&tokens),
            vault: Arc::clone(&vault),
            evidence: Arc::clone(&evidence),
            store: Arc::clone(&store),
            config: xds_config(&config),
            metrics: xds_metrics,
        };
        let kept = Arc::clone(&store);
        let evidence: EvidenceSource = Arc::new(move || evidence.snapshot());
        let writer = Writer::new(WriterParts {
            store: Arc::clone(&store),
            vault,
            serving: serving.clone(),
            evidence: Arc::clone(&evidence),
            written,
            issuing: config.ca.issuing(),
        });
        let context = ApiContext {
            serving: serving.clone(),
            reports: reports.clone(),
            evidence,
            writer: Arc::new(writer),
            tokens,
            store,
            metrics,
            sync,
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
            _lock: lock,
        };
        let tls = identity.config()?;
        app.spawn("reconciler", always(reconciler.run(shutdown.clone())));
        app.spawn(
            "xds",
            xds::serve(listeners.xds, tls, xds_parts, shutdown.clone()),
        );
        app.spawn("xds certificate", keep_fresh(identity, shutdown));
        app.spawn_http(
            listeners.api,
            listeners.admin,
            listeners.diagnostics,
            &context,
        );
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
        self.store.close().await;
        info!("stopped");
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

/// What proxies have acknowledged before, on the board of this instance.
async fn evidence_board(
    config: &Config,
    store: &dyn Store,
    current: &Current,
) -> Result<EvidenceBoard, AppError> {
    let instance = match &config.instance_id {
        Some(id) => id.clone(),
        None => hostname::get()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    };
    let known = store.evidence_since(EvidenceMark(0)).await?;
    let leaf_lifetime = config.ca.leaf_lifetime;
    let board = EvidenceBoard::restore(known, &instance, leaf_lifetime, clock::now());
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

/// What is kept between two runs, and what nothing else can do without.
struct Foundation {
    lock: File,
    identities: Identities,
    vault: Arc<Vault>,
    store: Arc<dyn Store>,
    tokens: Arc<Keyring>,
    identity: Arc<ServerIdentity>,
}

impl Foundation {
    /// Opens all of it, and makes what the first run makes.
    async fn lay(config: &Config, source: &SourceConfig) -> Result<Self, AppError> {
        create_state_dir(&config.state_dir)?;
        let lock = lock(&config.state_dir)?;
        let identities = match &source.decryption_identity {
            Some(path) => Identities::load(path).map_err(AppError::DecryptionIdentity)?,
            None => Identities::none(),
        };
        let vault = open_vault(config).map_err(AppError::Vault)?;
        let vault = Arc::new(vault);
        let store = open_store(&config.store).await?;
        let tokens = Keyring::load_or_create(store.as_ref(), &vault).await;
        let tokens = Arc::new(tokens.map_err(AppError::Tokens)?);
        let names = xds::tls::server_names(config.advertised_hostname.as_deref());
        let identity =
            ServerIdentity::open_or_create(store.as_ref(), &vault, names, clock::now()).await?;
        identity.write_ca(&config.state_dir.join("xds-ca.pem"))?;
        let identity = Arc::new(identity);
        Ok(Self {
            lock,
            identities,
            vault,
            store,
            tokens,
            identity,
        })
    }
}

/// Opens the identity that keys are kept with, and makes it on the first run.
/// Once there is a store, a missing identity is lost, not new: another one
/// would open none of its keys.
fn open_vault(config: &Config) -> Result<Vault, VaultError> {
    match (&config.encryption, &config.store) {
        (EncryptionConfig::None, _) => Ok(Vault::none()),
        (EncryptionConfig::Identity(identity), StoreConfig::Sqlite { path }) if !path.exists() => {
            Vault::open_or_create(identity)
        }
        (EncryptionConfig::Identity(identity), _) => Vault::open(identity),
    }
}

/// Opens the store that the configuration names.
///
/// # Errors
///
/// Fails when it cannot be opened.
pub async fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, AppError> {
    match config {
        StoreConfig::Sqlite { path } => Ok(Arc::new(SqliteStore::open(path).await?)),
        StoreConfig::Postgres(config) => Ok(Arc::new(PostgresStore::open(config).await?)),
    }
}

/// Opens the store that the configuration names to read it; it must be there.
///
/// # Errors
///
/// Fails when there is none or it cannot be opened.
pub async fn open_existing_store(config: &StoreConfig) -> Result<Arc<dyn Store>, AppError> {
    let path = match config {
        StoreConfig::Sqlite { path } => path,
        StoreConfig::Postgres(config) => {
            return Ok(Arc::new(PostgresStore::open_for_reading(config).await?));
        }
    };
    if let Err(source) = fs::metadata(path) {
        return Err(AppError::NoStore {
            path: path.clone(),
            source,
        });
    }
    Ok(Arc::new(SqliteStore::open_for_reading(path).await?))
}

fn create_state_dir(path: &Path) -> Result<(), AppError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| AppError::StateDir {
            path: path.to_owned(),
            source,
        })
}

/// Two daemons on one state folder would serve two truths.
fn lock(state_dir: &Path) -> Result<File, AppError> {
    let path: PathBuf = state_dir.join("windlass.lock");
    let failed = |source: io::Error| AppError::StateDir {
        path: path.clone(),
        source,
    };
    // Whoever else could open it could hold the lock.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AppError::Locked {
            path: state_dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
