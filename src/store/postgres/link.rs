//! A connection to the server: its socket, secured as the mode says.
//!
//! The driver could do this, too. But it trusts public authorities beside the
//! given one, takes certificates out of variables of its own, and leaves a
//! socket whose network is gone to the system, for a quarter of an hour.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::settings::{PostgresConfig, TlsMode};
use super::tls;

/// Asks for TLS: a length of 8 and the code of the request.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// After how long an idle connection is asked whether it lives, how often
/// again, and how often before it does not.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(3), Duration::from_secs(2), 3);
/// How many milliseconds what was sent may stay without a receipt.
const USER_TIMEOUT: u32 = 9_000;

/// A connection to the server.
pub(super) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct LinkError {
    /// Whether it may be there a moment later.
    pub(super) passes: bool,
    /// What failed, and how to mend it.
    pub(super) problem: String,
}

impl LinkError {
    fn for_now(problem: String) -> Self {
        let passes = true;
        Self { passes, problem }
    }

    fn for_good(problem: impl Into<String>) -> Self {
        Self {
            passes: false,
            problem: problem.into(),
        }
    }
}

/// Connects.
pub(super) async fn connect(config: &PostgresConfig) -> Result<Box<dyn Link>, LinkError> {
    let limit = config.connection_timeout;
    match tokio::time::timeout(limit, dial(config)).await {
        Ok(linked) => linked,
        Err(_) => Err(LinkError::for_now(format!(
            "it does not answer within {limit:?}; check store.postgres.host and port, and what is \
             between"
        ))),
    }
}

async fn dial(config: &PostgresConfig) -> Result<Box<dyn Link>, LinkError> {
    if config.is_local_socket() {
        let path = format!("{}/.s.PGSQL.{}", config.host, config.port);
        let socket = UnixStream::connect(&path).await;
        let socket = socket.map_err(|error| LinkError::for_now(refused(&error)))?;
        return Ok(Box::new(socket));
    }
    let mut socket = TcpStream::connect((config.host.as_str(), config.port))
        .await
        .map_err(|error| LinkError::for_now(refused(&error)))?;
    watch_over(&socket).map_err(|error| LinkError::for_now(error.to_string()))?;
    if config.tls.mode == TlsMode::Disable {
        return Ok(Box::new(socket));
    }

    let client = tls::client(&config.tls).map_err(LinkError::for_good)?;
    let name = ServerName::try_from(config.host.clone())
        .map_err(|_| LinkError::for_good("store.postgres.host is no name for a certificate"))?;
    let broken = |error: io::Error| LinkError::for_now(lost(&error));
    socket.write_all(&SSL_REQUEST).await.map_err(broken)?;
    match socket.read_u8().await.map_err(broken)? {
        b'S' => {}
        b'N' => {
            return Err(LinkError::for_good(
                "the server does not speak TLS; set `ssl = on` in its postgresql.conf (`disable` \
                 is the mode without TLS)",
            ));
        }
        _ => return Err(LinkError::for_good("what answers is no Postgres server")),
    }
    let secured = TlsConnector::from(client).connect(name, socket).await;
    let secured = secured.map_err(|error| match tls::explain(&error, &config.host) {
        Some(problem) => LinkError::for_good(problem),
        None => broken(error),
    })?;
    Ok(Box::new(secured))
}

/// Has the system notice when the network is gone.
fn watch_over(socket: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    let (idle, interval, count) = KEEPALIVE;
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    sockopt::set_tcp_keepcnt(socket, count)?;
    sockopt::set_tcp_user_timeout(socket, USER_TIMEOUT)?;
    Ok(())
}

fn refused(error: &io::Error) -> String {
    format!("{error}; check that the server runs, and store.postgres.host and port")
}

fn lost(error: &io::Error) -> String {
    format!("the connection broke before it was made: {error}")
}

/// What a connection that breaks under the driver is told, in the driver's words.
pub(super) fn explain_broken(error: &io::Error) -> Option<String> {
    tls::explain(error, "")
}
