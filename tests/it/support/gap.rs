//! A client of Kubernetes whose watches may be cut for a while, while all else
//! goes on.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::codegen::Service;

/// What stands between a client and the server.
#[derive(Clone)]
pub(crate) struct Gap {
    /// Ends the watches that are open; `None` while there may be none.
    open: watch::Sender<Option<CancellationToken>>,
    expired: Arc<Mutex<Vec<String>>>,
}

impl Gap {
    /// A client with a gap that is not there yet.
    pub(crate) fn before(client: Client) -> (Client, Self) {
        let gap = Self {
            open: watch::Sender::new(Some(CancellationToken::new())),
            expired: Arc::default(),
        };
        let inner = client;
        let cut = Cuttable {
            inner,
            gap: gap.clone(),
        };
        (Client::new(cut, "default"), gap)
    }

    /// Ends all watches. Who asks for another one waits.
    pub(crate) fn cut(&self) {
        let before = self.open.send_replace(None);
        before.expect("it is whole").cancel();
    }

    /// Lets watches through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(Some(CancellationToken::new()));
    }

    /// The resources of which the server has ended a watch with 410.
    pub(crate) fn expired(&self) -> Vec<String> {
        let mut expired = self.expired.lock().expect("the list").clone();
        expired.sort();
        expired.dedup();
        expired
    }
}

/// A client with a gap.
#[derive(Clone)]
struct Cuttable {
    inner: Client,
    gap: Gap,
}

impl Service<Request<Body>> for Cuttable {
    type Response = Response<Watched>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, gap } = self.clone();
        Box::pin(async move {
            let query = request.uri().query().unwrap_or_default();
            let is_watch = query.contains("watch=true");
            let path = request.uri().path();
            let (_, resource) = path.rsplit_once('/').unwrap_or_default();
            let resource = resource.to_owned();
            let mut end = None;
            if is_watch {
                let mut open = gap.open.subscribe();
                let open = open.wait_for(Option::is_some).await;
                let open = open.expect("the gap is there").clone();
                end = open.map(|open| Box::pin(open.cancelled_owned()));
            }
            let answer = inner.send(request).await?;
            Ok(answer.map(|body| Watched {
                body,
                end,
                resource,
                expired: gap.expired,
            }))
        })
    }
}

/// An answer that ends where it is a watch and that is cut.
struct Watched {
    body: Body,
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    resource: String,
    expired: Arc<Mutex<Vec<String>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(end) = &mut self.end else {
            return Pin::new(&mut self.body).poll_frame(context);
        };
        if end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            let text = String::from_utf8_lossy(bytes);
            if text.contains(r#""type":"ERROR""#) && text.contains(r#""code":410"#) {
                let resource = self.resource.clone();
                self.expired.lock().expect("the list").push(resource);
            }
        }
        polled
    }
}
