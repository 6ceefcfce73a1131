//! The sockets, all bound before anything is served.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::AppError;
use crate::config::Config;

/// The file in the state folder that says where the daemon listens.
const FILE: &str = "listeners.json";

/// The sockets.
#[derive(Debug)]
pub struct Listeners {
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) admin_public: Option<TcpListener>,
    pub(super) xds: TcpListener,
    pub(super) diagnostics: TcpListener,
    pub(super) webhook: Option<TcpListener>,
}

/// Where they are. With port 0 in the configuration, this is how to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The HTTP API.
    pub api: SocketAddr,
    /// The admin server.
    pub admin: SocketAddr,
    /// The admin server for other machines, where there is one.
    #[serde(
        default,
        rename = "adminPublic",
        skip_serializing_if = "Option::is_none"
    )]
    pub admin_public: Option<SocketAddr>,
    /// The xDS server.
    pub xds: SocketAddr,
    /// Health and metrics.
    pub diagnostics: SocketAddr,
    /// The admission webhook, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<SocketAddr>,
}

impl Listeners {
    /// Binds all of them, or none.
    pub(super) async fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self {
            api: bind("api.port", config.api).await?,
            admin: bind("admin.local.port", config.admin_local).await?,
            admin_public: match &config.admin_public {
                Some(public) => Some(bind("admin.public.port", public.address).await?),
                None => None,
            },
            xds: bind("xds.port", config.xds).await?,
            diagnostics: bind("diagnostics.port", config.diagnostics).await?,
            webhook: match &config.cluster.webhook {
                Some(webhook) => Some(bind("webhook.port", webhook.address).await?),
                None => None,
            },
        })
    }

    /// Says where they are: in `listeners.json`, and in the configuration for
    /// whoever tells others. With port 0, that is not what was asked for.
    pub(super) fn announce(&self, config: &mut Config) -> Result<Bound, AppError> {
        let bound = self.bound()?;
        bound.write(&config.state_dir)?;
        config.api = bound.api;
        config.admin_local = bound.admin;
        if let (Some(public), Some(address)) = (&mut config.admin_public, bound.admin_public) {
            public.address = address;
        }
        config.xds = bound.xds;
        config.diagnostics = bound.diagnostics;
        Ok(bound)
    }

    fn bound(&self) -> Result<Bound, AppError> {
        let local = |what, listener: &TcpListener, wanted| {
            listener.local_addr().map_err(|source| AppError::Bind {
                what,
                address: wanted,
                source,
            })
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Bound {
            api: local("api.port", &self.api, any)?,
            admin: local("admin.local.port", &self.admin, any)?,
            admin_public: match &self.admin_public {
                Some(public) => Some(local("admin.public.port", public, any)?),
                None => None,
            },
            xds: local("xds.port", &self.xds, any)?,
            diagnostics: local("diagnostics.port", &self.diagnostics, any)?,
            webhook: match &self.webhook {
                Some(webhook) => Some(local("webhook.port", webhook, any)?),
                None => None,
            },
        })
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AppError::Bind {
            what,
            address,
            source,
        })
}

impl Bound {
    /// Writes `listeners.json` into the state folder, whole or not at all.
    fn write(&self, state_dir: &Path) -> Result<(), AppError> {
        let path = state_dir.join(FILE);
        let write = || -> io::Result<()> {
            let temporary = path.with_extension("json.new");
            // Whatever the umask: others may read it and no more.
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .open(&temporary)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|source| AppError::StateDir {
            path: path.clone(),
            source,
        })
    }
}
