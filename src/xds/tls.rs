//! The certificates of the servers that Windlass proves by CAs of its own: the
//! xDS server, and the admission webhook of Kubernetes.
//!
//! A CA is made on first run. Its certificate is what clients trust the server
//! by; its key is sealed in the store, so that all replicas have it. The
//! server's own certificate and key exist in memory only: they are made at each
//! start and replaced in time, under the same CA.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::clock;
use crate::model::{PrivateKey, Timestamp};
use crate::store::encryption::{Vault, VaultError};
use crate::store::{Store, StoreError};

/// What a CA of Windlass is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The secret in the store: certificate and key of the CA.
    secret: &'static str,
    /// The CA's name.
    ca: &'static str,
    /// What is spoken over TLS.
    protocol: &'static [u8],
}

/// The xDS server, which proxies connect to.
pub static XDS: Purpose = Purpose {
    secret: "xds-ca",
    ca: "Windlass xDS CA",
    protocol: b"h2",
};

/// The admission webhook, which the API server of Kubernetes connects to.
pub static WEBHOOK: Purpose = Purpose {
    secret: "webhook-ca",
    ca: "Windlass webhook CA",
    protocol: b"http/1.1",
};

const CA_LIFETIME: Duration = Duration::from_hours(24 * 3652);
/// How long a certificate of the xDS server lives.
const LEAF_LIFETIME: Duration = Duration::from_hours(24 * 30);
/// How much earlier than now a certificate begins, for clocks that are behind.
const BACKDATE: Duration = Duration::from_hours(1);
/// How long to wait after a failed renewal, and the longest sleep.
const RETRY: Duration = Duration::from_hours(1);

