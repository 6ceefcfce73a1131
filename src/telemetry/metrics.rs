//! The metric families of the reconciler and of what it keeps. The xDS
//! server's are its own; it registers them here.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{AuthorityState, Current, Evidence, SourceName, Timestamp};

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReconcileResult {
    /// Something was written.
    Applied,
    /// There was nothing to do.
    Unchanged,
    /// The revision, or a mesh of it, is held back.
    HeldBack,
    /// The source or the store failed.
    Failed,
}

impl EncodeLabelValue for ReconcileResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        let text = match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::HeldBack => "held_back",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: ReconcileResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MeshLabels {
    mesh: String,
    state: &'static str,
}

/// The program's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_duration: Histogram,
    generation: Gauge<u64, AtomicU64>,
    last_applied: Family<SourceLabels, Gauge>,
    dataplanes: Family<MeshLabels, Gauge>,
    authority_ends: Family<MeshLabels, Gauge>,
    /// Held while the families that follow the state are made anew and read.
    scrape: Mutex<()>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers the families.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("windlass"),
            reconciles: Family::default(),
            // From 1 ms to 32 s.
            reconcile_duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            generation: Gauge::default(),
            last_applied: Family::default(),
            dataplanes: Family::default(),
            authority_ends: Family::default(),
            scrape: Mutex::new(()),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "reconcile",
            "Reconciles by their result",
            metrics.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long a reconcile took",
            Unit::Seconds,
            metrics.reconcile_duration.clone(),
        );
        registry.register(
            "store_generation",
            "The store's generation, which rises on every write",
            metrics.generation.clone(),
        );
        registry.register_with_unit(
            "source_last_applied_timestamp",
            "When a revision of the source was applied last",
            Unit::Seconds,
            metrics.last_applied.clone(),
        );
        registry.register(
            "mesh_dataplanes",
            "Dataplanes of the mesh: known to the store, and connected",
            metrics.dataplanes.clone(),
        );
        registry.register_with_unit(
            "authority_not_after_timestamp",
            "The first end of an authority of the mesh that is in this state",
            Unit::Seconds,
            metrics.authority_ends.clone(),
        );
        metrics
    }

    /// Where other parts register their own families, without the prefix `windlass_`.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, result: ReconcileResult, duration: Duration) {
        self.reconciles
            .get_or_create(&ResultLabels { result })
            .inc();
        self.reconcile_duration.observe(duration.as_secs_f64());
    }

    /// Notes that a revision of `source` was applied.
    pub fn source_applied(&self, source: &SourceName, at: Timestamp) {
        let labels = SourceLabels {
            source: source.to_string(),
        };
        self.last_applied
            .get_or_create(&labels)
            .set(at.unix_seconds());
    }

    /// All metrics in the text format of OpenMetrics 1.0, with the families
    /// that follow the state as `current` and `evidence` have it.
    pub fn encode(&self, current: &Current, evidence: &Evidence) -> String {
        // A poisoned lock guards nothing that could be half done: it is all made anew.
        let _scrape = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.observe(current, evidence);
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    fn observe(&self, current: &Current, evidence: &Evidence) {
        self.generation.set(current.generation.0);
        self.dataplanes.clear();
        self.authority_ends.clear();
        for mesh in current.meshes.values() {
            let labels = |state| MeshLabels {
                mesh: mesh.name.to_string(),
                state,
            };
            let known = mesh.dataplanes().count();
            let online = mesh
                .dataplanes()
                .filter_map(|dataplane| evidence.get(&dataplane.id()))
                .filter(|proxy| proxy.connected_since.is_some())
                .count();
            for (state, number) in [("known", known), ("online", online)] {
                self.dataplanes
                    .get_or_create(&labels(state))
                    .set(i64::try_from(number).unwrap_or(i64::MAX));
            }
            for authority in mesh.authorities.values() {
                if matches!(authority.state, AuthorityState::Revoked { .. }) {
                    continue;
                }
                let end = authority.not_after.unix_seconds();
                let gauge = self
                    .authority_ends
                    .get_or_create_owned(&labels(authority.state.name()));
                let known = gauge.get();
                gauge.set(if known == 0 { end } else { known.min(end) });
            }
        }
    }
}
