//! Scenarios of one daemon, on several replicas that share a Postgres.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::Postgres;

/// Several replicas on one store.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) replicas: usize,
    pub(crate) store: Arc<Mutex<Postgres>>,
    /// How many were started, where each has another name, as pods have.
    pods: Option<Arc<AtomicUsize>>,
}

thread_local! {
    static CLUSTER: RefCell<Option<Cluster>> = const { RefCell::new(None) };
}

impl Cluster {
    /// So many replicas on a store of their own.
    pub(crate) fn of(replicas: usize) -> Self {
        Self {
            replicas,
            store: Arc::new(Mutex::new(Postgres::start())),
            pods: None,
        }
    }

    /// The same, where one that is started again has another name, as a pod has.
    pub(crate) fn of_pods(replicas: usize) -> Self {
        Self {
            pods: Some(Arc::default()),
            ..Self::of(replicas)
        }
    }

    /// The end of the name of a replica that is started now.
    pub(super) fn suffix(&self) -> String {
        let run = self.pods.as_ref();
        run.map_or_else(String::new, |runs| {
            format!("-{}", runs.fetch_add(1, Ordering::SeqCst))
        })
    }

    /// Runs a scenario: every site that it makes is on this cluster.
    pub(crate) fn run(self, scenario: fn()) {
        CLUSTER.set(Some(self));
        scenario();
        CLUSTER.set(None);
    }

    /// What a site that is made now is on.
    pub(super) fn current() -> Option<Self> {
        CLUSTER.with_borrow(Clone::clone)
    }
}
