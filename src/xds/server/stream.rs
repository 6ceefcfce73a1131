//! The life of one stream.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::protocol::Protocol;
use super::{FIRST_MESSAGE, MAX_NAME, MAX_NAMES, Sds, auth};
use crate::clock;
use crate::model::{DataplaneId, Digest};
use crate::token::Claims;
use crate::xds::evidence::Connection;
use crate::xds::index::Feed;
use crate::xds::metrics::{ProtocolLabel, SecretLabel, XdsMetrics};
use crate::xds::resource::{Editions, IDENTITY_CERT, MESH_CA, Resource, ResourceType};
use crate::xds::session::{Next, Session as _, Verdict};
use crate::xds::snapshot::Snapshot;

/// How long a response waits for the answer to the one before it.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest sleep: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// Serves one stream. Ends without a status when the proxy is gone.
pub(super) async fn run<P: Protocol>(
    sds: &Sds,
    claims: Claims,
    mut inbound: Streaming<P::Request>,
    items: mpsc::Sender<P::Response>,
) -> Result<(), Status> {
    let first = tokio::select! {
        () = sds.shutdown.cancelled() => return Err(stopping()),
        () = items.closed() => return Ok(()),
        first = first_message(&mut inbound) => first?,
    };
    check::<P>(&first)?;
    let dataplane = auth::authorize(&claims, P::node(&first))?;
    let subscription = sds
        .index
        .subscribe(&dataplane)
        .map_err(|error| Status::not_found(error.to_string()))?;

    let connection = (sds.evidence).connect(dataplane.clone(), claims.expires_at, clock::now());
    let _open = OpenStream::new(&sds.metrics, P::NAME);
    tracing::info!(%dataplane, protocol = P::NAME, "stream opened");
    let stream = Stream::<P> {
        sds,
        session: P::session(connection.distrusted()),
        connection,
        dataplane: dataplane.clone(),
        published: None,
        editions: Editions::new(),
        snapshot: Arc::default(),
    };
    let feed = subscription.feed();
    let result = stream.serve(claims, first, inbound, items, feed).await;
    let code = result.as_ref().err().map(Status::code);
    tracing::info!(%dataplane, protocol = P::NAME, ?code, "stream closed");
    result
}

async fn first_message<T>(inbound: &mut Streaming<T>) -> Result<T, Status> {
    match tokio::time::timeout(FIRST_MESSAGE, inbound.message()).await {
        Ok(message) => {
            message?.ok_or_else(|| Status::invalid_argument("the stream has no message"))
        }
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no message within {} s",
            FIRST_MESSAGE.as_secs()
        ))),
    }
}

struct Stream<'a, P: Protocol> {
    sds: &'a Sds,
    session: P::Session,
    connection: Connection,
    dataplane: DataplaneId,
    /// What all streams of the proxy see.
    published: Option<Arc<Snapshot>>,
    editions: Editions,
    /// The same in these editions.
    snapshot: Arc<Snapshot>,
}

