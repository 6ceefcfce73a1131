//! What one stream notes on the board.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::EvidenceBoard;
use super::record::{self, MAX_REJECTED, Unsaved};
use crate::clock;
use crate::model::{DataplaneId, Timestamp};
use crate::xds::resource::{Editions, Resource, ResourceType};
use crate::xds::snapshot::Snapshot;

/// One open stream of a proxy.
#[derive(Debug)]
pub struct Connection {
    board: Arc<EvidenceBoard>,
    dataplane: DataplaneId,
    mended: watch::Receiver<u64>,
}

impl Connection {
    pub(super) fn new(
        board: Arc<EvidenceBoard>,
        dataplane: DataplaneId,
        mended: watch::Receiver<u64>,
    ) -> Self {
        Self {
            board,
            dataplane,
            mended,
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

    /// The secrets of which the proxy rejected something last.
    #[must_use]
    pub fn distrusted(&self) -> BTreeSet<String> {
        self.board
            .lock()
            .get(&self.dataplane)
            .map(|entry| entry.evidence.rejected.keys().cloned().collect())
            .unwrap_or_default()
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
    pub fn refused(&self, kind: ResourceType, message: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let evidence = Arc::make_mut(&mut entry.evidence);
            record::refuse(evidence, kind, message, now);
            (Unsaved::Evidence, ())
        });
    }

    /// Notes that the proxy rejected a secret.
    pub fn rejected(&self, resource: &Resource, message: &str, now: Timestamp) {
        self.board.update(&self.dataplane, |entry| {
            let evidence = Arc::make_mut(&mut entry.evidence);
            record::reject(evidence, resource, message, now);
            (Unsaved::Evidence, ())
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        {
            let mut entries = self.board.lock();
            let Some(entry) = entries.get_mut(&self.dataplane) else {
                return;
            };
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams > 0 {
                return;
            }
            let evidence = entry.change(Unsaved::Evidence);
            evidence.connected_since = None;
            evidence.seen = clock::now();
        }
        self.board.changed();
    }
}
