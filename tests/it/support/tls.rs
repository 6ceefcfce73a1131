//! A TLS client that looks at the server's certificate and judges nothing: the
//! test judges.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use webpki::EndEntityCert;

use super::mesh_ca::ClientIdentity;
use super::sds::Secrets;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate that the server at `address` shows.
pub(crate) fn shown(address: &str) -> Result<CertificateDer<'static>, String> {
    let mut stream = open(address, None)?;
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .map_err(|error| error.to_string())?;
    }
    stream
        .conn
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|leaf| leaf.clone().into_owned())
        .ok_or_else(|| "the server showed no certificate".to_owned())
}

/// The first certificate of a PEM text.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
}

/// What the HTTP server at `address` says to a client that proves itself so.
pub(crate) fn ask(address: &str, client: &ClientIdentity) -> Result<String, String> {
    let mut stream = open(address, Some(client))?;
    let request = b"GET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream
        .write_all(request)
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(|error| error.to_string())?;
    Ok(answer)
}

/// Connects; the handshake comes with the first bytes.
pub(crate) fn open(
    address: &str,
    client: Option<&ClientIdentity>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    Client::new(client, rustls::DEFAULT_VERSIONS)?.open(address)
}

/// A client that keeps the sessions of its connections and resumes them.
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    /// One that proves itself so, in these versions of TLS.
    pub(crate) fn new(
        client: Option<&ClientIdentity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => builder
                .with_client_auth_cert(vec![client.certificate.clone()], client.key.clone_key())
                .map_err(|error| error.to_string())?,
        };
        Ok(Self(Arc::new(config)))
    }

    /// Connects; the handshake comes with the first bytes.
    pub(crate) fn open(
        &self,
        address: &str,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let name = ServerName::try_from("echo.invalid").map_err(|error| error.to_string())?;
        let connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(|error| error.to_string())?;
        let socket = TcpStream::connect(address).map_err(|error| error.to_string())?;
        socket
            .set_read_timeout(Some(TIMEOUT))
            .and_then(|()| socket.set_write_timeout(Some(TIMEOUT)))
            .map_err(|error| error.to_string())?;
        Ok(StreamOwned::new(connection, socket))
    }
}

/// A TLS server that takes clients with a certificate of its own root and
/// answers one line as a service does.
pub(crate) struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Server {
    /// A server that shows what a dataplane got.
    pub(crate) fn new(listener: TcpListener, own: &Secrets) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let root = certificate(&own.bundle).expect("a root");
        roots.add(root).expect("a root");
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("a verifier");
        let own = ClientIdentity::from_pem(&own.leaf, &own.key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![own.certificate], own.key)
            .expect("a certificate with its key");
        Self {
            listener,
            config: Arc::new(config),
        }
    }

    /// The same port with what another dataplane got.
    pub(crate) fn with_identity(self, own: &Secrets) -> Self {
        Self::new(self.listener, own)
    }

    /// Takes one client, answers its line and returns its URI SANs.
    pub(crate) fn answer_one(&self, name: &str) -> Result<Vec<String>, String> {
        let words = |error: std::io::Error| error.to_string();
        let (socket, _) = self.listener.accept().map_err(words)?;
        socket.set_read_timeout(Some(TIMEOUT)).map_err(words)?;
        let connection = ServerConnection::new(Arc::clone(&self.config));
        let mut stream = StreamOwned::new(connection.map_err(|e| e.to_string())?, socket);
        writeln!(stream, "this is {name}").map_err(words)?;
        let mut line = String::new();
        let mut byte = [0];
        while !line.ends_with('\n') {
            stream.read_exact(&mut byte).map_err(words)?;
            line.push(char::from(byte[0]));
        }
        write!(stream, "{name}: {line}").map_err(words)?;
        let shown = stream.conn.peer_certificates().and_then(<[_]>::first);
        let shown = shown.ok_or("the client showed no certificate")?;
        let leaf = EndEntityCert::try_from(shown).map_err(|error| error.to_string())?;
        Ok(leaf.valid_uri_names().map(str::to_owned).collect())
    }
}

/// Takes every chain, but only from who holds the key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
