//! What is checked of the server's certificate, and what is shown to it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::settings::{ClientCertificate, PostgresTls, TlsMode};

/// The TLS client of that mode, with the files as they are now: a certificate
/// that was renewed holds from the next connection on. The error says which
/// file is wrong, and how.
pub(super) fn client(tls: &PostgresTls) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(tls, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let identity = SingleCertAndKey::from(read_client(client, &provider)?);
            builder.with_client_cert_resolver(Arc::new(identity))
        }
    };
    Ok(Arc::new(config))
}

/// The certificate is for the server to judge: here it only has to be the key's.
fn read_client(
    client: &ClientCertificate,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let cert_path = client.cert_path.display();
    let chain = read_certificates("certPath", &client.cert_path)?;
    let Ok((_, certificate)) = X509Certificate::from_der(&chain[0]) else {
        return Err(format!(
            "store.postgres.tls.certPath `{cert_path}` holds no X.509 certificate"
        ));
    };
    let path = &client.key_path;
    let key = PrivateKeyDer::from_pem_file(path)
        // The PEM reader's own words are about bytes of the file: they stay here.
        .map_err(|error| match error {
            rustls::pki_types::pem::Error::Io(error) => unreadable("keyPath", path, &error),
            _ => format!(
                "store.postgres.tls.keyPath `{}` holds no private key in PEM",
                path.display()
            ),
        })?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        format!(
            "store.postgres.tls.keyPath `{}` holds a private key of a kind that cannot be used; \
             make an ECDSA, Ed25519 or RSA key",
            path.display()
        )
    })?;
    let is_of_another = key
        .public_key()
        .is_some_and(|public| *public != *certificate.public_key().raw);
    if is_of_another {
        return Err(format!(
            "store.postgres.tls.certPath `{cert_path}` and keyPath `{}` do not go together: the \
             certificate is for another key",
            path.display()
        ));
    }
    Ok(CertifiedKey::new(chain, key))
}

fn read_certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| unreadable(key, path, &error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!(
            "store.postgres.tls.{key} `{}` holds no certificate in PEM",
            path.display()
        )),
    }
}

fn unreadable(key: &str, path: &Path, error: &std::io::Error) -> String {
    format!(
        "store.postgres.tls.{key} `{}` cannot be read: {error}",
        path.display()
    )
}

/// Checks what the mode says, and in the modes that look at the certificate that
/// the server has its key.
#[derive(Debug)]
struct Verifier {
    mode: TlsMode,
    /// The given authorities, and no others.
    roots: Vec<CertificateDer<'static>>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(tls: &PostgresTls, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut verifier = Self {
            mode: tls.mode,
            roots: Vec::new(),
            chain: None,
            provider: Arc::clone(provider),
        };
        let path = tls.ca_path.as_deref().filter(|_| tls.mode.verifies());
        let Some(path) = path else {
            return Ok(verifier);
        };
        verifier.roots = read_certificates("caPath", path)?;
        let mut roots = RootCertStore::empty();
        let unusable = |error: &dyn std::fmt::Display| {
            format!(
                "store.postgres.tls.caPath `{}` holds a certificate that cannot be used: {error}",
                path.display()
            )
        };
        for root in &verifier.roots {
            roots.add(root.clone()).map_err(|error| unusable(&error))?;
        }
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        verifier.chain = Some(builder.build().map_err(|error| unusable(&error))?);
        Ok(verifier)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = self.chain.as_ref().filter(|_| self.mode.verifies()) else {
            return Ok(ServerCertVerified::assertion());
        };
        if self.roots.iter().any(|root| root == end_entity) {
            // A server that signed its own certificate, as Postgres' manual
            // makes one: given as the authority, it is trusted as it is.
            require_valid(end_entity, now)?;
            if self.mode == TlsMode::VerifyFull {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name comes last: everything else is as it should be.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode == TlsMode::VerifyCa => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.mode.verifies() {
            // A certificate that nobody looks at proves nothing by its key either,
            // and may be of a form that cannot be read here.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.mode.verifies() {
            // A certificate that nobody looks at proves nothing by its key either,
            // and may be of a form that cannot be read here.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn require_valid(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let failed = |error| Err(Error::InvalidCertificate(error));
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return failed(CertificateError::BadEncoding);
    };
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < validity.not_before.timestamp() {
        return failed(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return failed(CertificateError::Expired);
    }
    Ok(())
}

const OTHER_CA: &str = "the server's certificate does not come from an authority in \
    store.postgres.tls.caPath; put the one there that signed it";

/// Whether a server showed a certificate that is an authority itself.
fn signed_itself(error: &OtherError) -> bool {
    matches!(
        error.0.downcast_ref(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// Whether a server showed a certificate of X.509 version 1, which has no place
/// for the names that it is for.
fn is_of_version_1(error: &OtherError) -> bool {
    matches!(
        error.0.downcast_ref(),
        Some(webpki::Error::UnsupportedCertVersion)
    )
}

/// What failed in a handshake, and how to mend it.
pub(super) fn explain(error: &std::io::Error, host: &str) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match inner {
        Error::InvalidCertificate(error) => match error {
            // With a bad signature, it is another authority of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => OTHER_CA.to_owned(),
            CertificateError::Other(error) if signed_itself(error) => OTHER_CA.to_owned(),
            CertificateError::Other(error) if is_of_version_1(error) => {
                "the server's certificate is of X.509 version 1, which has no subject alternative \
                 names; make it with extensions (`openssl x509 -req -extfile FILE`)"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate, or one that it comes from, has expired; renew it"
                    .to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet; check the clocks".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the server's certificate does not name `{host}`; give it that name as a subject \
                     alternative name, set store.postgres.host to one that it has, or choose \
                     `verifyCa`"
                )
            }
            error => format!("the server's certificate is not valid: {error}"),
        },
        Error::AlertReceived(alert) => format!(
            "the server refused the TLS handshake ({alert:?}); check store.postgres.tls.certPath and \
             keyPath against the server's `ssl_ca_file`"
        ),
        error => format!("the TLS handshake failed: {error}"),
    })
}
