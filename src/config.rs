//! Configuration: one YAML file, the environment over it, flags over that.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ca::LeafKey;

/// The daemon's configuration, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Windlass keeps what it makes itself.
    pub state_dir: PathBuf,
    /// `source.*`; `None` where `source.repo` is not set (`run` needs it, `plan --config` does not).
    pub source: Option<SourceConfig>,
    /// `store.*`
    pub store: StoreConfig,
    /// `store.encryption.identityFile`
    pub encryption_identity: PathBuf,
    /// `general.advertisedHostname`
    pub advertised_hostname: Option<String>,
    /// `api.interface` and `api.port`
    pub api: SocketAddr,
    /// 127.0.0.1 and `admin.local.port`
    pub admin_local: SocketAddr,
    /// `xds.interface` and `xds.port`
    pub xds: SocketAddr,
    /// 127.0.0.1 and `diagnostics.port`
    pub diagnostics: SocketAddr,
    /// `ca.*`
    pub ca: CaConfig,
}

/// `source.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// A URL or a local path.
    pub repo: String,
    /// The branch; the repository's HEAD where not set.
    pub branch: Option<String>,
    /// The folder inside the repository, `.` for all of it.
    pub path: String,
    /// How often to look, beside watching a local repository.
    pub poll_interval: Duration,
    /// The age identities (or SSH private keys) that sealed keys are opened with.
    pub decryption_identity: Option<PathBuf>,
}

/// `store.*`
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreConfig {
    /// The embedded store.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
}

/// `ca.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaConfig {
    /// How long a leaf lives.
    pub leaf_lifetime: Duration,
    /// The kind of a leaf's key.
    pub leaf_key: LeafKey,
}
