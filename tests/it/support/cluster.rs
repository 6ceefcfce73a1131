//! Scenarios of one daemon, on several replicas that share a store.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Postgres, kubernetes};

/// Where the control plane is in a cluster.
const NAMESPACE: &str = "windlass-system";

/// Several replicas on one store.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) replicas: usize,
    store: Shared,
    /// How many were started, where each has another name, as pods have.
    pods: Option<Arc<AtomicUsize>>,
}

/// What replicas share.
#[derive(Clone)]
enum Shared {
    Postgres(Arc<Mutex<Postgres>>),
    Kubernetes(Rc<kubernetes::Cluster>),
}

thread_local! {
    static CLUSTER: RefCell<Option<Cluster>> = const { RefCell::new(None) };
}

impl Cluster {
    /// So many replicas on a store of their own.
    pub(crate) fn of(replicas: usize) -> Self {
        Self {
            replicas,
            store: Shared::Postgres(Arc::new(Mutex::new(Postgres::start()))),
            pods: None,
        }
    }

    /// So many replicas in a Kubernetes cluster of their own.
    pub(crate) fn in_kubernetes(replicas: usize) -> Self {
        let cluster = kubernetes::Cluster::take();
        cluster.run(&["create", "namespace", NAMESPACE]);
        let crds = windlass::manifest::documents_yaml(&windlass::store::kubernetes::crds());
        cluster.apply(&crds).expect("the CRDs are taken");
        Self {
            replicas,
            store: Shared::Kubernetes(Rc::new(cluster)),
            pods: None,
        }
    }

    /// The Postgres that they share.
    pub(crate) fn postgres(&self) -> Arc<Mutex<Postgres>> {
        match &self.store {
            Shared::Postgres(server) => Arc::clone(server),
            Shared::Kubernetes(_) => panic!("it is in Kubernetes"),
        }
    }

    /// The variables that say to the daemon where the store is.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let cluster = match &self.store {
            Shared::Postgres(server) => return server.lock().expect("the store").variables(),
            Shared::Kubernetes(cluster) => cluster,
        };
        let variables = [
            ("STORE_TYPE", "kubernetes".to_owned()),
            ("STORE_KUBERNETES_NAMESPACE", NAMESPACE.to_owned()),
            (
                "STORE_KUBERNETES_KUBECONFIG",
                cluster.kubeconfig().display().to_string(),
            ),
            ("WEBHOOK_PORT", "0".to_owned()),
        ];
        let named = variables.into_iter();
        named
            .map(|(name, value)| (format!("WINDLASS_{name}"), value))
            .collect()
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
