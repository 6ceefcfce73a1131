//! What is said on one stream, and what that proves: the protocol's machine
//! together with what the proxy is told and the board that it is noted on.
//! There is no gRPC in it, and nothing waits.

use std::sync::Arc;

use crate::model::{Digest, Marks, Part, Timestamp};
use crate::xds::evidence::{Connection, Parts};
use crate::xds::resource::{Editions, IDENTITY_CERT, MESH_CA, Resource, ResourceType};
use crate::xds::session::{Next, Response, Session, Variant, Verdict};
use crate::xds::snapshot::Snapshot;

/// What a proxy said about resources.
#[derive(Debug)]
pub(super) enum Heard {
    Accepted {
        kind: ResourceType,
        version: String,
        resources: Vec<Arc<Resource>>,
        /// Whether it proves anything.
        proves: bool,
    },
    Rejected {
        kind: ResourceType,
        version: String,
        resources: Vec<Arc<Resource>>,
        message: String,
    },
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Todo {
    /// The response goes out.
    Send(Response),
    /// The proxy holds this since before the stream.
    Note(Heard),
    /// The proxy is to answer, within a while.
    AwaitVerdict,
    /// Nothing.
    Nothing,
}

/// One stream.
pub(super) struct Conversation<V: Variant> {
    session: Session<V>,
    connection: Connection,
    /// What all streams of the proxy see.
    published: Option<Arc<Snapshot>>,
    editions: Editions,
    /// The same in these editions.
    snapshot: Arc<Snapshot>,
}

impl<V: Variant> Conversation<V> {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            session: Session::new(connection.distrusted()),
            connection,
            published: None,
            editions: Editions::new(),
            snapshot: Arc::default(),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What others know of the proxy is known, too, before it is sent anything:
    /// what they gave it may be in doubt no longer.
    pub(super) fn on_record(&mut self) {
        let distrusted = self.connection.distrusted();
        for secret in [IDENTITY_CERT, MESH_CA] {
            if !distrusted.contains(secret) {
                self.session.believe(secret);
            }
        }
    }

    /// Whether there is something to tell.
    pub(super) fn is_ready(&self) -> bool {
        self.published.is_some()
    }

    /// The marks of what the proxy is to be told; `None` before there is anything.
    pub(super) fn told(&self) -> Option<Marks> {
        self.published.as_ref().map(|snapshot| snapshot.marks())
    }

    /// How many names came from the proxy.
    pub(super) fn subscribed(&self) -> usize {
        self.session.subscribed()
    }

    /// Gives up waiting for an answer before the next response.
    pub(super) fn on_silence(&mut self) {
        self.session.on_silence();
    }

    /// Takes in a request.
    pub(super) fn on_request(
        &mut self,
        kind: ResourceType,
        request: &V::Request,
        now: Timestamp,
    ) -> Option<Heard> {
        let verdict = self.session.on_request(kind, request);
        // Before anything of it is sent.
        let asks: Parts = (Part::ALL.into_iter())
            .filter(|part| self.session.asks(*part))
            .collect();
        self.connection.asks(asks, now);
        let heard = verdict.map(|verdict| match verdict {
            Verdict::Accepted {
                kind,
                version,
                resources,
            } => {
                self.connection.answers(kind, &resources, now);
                let proves = self.accepted(kind, &version, &resources, now);
                Heard::Accepted {
                    kind,
                    version,
                    resources,
                    proves,
                }
            }
            Verdict::Rejected {
                kind,
                version,
                resources,
                message,
            } => {
                self.connection.answers(kind, &resources, now);
                self.rejected(kind, &resources, &message, now);
                Heard::Rejected {
                    kind,
                    version,
                    resources,
                    message,
                }
            }
        });
        self.prove(now);
        heard
    }

    /// Looks at what the proxy is to be told now.
    pub(super) fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, now: Timestamp) {
        let before = self.published.replace(snapshot.clone());
        let is_new = |version: &Digest| {
            let known = before.iter().flat_map(|it| it.of(ResourceType::Secret));
            !known.into_iter().any(|it| it.version == *version)
        };
        self.take_editions(is_new);
        self.connection.offered(snapshot.marks(), now);
        self.prove(now);
    }

    /// Does what is to be done now. What is sent counts as sent.
    pub(super) fn next(&mut self, now: Timestamp) -> Todo {
        match self.session.next(&self.snapshot) {
            Next::Send(response) => {
                let (kind, resources) = (response.kind, &response.resources);
                self.connection.sends(kind, resources, now);
                Todo::Send(response)
            }
            Next::Holds(held) => {
                let proves = self.accepted(held.kind, &held.version, &held.resources, now);
                self.prove(now);
                Todo::Note(Heard::Accepted {
                    kind: held.kind,
                    version: held.version,
                    resources: held.resources,
                    proves,
                })
            }
            Next::AwaitVerdict => Todo::AwaitVerdict,
            Next::Nothing => Todo::Nothing,
        }
    }

    /// Takes another edition of what the proxy has rejected. At the start of a
    /// stream, when another secret was mended and when it acknowledged what
    /// proves nothing, not after a rejection: that would be a spin.
    pub(super) fn try_again(&mut self) {
        self.take_editions(|_| true);
    }

    /// Takes other editions, of these.
    fn take_editions(&mut self, is_tried: impl Fn(&Digest) -> bool) {
        let Some(published) = &self.published else {
            return;
        };
        let published_now = |version: &Digest| {
            let mut resources = published.of(ResourceType::Secret).iter();
            resources.any(|resource| resource.version == *version)
        };
        self.editions.retain(|version, _| published_now(version));
        let untried = self.connection.untried(published).into_iter();
        self.editions
            .extend(untried.filter(|(version, _)| is_tried(version)));
        self.snapshot = published.in_editions(&self.editions);
    }

    /// Notes on the board which parts of what the proxy is told it uses.
    fn prove(&mut self, now: Timestamp) {
        if self.published.is_none() {
            return;
        }
        let marks = self.snapshot.marks();
        for part in Part::ALL {
            let mark = marks.of(part);
            if !self.connection.has_proven(part, mark) && self.session.proves(part, &self.snapshot)
            {
                self.connection.proves(part, mark, now);
            }
        }
    }

    fn accepted(
        &mut self,
        kind: ResourceType,
        version: &str,
        resources: &[Arc<Resource>],
        now: Timestamp,
    ) -> bool {
        if kind != ResourceType::Secret {
            // What it accepted beside something bad does not make that good.
            if !self.session.rejects(kind) {
                self.connection.acknowledged(kind, version, now);
            }
            return true;
        }
        let mut all_prove = true;
        for secret in resources {
            all_prove &= self.connection.accepted(secret, now);
        }
        if !all_prove {
            // Then the present version is another, and is to be proven anew.
            self.try_again();
        }
        all_prove
    }

    fn rejected(
        &self,
        kind: ResourceType,
        resources: &[Arc<Resource>],
        message: &str,
        now: Timestamp,
    ) {
        if kind == ResourceType::Secret {
            for secret in resources {
                self.connection.rejected(secret, message, now);
            }
        } else {
            self.connection.refused(kind, message, now);
        }
    }
}

#[cfg(test)]
mod properties;
