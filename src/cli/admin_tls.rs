//! TLS to the public admin server: what this machine proves itself with, and
//! whom it trusts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::CliError;
use super::config::AdminFiles;

/// What to look at when the admin server and this machine do not agree.
pub(super) const HINT: &str = "the control plane has to have the client certificate in its \
    `admin.public.clientCertsDir`, and this machine has to trust the server's certificate: \
    `windlass config control-planes add --admin-ca-cert FILE` names it, or the authority that it \
    comes from";

/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("failed to read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` holds no {what} in PEM")]
    NotPem { path: PathBuf, what: &'static str },
    #[error("`{certificate}` and `{key}` cannot be used together")]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("nothing says by what the certificate of the admin server is to be trusted")]
    NoRoots,
}

/// The client of that control plane's admin server.
pub(super) fn client(files: &AdminFiles) -> Result<TlsConfig, CliError> {
    read(files).map_err(|error| {
        let is_missing = matches!(error, FileError::NoRoots);
        let error = CliError::user(error);
        if is_missing { error.hint(HINT) } else { error }
    })
}

fn read(files: &AdminFiles) -> Result<TlsConfig, FileError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&files.client_cert)?;
    let no_key = || FileError::NotPem {
        path: files.client_key.clone(),
        what: "private key",
    };
    let text = contents(&files.client_key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| no_key())?;
    CertifiedKey::from_der(chain.clone(), key, &provider).map_err(|source| FileError::Pair {
        certificate: files.client_cert.clone(),
        key: files.client_key.clone(),
        source,
    })?;
    let key = PrivateKey::from_pem(&text).map_err(|_| no_key())?;
    let mut systems = SYSTEM_ROOTS.iter().map(Path::new);
    let roots = files.ca_cert.as_deref();
    let roots = roots.or_else(|| systems.find(|place| place.exists()));
    let roots = certificates(roots.ok_or(FileError::NoRoots)?)?;
    let roots: Vec<_> = roots.iter().map(owned).collect();
    let chain: Vec<_> = chain.iter().map(owned).collect();
    Ok(TlsConfig::builder()
        .client_cert(Some(ClientCert::new_with_certs(&chain, key)))
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn owned(certificate: &CertificateDer<'_>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(path)?).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| FileError::NotPem {
        path: path.to_owned(),
        what: "certificate",
    })
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let read = fs::read(path).map(Zeroizing::new);
    read.map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })
}
