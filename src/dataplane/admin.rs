//! Envoy's admin server: what draining needs of it.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How listeners that take connections for the workload are called.
const INBOUND: &str = "inbound";

/// The admin server of an Envoy on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// On that port of 127.0.0.1.
    Port(u16),
    /// On that Unix socket.
    Socket(PathBuf),
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Nobody is there.
    #[error("the admin server of Envoy cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The call broke off.
    #[error("a call of Envoy's admin server failed")]
    Http(#[from] hyper::Error),
    /// The answer is too large or broke off.
    #[error("the answer of Envoy's admin server cannot be read")]
    Body(#[source] axum::Error),
    /// It took too long.
    #[error("Envoy's admin server does not answer")]
    Timeout,
    /// It refused.
    #[error("Envoy's admin server answered with status {0}")]
    Status(StatusCode),
    /// It answered something else.
    #[error("the answer of Envoy's admin server is not understood")]
    Form(#[source] serde_json::Error),
}

/// The listeners that a drain waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// The names of their gauges of active connections.
    gauges: Vec<String>,
}

#[derive(Deserialize)]
struct Listeners {
    #[serde(default)]
    listener_statuses: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    name: String,
    local_address: Address,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: String,
    port_value: u16,
}

impl Admin {
    /// Has Envoy close its inbound listeners, or all where it has none of
    /// these: a gateway. Connections that are open stay, and a workload that
    /// finishes its work can still call others.
    pub async fn drain_listeners(&self) -> Result<Draining, AdminError> {
        let text = self.call(Method::GET, "/listeners?format=json").await?;
        let Listeners { listener_statuses } =
            serde_json::from_str(&text).map_err(AdminError::Form)?;
        let (inbound, others): (Vec<_>, Vec<_>) = listener_statuses
            .iter()
            .partition(|listener| listener.name.starts_with(INBOUND));
        let (path, drained) = if inbound.is_empty() {
            ("/drain_listeners", others)
        } else {
            ("/drain_listeners?inboundonly", inbound)
        };
        self.call(Method::POST, path).await?;
        Ok(Draining {
            gauges: drained.into_iter().filter_map(Listener::gauge).collect(),
        })
    }

    /// How many connections are open of the listeners that were closed.
    pub async fn open_connections(&self, draining: &Draining) -> Result<u64, AdminError> {
        let path = r"/stats?filter=^listener\..*\.downstream_cx_active$";
        let text = self.call(Method::GET, path).await?;
        Ok(draining.count(&text))
    }

    async fn call(&self, method: Method, path: &str) -> Result<String, AdminError> {
        let answer = async {
            match self {
                Self::Port(port) => {
                    let stream = TcpStream::connect(("127.0.0.1", *port)).await;
                    exchange(stream.map_err(AdminError::Connect)?, method, path).await
                }
                Self::Socket(path_of_socket) => {
                    let stream = UnixStream::connect(path_of_socket).await;
                    exchange(stream.map_err(AdminError::Connect)?, method, path).await
                }
            }
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .map_err(|_| AdminError::Timeout)?
    }
}

async fn exchange<Stream>(stream: Stream, method: Method, path: &str) -> Result<String, AdminError>
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    // A path of this module.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let host = hyper::header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(hyper::header::HOST, host);
    let answer = async {
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(AdminError::Status(answer.status()));
        }
        let body = axum::body::to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await;
        let body = body.map_err(AdminError::Body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends as soon as all is read, which can be before that is looked at.
        ended = connection => {
            ended?;
            answer.await
        }
    }
}

impl Listener {
    /// The name of the gauge of active connections (Envoy, "Listener stats").
    fn gauge(&self) -> Option<String> {
        let at = self.local_address.socket_address.as_ref()?;
        let host = match at.address.parse() {
            Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => at.address.clone(),
        };
        let address = format!("{host}:{}", at.port_value).replace(':', "_");
        Some(format!("listener.{address}.downstream_cx_active"))
    }
}

impl Draining {
    /// Adds up the gauges out of `/stats`.
    fn count(&self, stats: &str) -> u64 {
        stats
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| self.gauges.iter().any(|gauge| gauge == name))
            .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gauges_of_the_listeners_that_were_closed_are_added_up() {
        let listener = |address: &str| Listener {
            name: "inbound".to_owned(),
            local_address: Address {
                socket_address: Some(SocketAddress {
                    address: address.to_owned(),
                    port_value: 80,
                }),
            },
        };
        let draining = Draining {
            gauges: ["10.0.0.1", "::1"]
                .iter()
                .filter_map(|address| listener(address).gauge())
                .collect(),
        };
        let stats = "listener.10.0.0.1_80.downstream_cx_active: 2\n\
                     listener.[__1]_80.downstream_cx_active: 1\n\
                     listener.127.0.0.1_80.downstream_cx_active: 4\n\
                     listener.admin.downstream_cx_active: 8\n";
        assert_eq!(draining.count(stats), 3);
    }
}
