//! Scenarios of one daemon, on several replicas that share a Postgres.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use super::Postgres;

/// Several replicas on one store.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) replicas: usize,
    pub(crate) store: Arc<Mutex<Postgres>>,
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
        }
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
