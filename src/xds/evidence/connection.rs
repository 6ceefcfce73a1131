//! What one stream notes on the board.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::record::{self, MAX_REJECTED, Unsaved};
use super::streams::{Parts, Shown};
use super::{Entry, EvidenceBoard};
use crate::clock;
use crate::model::{DataplaneId, Generation, Marks, Part, Timestamp};
use crate::xds::resource::{Editions, Proof, Resource, ResourceType};
use crate::xds::snapshot::Snapshot;

/// One open stream of a proxy.
#[derive(Debug)]
pub struct Connection {
    board: Arc<EvidenceBoard>,
    dataplane: DataplaneId,
    mended: watch::Receiver<u64>,
    shown: Shown,
}

impl Connection {
    pub(super) fn new(
        board: Arc<EvidenceBoard>,
        dataplane: DataplaneId,
        mended: watch::Receiver<u64>,
        shown: Shown,
    ) -> Self {
        Self {
            board,
            dataplane,
            mended,
            shown,
        }
    }

    /// Changes when the proxy has accepted a secret while another counts as
    /// rejected: that one may have been good, and may be tried again. While one
    /// secret of a TLS context is bad, Envoy rejects every other with its error.
    #[must_use]
    pub fn mended(&self) -> watch::Receiver<u64> {
        self.mended.clone()
    }

    /// Of each resource that the proxy rejected: an edition that it did not.
    #[must_use]
    pub fn untried(&self, snapshot: &Snapshot) -> Editions {
        let entries = self.board.lock();
        let Some(entry) = entries.get(&self.dataplane) else {
            return Editions::new();
        };
        let resources = snapshot.of(ResourceType::Secret).iter();
        resources
            .filter_map(|resource| {
                let rejected = entry.evidence.rejected.get(&*resource.name)?;
                let untried = |edition: &u32| {
                    let version = resource.edition(*edition).version;
                    !rejected.contains(&version)
                };
                let edition = (0..).take(MAX_REJECTED + 1).find(untried)?;
                Some((resource.version, edition))
            })
            .collect()
    }

    /// The secrets and the other types of which the proxy rejected something
    /// last, or may have.
    #[must_use]
    pub fn distrusted(&self) -> BTreeSet<String> {
        let entries = self.board.lock();
        let Some(entry) = entries.get(&self.dataplane) else {
            return BTreeSet::new();
        };
        let evidence = &entry.evidence;
        let unanswered = entry.streams.unanswered(self.shown.id);
        (evidence.rejected.keys())
            .chain(&evidence.refused)
            .chain(&evidence.doubted)
            .cloned()
            .chain(unanswered.map(|part| record::name(part).to_owned()))
            .collect()
    }

    /// Notes that the proxy accepted a secret. Returns whether that proves
    /// anything: Envoy also acknowledges bytes that it rejected before,
    /// without using them.
    pub fn accepted(&self, resource: &Resource, now: Timestamp) -> bool {
        self.board
            .update(&self.dataplane, |entry| {
                let evidence = Arc::make_mut(&mut entry.evidence);
                let proves = record::accept(evidence, resource, now);
                if proves && !evidence.rejected.is_empty() {
                    entry.mended.send_modify(|count| *count += 1);
                }
                (Unsaved::Evidence, proves)
            })
            .unwrap_or(false)
    }

    /// Notes that the proxy acknowledged a version of a type that holds no
    /// secrets. What it rejected of that type before is forgiven.
    pub fn acknowledged(&self, kind: ResourceType, version: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let evidence = Arc::make_mut(&mut entry.evidence);
            (record::acknowledge(evidence, kind, version, now), ())
        });
    }

    /// Notes that the proxy rejected a response of a type that holds no secrets.
    /// The store is told at once: should the process die, it must not count as
    /// accepted.
    pub fn refused(&self, kind: ResourceType, message: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let evidence = Arc::make_mut(&mut entry.evidence);
            record::refuse(evidence, kind, message, now);
            (Unsaved::Evidence, ())
        });
        self.board.hurry.notify_one();
    }

    /// Notes that the proxy rejected a secret. The store is told at once.
    pub fn rejected(&self, resource: &Resource, message: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let evidence = Arc::make_mut(&mut entry.evidence);
            record::reject(evidence, resource, message, now);
            (Unsaved::Evidence, ())
        });
        self.board.hurry.notify_one();
    }
}

/// What it is told, what it asks for and what it proves.
impl Connection {
    /// Notes that the stream is told nothing older than this from now on.
    pub fn offered(&mut self, marks: Marks, now: Timestamp) {
        if self.shown.offered != marks {
            self.shown.offered = marks;
            self.show(now);
        }
    }