impl<P: Protocol> Stream<'_, P> {
    async fn serve(
        mut self,
        claims: Claims,
        first: P::Request,
        mut inbound: Streaming<P::Request>,
        items: mpsc::Sender<P::Response>,
        mut feed: watch::Receiver<Feed>,
    ) -> Result<(), Status> {
        let mut tokens = self.sds.tokens.changes();
        let mut mended = self.connection.mended();
        self.receive(&first)?;
        self.look(&mut feed)?;
        let mut inbound_open = true;
        let mut room: Option<OwnedPermit<P::Response>> = None;
        let mut silent_at: Option<Instant> = None;
        loop {
            let left = self.time_left(&claims)?;
            // The newest snapshot becomes a response when there is room for
            // one: a proxy that does not read costs one response and no more.
            if let Some(permit) = room.take() {
                match self.session.next(&self.snapshot) {
                    Next::Send(response) => {
                        count(&self.sds.metrics.responses, &response.resource);
                        permit.send(P::encode(response));
                        silent_at = None;
                        continue;
                    }
                    Next::Holds(resource) => {
                        self.accepted(&resource);
                        room = Some(permit);
                        continue;
                    }
                    Next::AwaitVerdict => {
                        silent_at.get_or_insert_with(|| Instant::now() + PATIENCE);
                    }
                    Next::Nothing => silent_at = None,
                }
                room = Some(permit);
            }
            tokio::select! {
                biased;
                () = self.sds.shutdown.cancelled() => return Err(stopping()),
                () = items.closed() => return Ok(()),
                changed = tokens.changed() => if changed.is_err() { return Err(stopping()) },
                () = tokio::time::sleep(left) => {}
                changed = feed.changed() => {
                    if changed.is_err() {
                        return Err(stopping());
                    }
                    self.look(&mut feed)?;
                }
                changed = mended.changed() => {
                    if changed.is_err() {
                        return Err(stopping());
                    }
                    self.try_again();
                }
                permit = items.clone().reserve_owned(), if room.is_none() => match permit {
                    Ok(permit) => room = Some(permit),
                    Err(_) => return Ok(()),
                },
                message = inbound.message(), if inbound_open => match message {
                    Ok(Some(request)) => self.receive(&request)?,
                    // It only listens from now on.
                    Ok(None) => inbound_open = false,
                    Err(status) if is_violation(&status) => return Err(status),
                    Err(_) => return Ok(()),
                },
                () = until(silent_at) => {
                    self.session.on_silence();
                    silent_at = None;
                }
            }
        }
    }

    /// How long the token is good, as far as one can tell now.
    fn time_left(&self, claims: &Claims) -> Result<Duration, Status> {
        let (at, now) = (claims.expires_at, clock::now());
        if at <= now {
            return Err(Status::unauthenticated(format!(
                "the token expired at {at}"
            )));
        }
        if self.sds.tokens.revoked(&claims.token_id) {
            return Err(Status::unauthenticated("the token was revoked"));
        }
        Ok(at.since(now).min(LONGEST_SLEEP))
    }

    /// Takes in a request.
    fn receive(&mut self, request: &P::Request) -> Result<(), Status> {
        check::<P>(request)?;
        match self.session.on_request(request) {
            Some(Verdict::Accepted(resource)) => self.accepted(&resource),
            Some(Verdict::Rejected { resource, message }) => self.rejected(&resource, &message),
            None => {}
        }
        if self.session.subscribed() > MAX_NAMES {
            return Err(too_many_names());
        }
        Ok(())
    }

    fn accepted(&self, resource: &Resource) {
        count(&self.sds.metrics.acks, resource);
        let proves = self.connection.accepted(resource, clock::now());
        tracing::debug!(
            dataplane = %self.dataplane,
            secret = &*resource.name,
            version = %resource.version,
            proves,
            "secret accepted"
        );
    }

    fn rejected(&self, resource: &Resource, message: &str) {
        count(&self.sds.metrics.nacks, resource);
        self.connection.rejected(resource, message, clock::now());
        tracing::warn!(
            dataplane = %self.dataplane,
            secret = &*resource.name,
            version = %resource.version,
            message = &message[..message.floor_char_boundary(1024)],
            "secret rejected"
        );
    }

    /// Looks at what the proxy is to be told now.
    fn look(&mut self, feed: &mut watch::Receiver<Feed>) -> Result<(), Status> {
        match &*feed.borrow_and_update() {
            Feed::Pending => {}
            Feed::Ready(snapshot) => {
                let first = self.published.replace(snapshot.clone()).is_none();
                if first {
                    self.try_again();
                } else {
                    self.snapshot = snapshot.in_editions(&self.editions);
                }
            }
            Feed::Gone => return Err(deleted(&self.dataplane)),
        }
        Ok(())
    }

    /// Takes another edition of what the proxy has rejected. At the start of a
    /// stream and when another secret was mended, not after a rejection: that
    /// would be a spin.
    fn try_again(&mut self) {
        let Some(published) = &self.published else {
            return;
        };
        let published_now = |version: &Digest| {
            let mut resources = published.of(ResourceType::Secret).iter();
            resources.any(|resource| resource.version == *version)
        };
        self.editions.retain(|version, _| published_now(version));
        self.editions.extend(self.connection.untried(published));
        self.snapshot = published.in_editions(&self.editions);
    }
}

/// Refuses a request that asks for another type or for too much.
pub(super) fn check<P: Protocol>(request: &P::Request) -> Result<(), Status> {
    let type_url = P::type_url(request);
    if !type_url.is_empty() && ResourceType::from_type_url(type_url) != Some(ResourceType::Secret) {
        return Err(Status::invalid_argument(format!(
            "this service serves `{}` only",
            ResourceType::Secret.type_url()
        )));
    }
    let names = P::names(request);
    if names.len() > MAX_NAMES || names.iter().any(|name| name.len() > MAX_NAME) {
        return Err(too_many_names());
    }
    Ok(())
}

fn too_many_names() -> Status {
    Status::resource_exhausted(format!(
        "a stream may name {MAX_NAMES} resources of {MAX_NAME} bytes each"
    ))
}

pub(super) fn stopping() -> Status {
    Status::unavailable("the control plane is shutting down")
}

pub(super) fn deleted(dataplane: &DataplaneId) -> Status {
    Status::not_found(format!("dataplane {dataplane} was deleted"))
}

/// Whether the proxy sent what cannot be read, rather than went away.
fn is_violation(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::OutOfRange | Code::ResourceExhausted | Code::Internal | Code::Unimplemented
    )
}

fn count(family: &Family<SecretLabel, Counter>, resource: &Resource) {
    let secret = if *resource.name == *MESH_CA {
        MESH_CA
    } else {
        IDENTITY_CERT
    };
    family.get_or_create(&SecretLabel { secret }).inc();
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Counts a stream as open while it lives.
struct OpenStream(Gauge);

impl OpenStream {
    fn new(metrics: &XdsMetrics, protocol: &'static str) -> Self {
        let gauge = metrics
            .streams
            .get_or_create_owned(&ProtocolLabel { protocol });
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
