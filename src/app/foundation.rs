//! What the daemon stands on: the state folder, keys and the store.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::AppError;
use crate::clock;
use crate::config::{Config, EncryptionConfig, SourceConfig, StoreConfig};
use crate::replicas;
use crate::source::decryption::Identities;
use crate::store::encryption::{Vault, VaultError};
use crate::store::kubernetes::KubernetesStore;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Replica, Store};
use crate::token::Keyring;
use crate::xds;
use crate::xds::tls::ServerIdentity;

/// How long a store may take to be there.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is kept between two runs, and what nothing else can do without.
pub(super) struct Foundation {
    pub(super) lock: File,
    pub(super) identities: Identities,
    pub(super) vault: Arc<Vault>,
    pub(super) store: Arc<dyn Store>,
    /// Whether other replicas may share it.
    pub(super) shared: bool,
    /// This replica.
    pub(super) replica: Replica,
    pub(super) tokens: Arc<Keyring>,
    pub(super) identity: Arc<ServerIdentity>,
}

impl Foundation {
    /// Opens all of it, and makes what the first run makes.
    pub(super) async fn lay(config: &Config, source: &SourceConfig) -> Result<Self, AppError> {
        create_state_dir(&config.state_dir)?;
        let lock = lock(&config.state_dir)?;
        let identities = match &source.decryption_identity {
            Some(path) => Identities::load(path).map_err(AppError::DecryptionIdentity)?,
            None => Identities::none(),
        };
        let vault = open_vault(config).map_err(AppError::Vault)?;
        if matches!(config.encryption, EncryptionConfig::None) {
            tracing::warn!("private keys are kept in clear: store.encryption.none is set");
        }
        let vault = Arc::new(vault);
        let store = wait_for_store(&config.store).await?;
        let shared = !matches!(config.store, StoreConfig::Sqlite { .. });
        let replica = replica(config, &vault);
        if shared {
            replicas::enter(&*store, &replica).await??;
        }
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
            shared,
            replica,
            tokens,
            identity,
        })
    }
}

/// This run of this replica.
fn replica(config: &Config, vault: &Vault) -> Replica {
    let host = || hostname::get().unwrap_or_default();
    let name =
        (config.instance_id.clone()).unwrap_or_else(|| host().to_string_lossy().into_owned());
    let run: u64 = StdRng::from_os_rng().random();
    Replica {
        name: name.into(),
        run: format!("{run:016x}").into(),
        since: clock::now(),
        recipients: vault.recipients(),
        leads: false,
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

/// Opens the store that the configuration names. A server that is not there yet
/// is waited for: it may be started at the same time.
async fn wait_for_store(config: &StoreConfig) -> Result<Arc<dyn Store>, AppError> {
    match config {
        StoreConfig::Postgres(config) => {
            let opened = PostgresStore::open_within(config, PATIENCE);
            Ok(Arc::new(opened.await?))
        }
        other => open_store(other).await,
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
        StoreConfig::Kubernetes(config) => Ok(Arc::new(KubernetesStore::open(config).await?)),
    }
}

/// Opens the store that the configuration names to read it; it must be there.
///
/// # Errors
///
/// Fails when there is none or it cannot be opened.
pub async fn open_existing_store(config: &StoreConfig) -> Result<Arc<dyn Store>, AppError> {
    match config {
        StoreConfig::Sqlite { path } => {
            must_exist(path)?;
            Ok(Arc::new(SqliteStore::open_for_reading(path).await?))
        }
        StoreConfig::Postgres(config) => {
            Ok(Arc::new(PostgresStore::open_for_reading(config).await?))
        }
        // Nothing is made there before something is written.
        StoreConfig::Kubernetes(config) => Ok(Arc::new(KubernetesStore::open(config).await?)),
    }
}

/// Opens the store that the configuration names, and the identities that it is
/// sealed to, beside a control plane that runs; both must be there.
///
/// # Errors
///
/// Fails when one of them is missing or cannot be opened.
pub async fn open_to_rekey(config: &Config) -> Result<(Arc<dyn Store>, Vault), AppError> {
    if let StoreConfig::Sqlite { path } = &config.store {
        must_exist(path)?;
    }
    let vault = open_vault(config).map_err(AppError::Vault)?;
    Ok((open_store(&config.store).await?, vault))
}

fn must_exist(path: &Path) -> Result<(), AppError> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(AppError::NoStore {
            path: path.to_owned(),
            source,
        }),
    }
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