    /// Notes what the proxy subscribes to on this stream. Before it is sent any of it.
    pub fn asks(&mut self, parts: Parts, now: Timestamp) {
        if self.shown.asks != parts {
            // What it has dropped and asks for again it is to prove again.
            self.shown.forget_proofs_beyond(parts);
            self.shown.asks = parts;
            self.show(now);
        }
    }

    /// Whether the stream has proven a part at this mark or a later one.
    #[must_use]
    pub fn has_proven(&self, part: Part, mark: u64) -> bool {
        self.shown.has_proven(part, mark)
    }

    /// Notes that the proxy uses, of this part, what is told under this mark,
    /// as far as this stream can say.
    pub fn proves(&mut self, part: Part, mark: u64, now: Timestamp) {
        if !self.has_proven(part, mark) {
            self.shown.proven[part as usize] = Some(mark);
            self.show(now);
        }
    }

    fn show(&self, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let Entry {
                evidence, streams, ..
            } = entry;
            (streams.show(&self.shown, Arc::make_mut(evidence), now), ())
        });
    }

    /// Notes how long the proxy's replaced filter chains keep their
    /// connections, in seconds; `None` where it does not say.
    pub fn drains(&self, seconds: Option<u32>) {
        self.board.update(&self.dataplane, |entry| {
            if entry.evidence.drain_seconds == seconds {
                return (Unsaved::Nothing, ());
            }
            Arc::make_mut(&mut entry.evidence).drain_seconds = seconds;
            (Unsaved::Evidence, ())
        });
    }

    /// Notes that the proxy is about to be sent resources of a type.
    pub fn sends(&mut self, kind: ResourceType, resources: &[Arc<Resource>], now: Timestamp) {
        for part in parts(kind, resources) {
            self.shown.unanswered.set(part, true);
        }
        self.board.update(&self.dataplane, |entry| {
            let Entry {
                evidence, streams, ..
            } = entry;
            let evidence = Arc::make_mut(evidence);
            let mut unsaved = streams.show(&self.shown, evidence, now);
            for part in parts(kind, resources) {
                if streams.unanswered(self.shown.id).any(|it| it == part) {
                    // That stream may have broken without a word.
                    record::doubt(evidence, part);
                    unsaved = Unsaved::Evidence;
                }
            }
            for resource in resources {
                if let Some(Proof::Holds(_, not_after)) = resource.proof()
                    && record::hand_out(evidence, not_after)
                {
                    unsaved = Unsaved::Evidence;
                }
            }
            (unsaved, ())
        });
    }

    /// Notes that the proxy answered to resources of a type that it was sent.
    pub fn answers(&mut self, kind: ResourceType, resources: &[Arc<Resource>], now: Timestamp) {
        for part in parts(kind, resources) {
            self.shown.unanswered.set(part, false);
        }
        self.show(now);
    }

    /// Notes that the dataplane was deleted.
    pub fn is_gone(&self) {
        self.board.forget(&self.dataplane);
    }

    /// The generation that the store was of, at most, when it came to know that
    /// the proxy is connected: nothing is written after it without the proxy.
    /// `None` while it does not know. It is asked to hurry then:
    /// [`Connection::written`] changes when it may know more.
    #[must_use]
    pub fn on_record(&self) -> Option<Generation> {
        let entries = self.board.lock();
        let entry = entries.get(&self.dataplane);
        let on_record = entry.map_or(Some(Generation(0)), |entry| entry.on_record);
        drop(entries);
        if on_record.is_none() {
            self.board.hurry.notify_one();
        }
        on_record
    }

    /// Changes whenever the store has got something.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.board.written.subscribe()
    }
}

fn parts(kind: ResourceType, resources: &[Arc<Resource>]) -> impl Iterator<Item = Part> {
    let secrets = resources.iter().filter_map(|it| record::part(it));
    record::part_of(kind).into_iter().chain(secrets)
}

impl Drop for Connection {
    fn drop(&mut self) {
        {
            let mut entries = self.board.lock();
            let Some(entry) = entries.get_mut(&self.dataplane) else {
                return;
            };
            let now = clock::now();
            let evidence = Arc::make_mut(&mut entry.evidence);
            entry.unsaved = Unsaved::Evidence;
            entry.streams.end(self.shown.id, evidence, now);
            if entry.streams.is_empty() {
                record::leave(evidence, self.board.leaf_lifetime, now);
                entry.on_record = None;
            }
        }
        self.board.changed();
    }
}
