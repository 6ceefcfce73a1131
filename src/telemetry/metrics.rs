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

use self::meshes::Meshes;
use crate::model::{Current, MeshName, SourceName, Timestamp};
use crate::plan::Circumstances;

mod meshes;

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

/// The program's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_duration: Histogram,
    generation: Gauge<u64, AtomicU64>,
    last_applied: Family<SourceLabels, Gauge>,
    store_up: Gauge,
    store_unreachable: Gauge<f64, AtomicU64>,
    leader: Gauge,
    replicas: Gauge,
    meshes: Meshes,
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
            store_up: Gauge::default(),
            store_unreachable: Gauge::default(),
            leader: Gauge::default(),
            replicas: Gauge::default(),
            meshes: Meshes::default(),
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
        registry.register(
            "store_up",
            "1 while the store answers this replica",
            metrics.store_up.clone(),
        );
        registry.register_with_unit(
            "store_unreachable",
            "For how long the store has not answered; 0 while it does",
            Unit::Seconds,
            metrics.store_unreachable.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica is the one that reconciles",
            metrics.leader.clone(),
        );
        registry.register(
            "replicas",
            "Replicas of the control plane that live, as this one sees it",
            metrics.replicas.clone(),
        );
        registry.register_with_unit(
            "source_last_applied_timestamp",
            "When a revision of the source was applied last",
            Unit::Seconds,
            metrics.last_applied.clone(),
        );
        metrics.meshes = Meshes::register(registry);
        metrics
    }

    /// Where other parts register their own families, without the prefix `windlass_`.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Notes who serves, and whether this replica reconciles.
    pub fn replicas(&self, living: usize, leads: bool) {
        self.replicas.set(i64::try_from(living).unwrap_or(i64::MAX));
        self.leader.set(i64::from(leads));
    }

    /// Notes since when the store does not answer, if it does not.
    pub fn store_lost(&self, since: Option<Timestamp>, now: Timestamp) {
        self.store_up.set(i64::from(since.is_none()));
        let lost = since.map_or(Duration::ZERO, |since| now.since(since));
        self.store_unreachable.set(lost.as_secs_f64());
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

    /// Notes for how long inbounds of the mesh have accepted plaintext in a
    /// transition that has ended.
    pub fn plaintext_window(&self, mesh: &MeshName, window: Duration) {
        self.meshes.window(mesh, window);
    }

    /// All metrics in the text format of OpenMetrics 1.0, with the families
    /// that follow the state as `current` and `given` have it.
    pub fn encode(&self, current: &Current, given: Circumstances<'_>) -> String {
        // A poisoned lock guards nothing that could be half done: it is all made anew.
        let _scrape = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.generation.set(current.generation.0);
        self.meshes.observe(current, given);
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
