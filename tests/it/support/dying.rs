//! A client of Kubernetes whose process ends after a number of requests.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tonic::codegen::Service;

/// Lets a number of requests through. The next one reaches the server or does
/// not, but its answer never comes; nor does that of any other.
#[derive(Clone)]
struct Dying {
    inner: Client,
    left: Arc<AtomicUsize>,
    is_dead: Arc<AtomicBool>,
    /// Whether the last request reaches the server.
    reaches: bool,
}

/// A client that dies after `requests`; watches and lists are not counted, since
/// nobody knows when they come.
pub(crate) fn dying(client: Client, requests: usize, reaches: bool) -> Client {
    let dying = Dying {
        inner: client,
        left: Arc::new(AtomicUsize::new(requests)),
        is_dead: Arc::default(),
        reaches,
    };
    Client::new(dying, "default")
}

impl Dying {
    /// Whether this request is answered, and whether it reaches the server.
    fn fate(&self, request: &Request<Body>) -> (bool, bool) {
        if self.is_dead.load(Ordering::SeqCst) {
            return (false, false);
        }
        let query = request.uri().query().unwrap_or_default();
        if query.contains("labelSelector") {
            return (true, true);
        }
        let one_less = |left: usize| left.checked_sub(1);
        let (set, get) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.left.fetch_update(set, get, one_less).is_ok() {
            return (true, true);
        }
        let is_last = !self.is_dead.swap(true, Ordering::SeqCst);
        (false, is_last && self.reaches)
    }
}

type Answer = Result<Response<Body>, kube::Error>;

impl Service<Request<Body>> for Dying {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (is_answered, reaches) = self.fate(&request);
        let client = self.inner.clone();
        Box::pin(async move {
            let answer = if reaches {
                Some(client.send(request).await)
            } else {
                None
            };
            let lost = || kube::Error::Service("the process is gone".into());
            answer
                .filter(|_| is_answered)
                .unwrap_or_else(|| Err(lost()))
        })
    }
}