/// The server's certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA in the store cannot be sealed or opened.
    #[error("the CA of a server cannot be sealed or opened")]
    Vault(#[source] Box<VaultError>),
    /// The CA in the store is not what was put there.
    #[error("the CA of a server in the store cannot be read: {problem}")]
    Damaged {
        /// What is wrong; never key bytes.
        problem: String,
    },
    /// A name that no certificate can hold.
    #[error(
        "`{name}` cannot be in a certificate; set general.advertisedHostname to a host name or an IP address"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A certificate could not be signed.
    #[error("failed to sign the certificate of a server")]
    Sign(#[from] rcgen::Error),
    /// The TLS library refused the certificate.
    #[error("failed to set up TLS for a server")]
    Tls(#[from] rustls::Error),
    /// The CA's certificate could not be written.
    #[error("failed to write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<VaultError> for TlsError {
    fn from(error: VaultError) -> Self {
        Self::Vault(Box::new(error))
    }
}

/// The CA of the xDS server and the certificate that the server shows now.
pub struct ServerIdentity {
    purpose: &'static Purpose,
    ca_pem: Arc<str>,
    issuer: Issuer<'static, KeyPair>,
    names: Vec<String>,
    /// How long a certificate of the server lives.
    lifetime: Duration,
    /// When the first was made.
    made: Timestamp,
    provider: Arc<CryptoProvider>,
    resolver: Arc<Resolver>,
}

/// The names of a server that is also reached by `advertised`:
/// `localhost`, `127.0.0.1`, `::1` and the host's own name.
#[must_use]
pub fn server_names(advertised: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = hostname::get()
        .ok()
        .and_then(|name| name.into_string().ok());
    // A host may be named what no certificate can hold; nobody asked for that name.
    let host =
        host.filter(|name| !name.is_empty() && CertificateParams::new([name.clone()]).is_ok());
    for name in host.into_iter().chain(advertised.map(str::to_owned)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl ServerIdentity {
    /// Opens the CA of the xDS server in the store, or makes it, and signs a
    /// certificate for `names`.
    ///
    /// # Errors
    ///
    /// Fails when the store or the vault does, when the CA in the store is
    /// damaged, and when a name cannot be in a certificate.
    pub async fn open_or_create(
        store: &dyn Store,
        vault: &Vault,
        names: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        Self::open_or_create_for(&XDS, store, vault, names, LEAF_LIFETIME, now).await
    }

    /// The same for another purpose, and for certificates that live for `lifetime`.
    ///
    /// # Errors
    ///
    /// As [`Self::open_or_create`] does.
    pub async fn open_or_create_for(
        purpose: &'static Purpose,
        store: &dyn Store,
        vault: &Vault,
        names: Vec<String>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let known = store.secrets(purpose.secret).await?;
        let known = known.into_iter().find(|(name, _)| name == purpose.secret);
        let sealed = if let Some((_, sealed)) = known {
            sealed
        } else {
            let made = vault.seal(&create_ca(purpose, now)?)?;
            store.put_secret_if_absent(purpose.secret, &made).await?
        };
        Self::from_ca(purpose, &vault.unseal(&sealed)?, names, lifetime, now)
    }

    fn from_ca(
        purpose: &'static Purpose,
        ca: &PrivateKey,
        names: Vec<String>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let damaged = |problem: &dyn fmt::Display| TlsError::Damaged {
            problem: problem.to_string(),
        };
        let text = ca.expose();
        let (certificate, _) = text
            .find("-----BEGIN PRIVATE KEY-----")
            .map(|at| text.split_at(at))
            .ok_or_else(|| damaged(&"it has no private key"))?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| damaged(&error))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| damaged(&"its private key cannot be read"))?;
        let key =
            KeyPair::try_from(&key).map_err(|_| damaged(&"its private key cannot be read"))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| damaged(&error))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let first = issue(&issuer, &names, &provider, lifetime, now)?;
        Ok(Self {
            purpose,
            ca_pem: certificate.into(),
            issuer,
            names,
            lifetime,
            made: now,
            provider,
            resolver: Arc::new(Resolver(ArcSwap::from_pointee(first))),
        })
    }

    /// The CA's certificate as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> Arc<str> {
        self.ca_pem.clone()
    }

    /// Writes the CA's certificate to `path`, mode 0644, whole or not at all.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn write_ca(&self, path: &Path) -> Result<(), TlsError> {
        write_public(path, self.ca_pem.as_bytes()).map_err(|source| TlsError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// The configuration of the server: TLS 1.2 and 1.3, one protocol only,
    /// and always the newest certificate.
    ///
    /// # Errors
    ///
    /// Fails when the TLS library refuses it.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![self.purpose.protocol.to_vec()];
        // Streams last for days; a session that nobody resumes is not kept.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// Replaces the certificate. New connections are shown the new one.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be signed; the old one stays.
    pub fn renew(&self, now: Timestamp) -> Result<(), TlsError> {
        let next = issue(
            &self.issuer,
            &self.names,
            &self.provider,
            self.lifetime,
            now,
        )?;
        self.resolver.0.store(Arc::new(next));
        Ok(())
    }

    /// Renews the certificate at half of its life, for ever.
    pub async fn keep_fresh(&self) {
        let mut renew_at = self.made + self.lifetime / 2;
        loop {
            // The clock may be set while this sleeps.
            tokio::time::sleep(renew_at.since(clock::now()).min(RETRY)).await;
            let now = clock::now();
            if now < renew_at {
                continue;
            }
            match self.renew(now) {
                Ok(()) => {
                    renew_at = now + self.lifetime / 2;
                    tracing::info!(
                        ca = self.purpose.ca,
                        "the certificate of a server was renewed"
                    );
                }
                Err(error) => {
                    renew_at = now + RETRY.min(self.lifetime / 10);
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        ca = self.purpose.ca,
                        "the certificate of a server was not renewed"
                    );
                }
            }
        }
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Shows every client the certificate that is current.
#[derive(Debug)]
struct Resolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Certificate and key of a new CA, one after the other.
fn create_ca(purpose: &Purpose, now: Timestamp) -> Result<PrivateKey, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(purpose.ca);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACKDATE).to_date_time();
    params.not_after = (now + CA_LIFETIME).to_date_time();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?.pem();
    let key = Zeroizing::new(key.serialize_pem());
    // As large as it gets: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(certificate.len() + key.len()));
    text.push_str(&certificate);
    text.push_str(&key);
    Ok(PrivateKey::new(text))
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    names: &[String],
    provider: &CryptoProvider,
    lifetime: Duration,
    now: Timestamp,
) -> Result<CertifiedKey, TlsError> {
    if let Some(name) = names
        .iter()
        .find(|name| name.is_empty() || CertificateParams::new([(*name).clone()]).is_err())
    {
        return Err(TlsError::Name { name: name.clone() });
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name("windlass");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - BACKDATE).to_date_time();
    params.not_after = (now + lifetime).to_date_time();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, issuer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::from_der(
        vec![certificate.der().clone()],
        key,
        provider,
    )?)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Replaces a file that all may read.
fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let next = path.with_extension("pem.new");
    let mut file = std::fs::File::create(&next)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}

#[cfg(test)]
mod tests;
