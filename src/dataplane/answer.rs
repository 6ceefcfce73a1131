//! What is taken from the control plane's answer to `POST /bootstrap`: where
//! its gRPC server is and the CA that proves it.
//!
//! The answer comes over plain HTTP, so nothing else of it reaches Envoy.

use std::net::{IpAddr, Ipv6Addr};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

/// The largest CA, in bytes.
pub const MAX_CA: usize = 64 * 1024;
/// The longest host name (RFC 1035 2.3.4).
const MAX_HOST: usize = 253;

/// What is taken from the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The gRPC server.
    pub xds: Endpoint,
    /// The CA that proves it, in PEM.
    pub ca_pem: String,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// An answer that is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It has another form.
    #[error("it is no bootstrap that this version of windlass reads")]
    Form(#[source] serde_json::Error),
    /// Its gRPC server is no address.
    #[error("the address of the xDS server is not of the form host:port")]
    Address,
    /// Its CA is none.
    #[error("the CA of the xDS server: {0}")]
    Ca(#[from] CaError),
}

/// A text that is not a CA in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// It is longer than [`MAX_CA`].
    #[error("it is larger than 64 KiB")]
    Size,
    /// No certificate is in it.
    #[error("there is no certificate (PEM) in it")]
    Empty,
    /// A certificate in it cannot be read.
    #[error("a certificate in it cannot be read")]
    Broken,
}

#[derive(Deserialize)]
struct Bootstrap {
    dynamic_resources: DynamicResources,
}

#[derive(Deserialize)]
struct DynamicResources {
    ads_config: AdsConfig,
}

#[derive(Deserialize)]
struct AdsConfig {
    grpc_services: [GrpcService; 1],
}

#[derive(Deserialize)]
struct GrpcService {
    google_grpc: GoogleGrpc,
}

#[derive(Deserialize)]
struct GoogleGrpc {
    target_uri: String,
    channel_credentials: ChannelCredentials,
}

#[derive(Deserialize)]
struct ChannelCredentials {
    ssl_credentials: SslCredentials,
}

#[derive(Deserialize)]
struct SslCredentials {
    root_certs: InlineString,
}

#[derive(Deserialize)]
struct InlineString {
    inline_string: String,
}

impl Answer {
    /// Reads the answer.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        let bootstrap: Bootstrap = serde_json::from_str(text).map_err(AnswerError::Form)?;
        let [service] = bootstrap.dynamic_resources.ads_config.grpc_services;
        let GoogleGrpc {
            target_uri,
            channel_credentials,
        } = service.google_grpc;
        let ca_pem = channel_credentials.ssl_credentials.root_certs.inline_string;
        check_ca(ca_pem.as_bytes())?;
        Ok(Self {
            xds: Endpoint::parse(&target_uri).ok_or(AnswerError::Address)?,
            ca_pem,
        })
    }
}

/// Checks that a text holds certificates.
pub fn check_ca(pem: &[u8]) -> Result<(), CaError> {
    if pem.len() > MAX_CA {
        return Err(CaError::Size);
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| CaError::Broken)?;
        roots.add(certificate).map_err(|_| CaError::Broken)?;
    }
    if roots.is_empty() {
        Err(CaError::Empty)
    } else {
        Ok(())
    }
}

impl Endpoint {
    /// Reads `host:port`; an IPv6 address stands in brackets. What gRPC would
    /// take for another scheme, such as `unix:80`, is no host.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        let host = host.to_owned();
        is_host.then_some(Self { host, port })
    }

    /// Whether only the machine itself can mean this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    /// The same port of another host; an IPv6 address stands in brackets.
    #[must_use]
    pub fn on(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            port: self.port,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whether a host is loopback, or the address that stands for all of a machine's.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

fn is_name(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= MAX_HOST && host.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::bootstrap::{BootstrapParams, bootstrap};

    const CA: &str = include_str!("../check/fixtures/p521.pem");

    fn answer(xds: &str, ca_pem: &str) -> Result<Answer, AnswerError> {
        let params = BootstrapParams {
            mesh: "default",
            name: "dp",
            admin: None,
            token_path: "/t",
            xds,
            ca_pem,
            drain_seconds: None,
        };
        Answer::parse(&bootstrap(&params).to_string())
    }

    #[test]
    fn what_the_bootstrap_says_is_read_back() {
        let read = answer("cp.example:5678", CA).unwrap();
        assert_eq!(read.xds.to_string(), "cp.example:5678");
        assert_eq!(read.ca_pem, CA);
        let six = answer("[2001:db8::1]:5678", CA).unwrap();
        assert_eq!(six.xds.to_string(), "[2001:db8::1]:5678");
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for bad in [
            "",
            "cp",
            "cp:0",
            "cp:65536",
            ":5678",
            "unix:/run/x:80",
            "dns:///cp:5678",
            "a,b:5678",
            "2001:db8::1:5678",
            "[cp]:5678",
            "c\np:5678",
        ] {
            let refused = answer(bad, CA);
            assert!(matches!(refused, Err(AnswerError::Address)), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_ca_is_refused() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (bad, why) in [
            ("", CaError::Empty),
            ("PEM", CaError::Empty),
            (key, CaError::Empty),
            ("-----BEGIN CERTIFICATE-----\n?", CaError::Broken),
            (no_der, CaError::Broken),
            (&"x".repeat(MAX_CA + 1), CaError::Size),
        ] {
            assert_eq!(check_ca(bad.as_bytes()), Err(why), "{bad:.40?}");
        }
    }

    #[test]
    fn another_document_is_refused() {
        for bad in ["", "[]", "{}", "null", r#"{"dynamic_resources": 1}"#] {
            assert!(
                matches!(Answer::parse(bad), Err(AnswerError::Form(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn hosts_that_mean_the_machine_itself_are_known() {
        for host in [
            "localhost",
            "127.0.0.1",
            "127.8.0.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "cp.example",
            "10.0.0.1",
            "[2001:db8::1]",
            "localhost.example",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
