//! Why the daemon does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::api::PublicTlsError;
use crate::model::InvalidName;
use crate::replicas::NameTaken;
use crate::source::decryption::IdentityError;
use crate::store::StoreError;
use crate::store::encryption::VaultError;
use crate::token::KeyringError;
use crate::xds::tls::TlsError;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// There is nothing to reconcile.
    #[error("invalid configuration: source.repo: must be set")]
    NoSource,
    /// The state folder cannot be used.
    #[error("failed to use the state folder `{path}`")]
    StateDir {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon runs on the same state folder.
    #[error("another windlass runs on the state folder `{path}`")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The identity that opens sealed keys cannot be read.
    #[error("invalid configuration: source.decryption.identityFile")]
    DecryptionIdentity(#[source] IdentityError),
    /// The identity that keys are kept with cannot be read or made.
    #[error("invalid configuration: store.encryption.identityFile")]
    Vault(#[source] VaultError),
    /// There is no store where the configuration says.
    #[error("there is no store at `{path}`")]
    NoStore {
        /// The database file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Kubernetes cluster is not found.
    #[error("failed to find the Kubernetes cluster")]
    Cluster(#[source] StoreError),
    /// The namespace of the control plane has no good name.
    #[error("invalid configuration: store.kubernetes.namespace")]
    Namespace(#[source] InvalidName),
    /// Another replica has the name of this one.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The keys that sign tokens cannot be had.
    #[error("failed to load the token signing keys")]
    Tokens(#[source] KeyringError),
    /// The certificate of the xDS server or of the admission webhook cannot be had.
    #[error("failed to load a server's certificate")]
    XdsIdentity(#[from] TlsError),
    /// The admin server for other machines cannot be proved, or cannot know its clients.
    #[error("invalid configuration: admin.public")]
    AdminPublic(#[source] PublicTlsError),
    /// A port cannot be had.
    #[error("failed to listen on {address} ({what})")]
    Bind {
        /// What for, with the key of the setting.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl AppError {
    /// How to mend it, where there is a way to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSource => Some(
                "set `source.repo` in the file given with --config, or WINDLASS_SOURCE_REPO"
                    .to_owned(),
            ),
            Self::Locked { .. } => {
                Some("stop it first, or give this one another --state-dir".to_owned())
            }
            Self::Bind { what, source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
                format!("stop what listens there, or set another port ({what})"),
            ),
            Self::NoStore { .. } => Some(
                "`windlass run` makes it; where it has a --state-dir, set WINDLASS_STATE_DIR to \
                 the same; or compare with a revision (--base)"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
