//! The control plane as a dataplane sees it: is its token good, and the next one.
//!
//! The client of `windlass.v1.DataplaneService`, over TLS on the xDS port.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::client::Grpc;
use tonic::codegen::http::uri::{Authority, PathAndQuery};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use zeroize::{Zeroize as _, Zeroizing};

use crate::model::{PrivateKey, Timestamp};
use crate::xds::dataplane_service::{
    CHECK, CheckResponse, NodeRequest, RENEW_TOKEN, RenewTokenResponse,
};

/// How long a connection may take, its TLS handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before asking again about a dataplane that may be known soon.
const LOOK: Duration = Duration::from_millis(100);
/// The largest answer, in bytes; a token has about 700.
const MAX_ANSWER: usize = 64 * 1024;

/// Why the control plane cannot be asked, or says no.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The address is none.
    #[error("`{0}` is not an address of the form `host:port`")]
    Address(String),
    /// The CA certificate to trust is none.
    #[error("the CA of the control plane: there is no certificate (PEM) in it")]
    Ca,
    /// Nobody answers there, or not in time, or not with gRPC over TLS.
    #[error("the control plane at {address} cannot be reached")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The certificate that it shows is not to be trusted.
    #[error("the certificate of the control plane at {address} is not trusted")]
    Untrusted {
        /// Where.
        address: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The token is not accepted: it is none, has ended or was revoked.
    #[error("the control plane does not accept the token: {0}")]
    Unauthenticated(String),
    /// The token is of another dataplane.
    #[error("the token does not fit the dataplane: {0}")]
    PermissionDenied(String),
    /// The control plane does not know the dataplane.
    #[error("{0}")]
    UnknownDataplane(String),
    /// It refused for another reason.
    #[error("the control plane refused the request ({code:?}): {message}")]
    Refused {
        /// The gRPC status code.
        code: Code,
        /// Its words.
        message: String,
    },
}

impl ControlError {
    /// Whether the same may work later without anyone doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                Code::Internal | Code::ResourceExhausted | Code::Unknown
            ),
            _ => false,
        }
    }
}

/// A token with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewedToken {
    /// The token. It does not print.
    pub token: PrivateKey,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A control plane that was reached. What is lost later is connected again
/// with the next call.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    address: String,
    grpc: Grpc<Channel>,
}

impl ControlPlane {
    /// Connects to the xDS port at `address` (`host:port`), whose certificate
    /// must be of that host and signed by one of the CAs in `ca_pem`.
    ///
    /// # Errors
    ///
    /// Fails when the address or the CA is none, nobody is there, or somebody else is.
    pub async fn connect(address: &str, ca_pem: &[u8]) -> Result<Self, ControlError> {
        let host = host(address).ok_or_else(|| ControlError::Address(address.to_owned()))?;
        let is_certificate = CertificateDer::pem_slice_iter(ca_pem).next();
        if !matches!(is_certificate, Some(Ok(_))) {
            return Err(ControlError::Ca);
        }
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca_pem))
            .domain_name(host);
        let channel = async {
            Endpoint::from_shared(format!("https://{address}"))?
                .connect_timeout(CONNECT)
                .timeout(TIMEOUT)
                .tls_config(tls)?
                .connect()
                .await
        };
        let failed = |error: tonic::transport::Error| not_reached(address, error.into());
        let channel = channel.await.map_err(failed)?;
        Ok(Self {
            address: address.to_owned(),
            grpc: Grpc::new(channel).max_decoding_message_size(MAX_ANSWER),
        })
    }

    /// When the token ends, if the proxy `node_id` (`<mesh>.<dataplane>`) would
    /// be let in with it now.
    ///
    /// # Errors
    ///
    /// Fails when it would not, and when the control plane cannot be asked.
    pub async fn check(&mut self, node_id: &str, token: &str) -> Result<Timestamp, ControlError> {
        let answer: CheckResponse = self.call(CHECK, node_id, token).await?;
        Ok(Timestamp::from_unix_seconds(answer.expires_at_unix_seconds))
    }

    /// The same of a dataplane that is known to the control plane. Of several
    /// replicas this one may not have heard of it yet: it may take so long to.
    ///
    /// # Errors
    ///
    /// Fails as [`ControlPlane::check`] does.
    pub async fn check_within(
        &mut self,
        patience: Duration,
        node_id: &str,
        token: &str,
    ) -> Result<Timestamp, ControlError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            match self.check(node_id, token).await {
                Err(ControlError::UnknownDataplane(_)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    /// The token that follows `token`, valid as long as that one was at first.
    /// Before a third of its life is over, it is `token` itself: ask again when
    /// half of what remains is over.
    ///
    /// # Errors
    ///
    /// Fails as [`ControlPlane::check`] does.
    pub async fn renew(
        &mut self,
        node_id: &str,
        token: &str,
    ) -> Result<RenewedToken, ControlError> {
        let answer: RenewTokenResponse = self.call(RENEW_TOKEN, node_id, token).await?;
        Ok(RenewedToken {
            token: PrivateKey::new(Zeroizing::new(answer.token)),
            expires_at: Timestamp::from_unix_seconds(answer.expires_at_unix_seconds),
        })
    }

    async fn call<Answer>(
        &mut self,
        path: &'static str,
        node_id: &str,
        token: &str,
    ) -> Result<Answer, ControlError>
    where
        Answer: prost::Message + Default + 'static,
    {
        let mut request = Request::new(NodeRequest {
            node_id: node_id.to_owned(),
        });
        request
            .metadata_mut()
            .insert("authorization", credentials(token)?);
        let answer = async {
            (self.grpc.ready().await).map_err(|error| Status::from_error(error.into()))?;
            let codec = ProstCodec::<NodeRequest, Answer>::default();
            let path = PathAndQuery::from_static(path);
            self.grpc.unary(request, path, codec).await
        };
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refused(status)),
            Err(elapsed) => Err(not_reached(&self.address, elapsed.into())),
        }
    }

    fn refused(&self, status: Status) -> ControlError {
        let message = crate::model::printable(status.message()).into_owned();
        match status.code() {
            Code::Unauthenticated => ControlError::Unauthenticated(message),
            Code::PermissionDenied => ControlError::PermissionDenied(message),
            Code::NotFound => ControlError::UnknownDataplane(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                not_reached(&self.address, status.into())
            }
            // The channel's own errors have a source, the server's have none.
            _ if status.source().is_some() => not_reached(&self.address, status.into()),
            code => ControlError::Refused { code, message },
        }
    }
}

/// The token as metadata that does not print.
fn credentials(token: &str) -> Result<MetadataValue<Ascii>, ControlError> {
    let mut text = format!("Bearer {}", token.trim());
    let value = MetadataValue::try_from(text.as_str());
    text.zeroize();
    let mut value = value.map_err(|_| {
        ControlError::Unauthenticated("it has characters that no token has".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> Option<&str> {
    let authority: Authority = address.parse().ok()?;
    authority.port_u16()?;
    let (host, _) = address.rsplit_once(':')?;
    let plain = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = plain.unwrap_or(host);
    (!host.is_empty() && !host.contains('@')).then_some(host)
}

fn not_reached(address: &str, source: Box<dyn StdError + Send + Sync>) -> ControlError {
    let address = address.to_owned();
    if is_distrust(&*source) {
        ControlError::Untrusted { address, source }
    } else {
        ControlError::Unreachable { address, source }
    }
}

/// Whether a certificate that did not convince is at the root of an error.
fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // Its `source` is that of the error inside, not the error inside.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    false
}
