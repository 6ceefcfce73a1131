//! HTTP/1.1 over TLS, with a limit to everything that a client decides.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// The most connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a client may take for the headers, and may stay idle between questions.
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a connection may live: it bounds clients that are slow.
const MAX_AGE: Duration = Duration::from_mins(5);
/// How long questions under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after a failed accept (usually: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then drains.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    shutdown: CancellationToken,
) {
    let tls = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    while let Some(Ok(slot)) = shutdown
        .run_until_cancelled(slots.clone().acquire_owned())
        .await
    {
        let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await else {
            break;
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, router, shutdown) = (tls.clone(), router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    if let Err(error) = serve_connection(stream, tls, router, shutdown).await {
                        debug!(%error, %peer, "a connection to the admission webhook failed");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    // Every connection ends by itself after `DRAIN`.
    tasks.wait().await;
}

async fn serve_connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut http = std::pin::pin!(http);
    let ended = tokio::select! {
        ended = http.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
        () = sleep(MAX_AGE) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        http.as_mut().graceful_shutdown();
        timeout(DRAIN, http).await.unwrap_or(Ok(()))
    };
    ended.map_err(io::Error::other)
}
