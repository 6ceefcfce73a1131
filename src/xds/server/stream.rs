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

use super::conversation::{Conversation, Heard, Todo};
use super::credential::Credential;
use super::protocol::{Protocol, Service};
use super::{FIRST_MESSAGE, Xds, auth};
use crate::clock;
use crate::model::DataplaneId;
use crate::xds::index::Feed;
use crate::xds::metrics::{StreamLabel, TypeLabel, XdsMetrics};
use crate::xds::resource::{Resource, ResourceType};

/// How long a response waits for the answer to the one before it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long secrets wait until the store knows that its proxy is connected.
pub(super) const RECORDING: Duration = Duration::from_secs(1);
/// How long they wait then until what the store held by that time is served.
pub(super) const FOLLOWING: Duration = Duration::from_secs(5);
/// The longest sleep: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);

/// Serves one stream. Ends without a status when the proxy is gone.
pub(super) async fn run<P: Protocol>(
    xds: &Xds,
    service: Service,
    credential: Credential,
    mut inbound: Streaming<P::Request>,
    items: mpsc::Sender<Box<P::Response>>,
) -> Result<(), Status> {
    let first = tokio::select! {
        () = xds.shutdown.cancelled() => return Err(stopping()),
        () = items.closed() => return Ok(()),
        first = first_message(&mut inbound) => first?,
    };
    service.check::<P>(&first)?;
    let accounts = xds.accounts.as_deref();
    let dataplane = auth::authorize(&credential, P::node(&first), &xds.index, accounts)?;
    let subscription = xds
        .index
        .subscribe(&dataplane)
        .map_err(|error| Status::not_found(error.to_string()))?;

    let connection =
        (xds.evidence).connect(dataplane.clone(), credential.expires_at(), clock::now());
    connection.drains(auth::drain_seconds(P::node(&first)));
    let _open = OpenStream::new(&xds.metrics, service, P::NAME);
    let name = service.name();
    tracing::info!(%dataplane, service = name, protocol = P::NAME, "stream opened");
    let stream = Stream::<P> {
        xds,
        service,
        conversation: Conversation::new(connection),
        recording: Recording::Unneeded,
        dataplane: dataplane.clone(),
    };
    let feed = subscription.feed();
    let result = stream.serve(&credential, first, inbound, items, feed).await;
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
    conversation: Conversation<P::Variant>,
    recording: Recording,
    dataplane: DataplaneId,
}

/// Whether the store knows that the proxy is connected. It has to before the
/// proxy is given anything: no crash may lose that it may hold a certificate, or
/// may have rejected something unheard, and no step may be taken without it. A
/// step that was taken before has to be served: it did not wait for the proxy,
/// which must not be given what was there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recording {
    /// It has not asked for anything.
    Unneeded,
    /// It asked, and waits no longer than this.
    Awaited(Instant),
    /// It does, and what it held by then is not served yet; it waits no longer
    /// than this.
    Behind(Instant),
    /// It does and all of that is served, or one of the two is out of reach.
    Done,
}

