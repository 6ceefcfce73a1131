//! TLS of the admin server for other machines: its own certificate, and the
//! folder of those who are let in.
//!
//! Both are looked at again for every connection and read anew when a file has
//! changed, so a client comes and goes without a restart. No session is
//! resumed: a client that is taken out of the folder is not let in again.

mod clients;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;
use zeroize::Zeroizing;

use crate::config::AdminPublicConfig;
use crate::telemetry;
use clients::Clients;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// The most certificates of clients.
const MAX_CLIENTS: usize = 4096;

/// Why the public admin server cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicTlsError {
    /// A file or the folder cannot be read.
    #[error("{key}: failed to read `{path}`")]
    Read {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{key}: `{path}` holds no {what} in PEM")]
    NotPem {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// More clients than are looked through.
    #[error("clientCertsDir: `{path}` holds more than 4096 `.pem` files")]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or the TLS library refuses one.
    #[error("tls.certFile and tls.keyFile cannot be used together")]
    Tls(#[source] rustls::Error),
    /// An authority in the folder cannot be used.
    #[error("clientCertsDir: an authority in `{path}` cannot be used: {problem}")]
    Authority {
        /// The folder.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// The TLS of the public admin server.
#[derive(Debug)]
pub struct PublicTls {
    files: AdminPublicConfig,
    read: Mutex<(Marks, Arc<ServerConfig>)>,
}

/// What tells one version of the files from another.
type Marks = Vec<(PathBuf, Option<[i64; 5]>)>;

impl PublicTls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails when any of them cannot be used.
    pub fn open(files: &AdminPublicConfig) -> Result<Self, PublicTlsError> {
        let marks = marks(files)?;
        let config = read(files, true)?;
        Ok(Self {
            files: files.clone(),
            read: Mutex::new((marks, config)),
        })
    }

    /// Shakes hands, by the files as they are now.
    pub(super) async fn accept(
        self: Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        stream.set_nodelay(true)?;
        let config = tokio::task::spawn_blocking(move || self.config());
        let config = config.await.map_err(io::Error::other)?;
        let config = config.map_err(|error| {
            warn!(error = %telemetry::chain(&error), "the public admin server lets nobody in");
            io::Error::other(error)
        })?;
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Files that cannot be read let nobody in: who was taken out of a folder
    /// is not to come in by what the folder was before.
    fn config(&self) -> Result<Arc<ServerConfig>, PublicTlsError> {
        let marks = marks(&self.files)?;
        let mut read_before = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read_before.0 != marks {
            *read_before = (marks, read(&self.files, false)?);
        }
        Ok(Arc::clone(&read_before.1))
    }
}

fn marks(files: &AdminPublicConfig) -> Result<Marks, PublicTlsError> {
    let mut all = client_files(&files.client_certs_dir)?;
    all.extend([files.cert_file.clone(), files.key_file.clone()]);
    let mark = |path: PathBuf| {
        let mark = fs::metadata(&path).ok().map(|file| {
            let inode = i64::from_ne_bytes(file.ino().to_ne_bytes());
            let size = i64::try_from(file.size()).unwrap_or(i64::MAX);
            [
                inode,
                size,
                file.mtime(),
                file.mtime_nsec(),
                file.ctime_nsec(),
            ]
        });
        (path, mark)
    };
    Ok(all.into_iter().map(mark).collect())
}

/// The `.pem` files of the folder, in order.
fn client_files(folder: &Path) -> Result<Vec<PathBuf>, PublicTlsError> {
    let failed = |source| PublicTlsError::Read {
        key: "clientCertsDir",
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "pem") {
            files.push(path);
        }
        if files.len() > MAX_CLIENTS {
            let path = folder.to_owned();
            return Err(PublicTlsError::TooMany { path });
        }
    }
    files.sort();
    Ok(files)
}

/// Reads all of it. A client's file that is no certificate stops the start;
/// later it is one that someone still writes, and the others hold.
fn read(files: &AdminPublicConfig, is_start: bool) -> Result<Arc<ServerConfig>, PublicTlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut known = Vec::new();
    for path in client_files(&files.client_certs_dir)? {
        match certificates("clientCertsDir", &path) {
            Ok(certificates) => known.extend(certificates),
            Err(error) if is_start => return Err(error),
            Err(error) => {
                warn!(error = %telemetry::chain(&error), "a client's certificate is left out");
            }
        }
    }
    if known.is_empty() {
        let folder = files.client_certs_dir.display();
        warn!(%folder, "the public admin server knows no client yet");
    }
    let clients = Clients::new(known, Arc::clone(&provider));
    let clients = clients.map_err(|problem| PublicTlsError::Authority {
        path: files.client_certs_dir.clone(),
        problem,
    })?;
    let chain = certificates("tls.certFile", &files.cert_file)?;
    let path = &files.key_file;
    let key = PrivateKeyDer::from_pem_slice(&text("tls.keyFile", path)?).map_err(|_| {
        PublicTlsError::NotPem {
            key: "tls.keyFile",
            path: path.clone(),
            what: "private key",
        }
    })?;
    // It also says whether the two go together.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
        .map_err(PublicTlsError::Tls)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(PublicTlsError::Tls)?
        .with_client_cert_verifier(Arc::new(clients))
        .with_single_cert(chain, key)
        .map_err(PublicTlsError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PublicTlsError> {
    let text = text(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| PublicTlsError::NotPem {
        key,
        path: path.to_owned(),
        what: "certificate",
    })
}

fn text(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, PublicTlsError> {
    let mut text = Zeroizing::new(Vec::new());
    let failed = |source| PublicTlsError::Read {
        key,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}
