//! Configuration: one YAML file, the environment over it, flags over that.
//!
//! [`load`] is the only way to a [`Config`], so one that exists is complete
//! and valid. The settings are in one table, `config/keys.rs`, which the
//! documentation follows.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ca::{Issuing, LeafKey};
use crate::store::kubernetes::KubernetesSettings;
use crate::store::postgres::PostgresConfig;

mod build;
mod environment;
mod file;
mod keys;
mod reference;

pub use environment::process_environment;
pub use reference::reference;

/// What flags say, over file and environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// Settings by key, such as `source.repo`.
    pub settings: BTreeMap<String, String>,
}

/// A configuration that the program does not start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown or has a bad value.
    #[error("invalid configuration: {subject}: {problem}{place}")]
    Invalid {
        /// The key or variable.
        subject: String,
        /// What is wrong. It holds no value: that may be a credential.
        problem: String,
        /// Where it was set.
        place: Place,
    },
    /// Nobody says where the state folder is.
    #[error("no state folder: set --state-dir, WINDLASS_STATE_DIR, XDG_STATE_HOME or HOME")]
    NoStateDir,
}

/// Where a setting comes from. Its `Display` form ends an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not known.
        line: u64,
    },
    /// That variable.
    Variable(String),
    /// The environment; the error names the variable already.
    Environment,
    /// A flag.
    Flag,
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0 } => write!(f, " ({})", path.display()),
            Self::File { path, line } => write!(f, " ({}:{line})", path.display()),
            Self::Variable(name) => write!(f, " ({name})"),
            Self::Environment => f.write_str(" (environment)"),
            Self::Flag => f.write_str(" (flag)"),
            Self::Default => Ok(()),
        }
    }
}

/// One setting, not yet looked at.
#[derive(Debug)]
struct Setting {
    key: &'static keys::Key,
    value: String,
    place: Place,
}

/// Reads the configuration.
///
/// # Errors
///
/// The first thing that is wrong: in the file, then in the environment, then
/// among the flags, then with a value.
pub fn load(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let mut settings = match file {
        Some(path) => file::read(path)?,
        None => Vec::new(),
    };
    settings.extend(environment::read(environment)?);
    for (path, value) in &overrides.settings {
        let key = keys::find(path).ok_or_else(|| ConfigError::Invalid {
            subject: path.clone(),
            problem: "unknown key".to_owned(),
            place: Place::Flag,
        })?;
        settings.push(Setting {
            key,
            value: value.clone(),
            place: Place::Flag,
        });
    }
    build::Settings::new(state_dir(environment, overrides)?, settings).build()
}

/// The state folder: flag, variable, XDG.
fn state_dir(
    environment: &BTreeMap<String, String>,
    overrides: &Overrides,
) -> Result<PathBuf, ConfigError> {
    let variable = |name: &str| {
        let value = environment.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let xdg = || {
        // XDG Base Directory: a relative path is invalid and ignored.
        let home = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = home.or_else(|| Some(variable("HOME")?.join(".local/state")));
        Some(home?.join("windlass"))
    };
    overrides
        .state_dir
        .clone()
        .or_else(|| variable("WINDLASS_STATE_DIR"))
        .or_else(xdg)
        .ok_or(ConfigError::NoStateDir)
}

/// The daemon's configuration, complete and valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where Windlass keeps what it makes itself.
    pub state_dir: PathBuf,
    /// `source.*`; `None` where `source.repo` is not set (`run` needs it, `plan --config` does not).
    pub source: Option<SourceConfig>,
    /// `store.*`
    pub store: StoreConfig,
    /// `store.encryption.*`
    pub encryption: EncryptionConfig,
    /// `general.advertisedHostname`
    pub advertised_hostname: Option<String>,
    /// `general.instanceId`
    pub instance_id: Option<String>,
    /// `api.interface` and `api.port`
    pub api: SocketAddr,
    /// 127.0.0.1 and `admin.local.port`
    pub admin_local: SocketAddr,
    /// `admin.public.*`; `None` where it is not enabled.
    pub admin_public: Option<AdminPublicConfig>,
    /// `xds.interface` and `xds.port`
    pub xds: SocketAddr,
    /// `diagnostics.interface` and `diagnostics.port`
    pub diagnostics: SocketAddr,
    /// What Windlass does in a Kubernetes cluster beside a store in it.
    pub cluster: ClusterConfig,
    /// `ca.*`
    pub ca: CaConfig,
}

/// `source.*`
#[derive(Clone, PartialEq, Eq)]
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

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password or a token before its host.
        let repo = match self.repo.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}{path}")
            }
            None => self.repo.clone(),
        };
        f.debug_struct("SourceConfig")
            .field("repo", &repo)
            .field("branch", &self.branch)
            .field("path", &self.path)
            .field("poll_interval", &self.poll_interval)
            .field("decryption_identity", &self.decryption_identity)
            .finish()
    }
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
    /// A Postgres server, which several replicas may share.
    Postgres(PostgresConfig),
    /// A namespace of a Kubernetes cluster, which several replicas share.
    Kubernetes(KubernetesSettings),
}

/// `store.encryption.*`: how private keys are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncryptionConfig {
    /// Sealed to the age identity in this file.
    Identity(PathBuf),
    /// In clear, because whoever runs Windlass said so.
    None,
}

/// What Windlass does in a Kubernetes cluster beside a store in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterConfig {
    /// `store.kubernetes.*`: where the cluster is, whatever the store.
    pub access: KubernetesSettings,
    /// `xds.serviceAccountTokens.*`; `None` where no such token is taken.
    pub accounts: Option<AccountsConfig>,
    /// `webhook.*`; `None` where there is none.
    pub webhook: Option<WebhookConfig>,
}

/// `xds.serviceAccountTokens.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsConfig {
    /// What a token must be meant for.
    pub audience: String,
    /// How long the API server's word is kept.
    pub cache_for: Duration,
}

/// `admin.public.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPublicConfig {
    /// `admin.public.interface` and `admin.public.port`
    pub address: SocketAddr,
    /// The server's certificate.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The certificates of those who are let in.
    pub client_certs_dir: PathBuf,
}

/// `webhook.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `webhook.interface` and `webhook.port`
    pub address: SocketAddr,
    /// The Service that the API server reaches it by.
    pub service: String,
    /// The ValidatingWebhookConfiguration that is given its CA.
    pub configuration: String,
    /// How long its certificate lives.
    pub certificate_lifetime: Duration,
}

/// `ca.*`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaConfig {
    /// How long a leaf lives.
    pub leaf_lifetime: Duration,
    /// How many leaves are reissued per second where another authority signs.
    pub reissue_rate: NonZeroU32,
    /// The kind of a leaf's key.
    pub leaf_key: LeafKey,
}

impl CaConfig {
    /// How leaves are issued.
    #[must_use]
    pub fn issuing(&self) -> Issuing {
        Issuing {
            leaf_lifetime: self.leaf_lifetime,
            reissue_rate: self.reissue_rate,
        }
    }
}
