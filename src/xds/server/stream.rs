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

use super::protocol::{Protocol, Service};
use super::{FIRST_MESSAGE, Xds, auth};
use crate::clock;
use crate::model::{DataplaneId, Digest};
use crate::token::Claims;
use crate::xds::evidence::Connection;
use crate::xds::index::Feed;
use crate::xds::metrics::{StreamLabel, TypeLabel, XdsMetrics};
use crate::xds::resource::{Editions, Resource, ResourceType};
use crate::xds::session::{Next, Session, Verdict};
use crate::xds::snapshot::Snapshot;

/// How long a response waits for the answer to the one before it.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest sleep: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// Serves one stream. Ends without a status when the proxy is gone.
pub(super) async fn run<P: Protocol>(
    xds: &Xds,
    service: Service,
    claims: Claims,
    mut inbound: Streaming<P::Request>,
    items: mpsc::Sender<Box<P::Response>>,
) -> Result<(), Status> {
    let first = tokio::select! {
        () = xds.shutdown.cancelled() => return Err(stopping()),
        () = items.closed() => return Ok(()),
        first = first_message(&mut inbound) => first?,
    };
    service.check::<P>(&first)?;
    let dataplane = auth::authorize(&claims, P::node(&first))?;
    let subscription = xds
        .index
        .subscribe(&dataplane)
        .map_err(|error| Status::not_found(error.to_string()))?;

    let connection = (xds.evidence).connect(dataplane.clone(), claims.expires_at, clock::now());
    let _open = OpenStream::new(&xds.metrics, service, P::NAME);
    let name = service.name();
    tracing::info!(%dataplane, service = name, protocol = P::NAME, "stream opened");
    let stream = Stream::<P> {
        xds,
        service,
        session: Session::new(connection.distrusted()),
        connection,
        dataplane: dataplane.clone(),
        published: None,
        editions: Editions::new(),
        snapshot: Arc::default(),
    };
    let feed = subscription.feed();
    let result = stream.serve(claims, first, inbound, items, feed).await;
    let code = result.as_ref().err().map(Status::code);
    tracing::info!(%dataplane, service = name, protocol = P::NAME, ?code, "stream closed");
    result
}

/// Boxed: the task of a stream would keep room for it as long as it lives.
async fn first_message<T>(inbound: &mut Streaming<T>) -> Result<Box<T>, Status> {
    match tokio::time::timeout(FIRST_MESSAGE, inbound.message()).await {
        Ok(message) => message?
            .map(Box::new)
            .ok_or_else(|| Status::invalid_argument("the stream has no message")),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no message within {} s",
            FIRST_MESSAGE.as_secs()
        ))),
    }
}

struct Stream<'a, P: Protocol> {
    xds: &'a Xds,
    service: Service,
    session: Session<P::Variant>,
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
        first: Box<P::Request>,
        mut inbound: Streaming<P::Request>,
        items: mpsc::Sender<Box<P::Response>>,
        mut feed: watch::Receiver<Feed>,
    ) -> Result<(), Status> {
        let mut tokens = self.xds.tokens.changes();
        let mut mended = self.connection.mended();
        self.receive(&first)?;
        // Envoy's says all that it is built of, about 57 KB.
        drop(first);
        self.look(&mut feed)?;
        let mut inbound_open = true;
        let mut room: Option<OwnedPermit<Box<P::Response>>> = None;
        let mut silent_at: Option<Instant> = None;
        loop {
            let left = self.time_left(&claims)?;
            // The newest snapshot becomes a response when there is room for
            // one: a proxy that does not read costs one response and no more.
            if self.published.is_some()
                && let Some(permit) = room.take()
            {
                match self.session.next(&self.snapshot) {
                    Next::Send(response) => {
                        count(&self.xds.metrics.responses, response.kind);
                        permit.send(Box::new(P::encode(response)));
                        silent_at = None;
                        continue;
                    }
                    Next::Holds(held) => {
                        self.accepted(held.kind, &held.version, &held.resources);
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
                () = self.xds.shutdown.cancelled() => return Err(stopping()),
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
        if self.xds.tokens.revoked(&claims.token_id) {
            return Err(Status::unauthenticated("the token was revoked"));
        }
        Ok(at.since(now).min(LONGEST_SLEEP))
    }

    /// Takes in a request.
    fn receive(&mut self, request: &P::Request) -> Result<(), Status> {
        let kind = self.service.check::<P>(request)?;
        match self.session.on_request(kind, request) {
            Some(Verdict::Accepted {
                kind,
                version,
                resources,
            }) => self.accepted(kind, &version, &resources),
            Some(Verdict::Rejected {
                kind,
                version,
                resources,
                message,
            }) => self.rejected(kind, &version, &resources, &message),
            None => {}
        }
        self.service.check_number(self.session.subscribed())
    }

    fn accepted(&self, kind: ResourceType, version: &str, resources: &[Arc<Resource>]) {
        count(&self.xds.metrics.acks, kind);
        let now = clock::now();
        let mut proves = true;
        if kind == ResourceType::Secret {
            for secret in resources {
                proves &= self.connection.accepted(secret, now);
            }
        } else {
            self.connection.acknowledged(kind, version, now);
        }
        tracing::debug!(
            dataplane = %self.dataplane,
            r#type = kind.name(),
            names = names(resources),
            version,
            proves,
            "resources accepted"
        );
    }

    fn rejected(
        &self,
        kind: ResourceType,
        version: &str,
        resources: &[Arc<Resource>],
        message: &str,
    ) {
        count(&self.xds.metrics.nacks, kind);
        let now = clock::now();
        if kind == ResourceType::Secret {
            for secret in resources {
                self.connection.rejected(secret, message, now);
            }
        } else {
            self.connection.refused(kind, message, now);
        }
        tracing::warn!(
            dataplane = %self.dataplane,
            r#type = kind.name(),
            names = names(resources),
            version,
            message = &message[..message.floor_char_boundary(1024)],
            "resources rejected"
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

fn count(family: &Family<TypeLabel, Counter>, kind: ResourceType) {
    family.get_or_create(&TypeLabel::of(kind)).inc();
}

/// The names of resources in a log line.
fn names(resources: &[Arc<Resource>]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = resources.iter().take(SHOWN).map(|it| &*it.name).collect();
    let more = resources.len().saturating_sub(SHOWN);
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
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
    fn new(metrics: &XdsMetrics, service: Service, protocol: &'static str) -> Self {
        let service = service.name();
        let label = StreamLabel { service, protocol };
        let gauge = metrics.streams.get_or_create_owned(&label);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
