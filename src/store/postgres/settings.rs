//! Where the server is and how it is reached.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::PrivateKey;

/// How to reach a Postgres server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// Its name or address, or the folder of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The role that Windlass has there.
    pub user: String,
    /// The password of that role.
    pub password: Password,
    /// The database.
    pub db_name: String,
    /// How the connection is secured.
    pub tls: PostgresTls,
    /// How long making a connection may take.
    pub connection_timeout: Duration,
    /// How many connections there are at most, beside one that listens and one
    /// that leads.
    pub max_open_connections: u32,
}

/// Where the password comes from. It does not print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    None,
    /// This one.
    Value(PrivateKey),
    /// The first line of this file.
    File(PathBuf),
}

/// How the connection is secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresTls {
    /// What is checked.
    pub mode: TlsMode,
    /// The authorities that the server's certificate must come from, in PEM.
    pub ca_path: Option<PathBuf>,
    /// What Windlass proves itself with: a certificate and its key, in PEM.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, with those between it and the root.
    pub cert_path: PathBuf,
    /// The key.
    pub key_path: PathBuf,
}

/// What is checked of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// There is no TLS.
    Disable,
    /// Nothing.
    VerifyNone,
    /// That it comes from the given authority.
    VerifyCa,
    /// That, and that it names the host.
    VerifyFull,
}

impl TlsMode {
    /// Every mode with its name in the configuration.
    pub const ALL: [Self; 4] = [
        Self::Disable,
        Self::VerifyNone,
        Self::VerifyCa,
        Self::VerifyFull,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::VerifyNone => "verifyNone",
            Self::VerifyCa => "verifyCa",
            Self::VerifyFull => "verifyFull",
        }
    }

    /// Whether the server's certificate is checked against an authority.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PostgresConfig {
    /// Whether the server listens on a Unix socket, in the folder `host`.
    #[must_use]
    pub fn is_local_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether what is sent to the server can be read on the way.
    pub(super) fn is_exposed(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        let is_near = self.is_local_socket()
            || self.host == "localhost"
            || address.is_ok_and(|address| address.is_loopback());
        self.tls.mode == TlsMode::Disable && !is_near
    }
}
