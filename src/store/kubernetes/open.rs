//! Finding the cluster: the pod's own service account, or a kubeconfig.

use std::fmt;
use std::path::{Path, PathBuf};

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use zeroize::Zeroizing;

use super::KubernetesStore;
use crate::store::StoreError;

/// The namespace where nothing names another one.
const NAMESPACE: &str = "windlass-system";

/// `store.kubernetes.*`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KubernetesSettings {
    /// The namespace of the control plane. Where not set, the one of the pod's
    /// service account; outside of a cluster `windlass-system`.
    pub namespace: Option<String>,
    /// A kubeconfig file; the pod's own service account where not set.
    pub kubeconfig: Option<PathBuf>,
    /// The context in that file; its current one where not set.
    pub context: Option<String>,
}

/// What a cluster is not found for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The kubeconfig cannot be used.
    #[error(
        "the kubeconfig `{path}` cannot be used; \
         check `store.kubernetes.kubeconfig` and `store.kubernetes.context`"
    )]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// There is no service account of a pod.
    #[error(
        "this is no pod of a Kubernetes cluster; \
         name a kubeconfig with `store.kubernetes.kubeconfig`, or mount the service account's token"
    )]
    NotInCluster {
        /// Why.
        source: Box<InClusterError>,
    },
    /// The client cannot be made.
    #[error("the Kubernetes API server at {server} cannot be used")]
    Client {
        /// Its address.
        server: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl KubernetesStore {
    /// Opens the store in the cluster that `settings` name. Whether it is
    /// there, and whether this control plane may use it, is asked at once.
    ///
    /// # Errors
    ///
    /// Fails where the cluster is not found, does not answer, or does not let
    /// this control plane read its own records.
    pub async fn open(settings: &KubernetesSettings) -> Result<Self, StoreError> {
        let store = Self::connect(settings).await?;
        super::ledger::read_head(&store.cluster, "open the store").await?;
        Ok(store)
    }

    async fn connect(settings: &KubernetesSettings) -> Result<Self, StoreError> {
        let found = Connection::open(settings).await?;
        Ok(Self::new(found.client, &found.namespace, &found.server))
    }
}

/// A client of the cluster, and who it is for.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace of the control plane.
    pub namespace: String,
    /// The server's address, for errors.
    pub server: String,
    /// The user name of Windlass there, where it is a service account.
    pub account: Option<String>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {} of {}", self.namespace, self.server)
    }
}

impl Connection {
    /// Finds the cluster that `settings` name. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// Fails where nothing says where it is.
    pub async fn open(settings: &KubernetesSettings) -> Result<Self, StoreError> {
        let found = find(settings).await;
        let (config, in_cluster) = found.map_err(|source| StoreError::Open {
            at: match &settings.kubeconfig {
                Some(path) => format!("the cluster of {}", path.display()),
                None => "the cluster of this pod".to_owned(),
            },
            source: source.into(),
        })?;
        let namespace = match (&settings.namespace, in_cluster) {
            (Some(namespace), _) => namespace.clone(),
            (None, true) => config.default_namespace.clone(),
            (None, false) => NAMESPACE.to_owned(),
        };
        let server = address(&config);
        let account = own_account(&config.auth_info);
        let client = Client::try_from(config).map_err(|source| StoreError::Open {
            at: format!("namespace {namespace} of {server}"),
            source: OpenError::Client {
                server: server.clone(),
                source: Box::new(source),
            }
            .into(),
        })?;
        Ok(Self {
            client,
            namespace,
            server,
            account,
        })
    }
}

/// Whose token is used, by the token's own words: it is our own.
fn own_account(auth: &kube::config::AuthInfo) -> Option<String> {
    use age::secrecy::ExposeSecret as _;
    let token = match (&auth.token, &auth.token_file) {
        (Some(token), _) => Zeroizing::new(token.expose_secret().to_owned()),
        (None, Some(path)) => Zeroizing::new(std::fs::read_to_string(path).ok()?),
        (None, None) => return None,
    };
    crate::kubernetes::accounts::subject(token.trim())
}

/// How to talk to the cluster, and whether this is a pod in it.
async fn find(settings: &KubernetesSettings) -> Result<(Config, bool), OpenError> {
    let (mut config, in_cluster) = if let Some(path) = &settings.kubeconfig {
        let config = from_file(path, settings.context.clone()).await;
        let config = config.map_err(|source| OpenError::Kubeconfig {
            path: path.clone(),
            source: Box::new(source),
        })?;
        (config, false)
    } else {
        let config = Config::incluster();
        let config = config.map_err(|source| OpenError::NotInCluster {
            source: Box::new(source),
        })?;
        (config, true)
    };
    // A busy server says so (429). What is sent twice is done once: it names
    // the version that it replaces.
    config.default_retry = true;
    config.connect_timeout = Some(super::cluster::CONNECT);
    Ok((config, in_cluster))
}

async fn from_file(path: &Path, context: Option<String>) -> Result<Config, KubeconfigError> {
    let file = Kubeconfig::read_from(path)?;
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(file, &options).await
}

/// The server's address without anything that could be a credential.
fn address(config: &Config) -> String {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default();
    match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