impl<P: Protocol> Stream<'_, P> {
    async fn serve(
        mut self,
        credential: &Credential,
        first: Box<P::Request>,
        mut inbound: Streaming<P::Request>,
        items: mpsc::Sender<Box<P::Response>>,
        mut feed: watch::Receiver<Feed>,
    ) -> Result<(), Status> {
        let xds = self.xds;
        let mut tokens = xds.tokens.changes();
        // Boxed: few streams have more to wait for than the end of time.
        let mut refused = Box::pin(credential.until_refused(xds.accounts.as_deref()));
        let mut mended = self.conversation.connection().mended();
        let mut written = self.conversation.connection().written();
        let mut published = self.xds.index.published();
        self.receive(&first)?;
        // Envoy's says all that it is built of, about 57 KB.
        drop(first);
        self.look(&mut feed)?;
        let mut inbound_open = true;
        let mut room: Option<OwnedPermit<Box<P::Response>>> = None;
        let mut silent_at: Option<Instant> = None;
        loop {
            let left = self.time_left(credential)?;
            // The newest snapshot becomes a response when there is room for
            // one: a proxy that does not read costs one response and no more.
            if self.conversation.is_ready()
                && self.recording.deadline().is_none()
                && let Some(permit) = room.take()
            {
                match self.conversation.next(clock::now()) {
                    Todo::Send(response) => {
                        count(&self.xds.metrics.responses, response.kind);
                        permit.send(Box::new(P::encode(response)));
                        silent_at = None;
                        continue;
                    }
                    Todo::Note(heard) => {
                        self.note(&heard);
                        room = Some(permit);
                        continue;
                    }
                    Todo::AwaitVerdict => {
                        silent_at.get_or_insert_with(|| Instant::now() + PATIENCE);
                    }
                    Todo::Nothing => silent_at = None,
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
                    // It may be in another namespace now.
                    credential.may_be(&self.dataplane, &xds.index, xds.accounts.as_deref())?;
                }
                status = &mut refused => return Err(status),
                changed = mended.changed() => {
                    if changed.is_err() {
                        return Err(stopping());
                    }
                    self.conversation.try_again();
                }
                changed = written.changed(), if self.recording.deadline().is_some() => {
                    if changed.is_err() {
                        return Err(stopping());
                    }
                    self.look_for_record();
                }
                changed = published.changed(), if self.recording.deadline().is_some() => {
                    if changed.is_err() {
                        return Err(stopping());
                    }
                    self.look_for_record();
                }
                () = until(self.recording.deadline()) => self.give_up_recording(),
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
                    self.conversation.on_silence();
                    silent_at = None;
                }
            }
        }
    }

    /// How long the token is good, as far as one can tell now.
    fn time_left(&self, credential: &Credential) -> Result<Duration, Status> {
        let now = clock::now();
        credential.still_holds(&self.xds.tokens, now)?;
        Ok(credential.expires_at().since(now).min(LONGEST_SLEEP))
    }

    /// Takes in a request.
    fn receive(&mut self, request: &P::Request) -> Result<(), Status> {
        let kind = self.service.check::<P>(request)?;
        let conversation = &mut self.conversation;
        if let Some(heard) = conversation.on_request(kind, request, clock::now()) {
            self.note(&heard);
        }
        if self.recording == Recording::Unneeded {
            self.recording = Recording::Awaited(Instant::now() + RECORDING);
            self.look_for_record();
        }
        let subscribed = self.conversation.subscribed();
        self.service.check_number(subscribed)
    }

    fn look_for_record(&mut self) {
        let Some(generation) = self.conversation.connection().on_record() else {
            return;
        };
        let index = &self.xds.index;
        let has_reached = |told| index.has_reached(generation, &self.dataplane, told);
        if self.conversation.told().is_some_and(has_reached) {
            self.end_recording();
        } else if matches!(self.recording, Recording::Awaited(_)) {
            self.recording = Recording::Behind(Instant::now() + FOLLOWING);
        }
    }

    fn give_up_recording(&mut self) {
        if matches!(self.recording, Recording::Behind(_)) {
            tracing::warn!(
                dataplane = %self.dataplane,
                waited_seconds = FOLLOWING.as_secs(),
                "what the store holds is not served yet; the proxy is given what was there before"
            );
        } else {
            tracing::warn!(
                dataplane = %self.dataplane,
                waited_seconds = RECORDING.as_secs(),
                "the store does not know yet that the proxy is connected; \
                 it is served all the same"
            );
        }
        self.end_recording();
    }

    fn end_recording(&mut self) {
        self.recording = Recording::Done;
        self.conversation.on_record();
    }

    /// Counts and logs what the proxy said.
    fn note(&self, heard: &Heard) {
        match heard {
            Heard::Accepted {
                kind,
                version,
                resources,
                proves,
            } => {
                count(&self.xds.metrics.acks, *kind);
                tracing::debug!(
                    dataplane = %self.dataplane,
                    r#type = kind.name(),
                    names = names(resources),
                    version,
                    proves,
                    "resources accepted"
                );
            }
            Heard::Rejected {
                kind,
                version,
                resources,
                message,
            } => {
                count(&self.xds.metrics.nacks, *kind);
                tracing::warn!(
                    dataplane = %self.dataplane,
                    r#type = kind.name(),
                    names = names(resources),
                    version,
                    message = &message[..message.floor_char_boundary(1024)],
                    "resources rejected"
                );
            }
        }
    }

    /// Looks at what the proxy is to be told now.
    fn look(&mut self, feed: &mut watch::Receiver<Feed>) -> Result<(), Status> {
        match &*feed.borrow_and_update() {
            Feed::Pending => {}
            Feed::Ready(snapshot) => {
                self.conversation.on_snapshot(snapshot, clock::now());
                if self.recording.deadline().is_some() {
                    self.look_for_record();
                }
            }
            Feed::Gone => {
                self.conversation.connection().is_gone();
                return Err(deleted(&self.dataplane));
            }
        }
        Ok(())
    }
}

impl Recording {
    /// Until when it is waited for.
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Awaited(until) | Self::Behind(until) => Some(until),
            Self::Unneeded | Self::Done => None,
        }
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
