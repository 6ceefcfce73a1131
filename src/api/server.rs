//! HTTP/1.1 over TCP, with or without TLS, with a limit to everything that a client decides.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::error::{self, ApiError};
use super::guard::{self, Advertised, Connection};
use super::public::PublicTls;
use crate::config::Config;

/// The largest request body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// The most connections of one server at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a client may take for the headers, and may stay idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may live: it bounds clients that read slowly.
const MAX_AGE: Duration = Duration::from_mins(5);
/// How long requests under way may take once the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after a failed accept (usually: no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown`, then drains.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    config: &Config,
    shutdown: CancellationToken,
) {
    serve_over(listener, None, router, config, shutdown).await;
}

/// The same over TLS, where that is given.
pub(super) async fn serve_over(
    listener: TcpListener,
    tls: Option<Arc<PublicTls>>,
    router: Router,
    config: &Config,
    shutdown: CancellationToken,
) {
    let advertised = Advertised(config.advertised_hostname.as_deref().map(Arc::from));
    let router = router
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn_with_state(advertised, guard::check))
        .layer(DefaultBodyLimit::max(MAX_BODY));
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
                let router = router.clone();
                let (tls, shutdown) = (tls.clone(), shutdown.clone());
                tasks.spawn(async move {
                    if let Ok(local) = stream.local_addr() {
                        let connection = Connection { local, peer };
                        match tls {
                            None => serve_connection(stream, connection, router, shutdown).await,
                            Some(tls) => {
                                let shaken = timeout(HANDSHAKE, tls.accept(stream));
                                let shaken = shutdown.run_until_cancelled(shaken).await;
                                match shaken {
                                    Some(Ok(Ok(stream))) => {
                                        serve_connection(stream, connection, router, shutdown)
                                            .await;
                                    }
                                    Some(Ok(Err(error))) => {
                                        info!(%error, %peer, "a TLS handshake failed");
                                    }
                                    Some(Err(_)) => debug!(%peer, "a TLS handshake took too long"),
                                    None => {}
                                }
                            }
                        }
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
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(router.layer(Extension(connection)));
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
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
    if let Err(error) = ended {
        debug!(%error, peer = %connection.peer, "a connection failed");
    }
}

async fn limit_time(request: Request, next: Next) -> Result<Response, Infallible> {
    Ok(timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "Could not process the request",
                "It took too long",
            )
            .into_response()
        }))
}
