//! What the proxies of a mesh share about one service.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Weak};

use super::grants::Grants;
use crate::model::{Accepts, MeshName, Opens, ResourceName, ServiceName};
use crate::xds::resource::Resource;
use crate::xds::to_envoy::listener::{Access, Guard};
use crate::xds::to_envoy::{cluster, listener, rbac, tls};

/// One service: who offers it, who reaches for it, and what was made of that.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Where each dataplane offers it.
    pub(super) offers: BTreeMap<ResourceName, BTreeSet<SocketAddr>>,
    /// The dataplanes with an outbound to it.
    pub(super) clients: BTreeSet<ResourceName>,
    cluster: Option<Arc<Resource>>,
    endpoints: Option<Arc<Resource>>,
    guard: Option<Guard>,
    inbounds: Shared<(SocketAddr, NonZeroU16)>,
    outbounds: Shared<SocketAddr>,
}

impl Service {
    /// Whether no dataplane has to do with it.
    pub(super) fn is_unused(&self) -> bool {
        self.offers.is_empty() && self.clients.is_empty()
    }

    /// The rules changed: its inbounds have to be made again.
    pub(super) fn forget_rules(&mut self) {
        self.guard = None;
        self.inbounds = Shared::default();
    }

    /// The offers changed: its endpoints have to be made again.
    pub(super) fn forget_endpoints(&mut self) {
        self.endpoints = None;
    }

    /// What outbounds open changed: its cluster has to be made again.
    pub(super) fn forget_cluster(&mut self) {
        self.cluster = None;
    }

    pub(super) fn cluster(
        &mut self,
        mesh: &MeshName,
        name: &ServiceName,
        opens: Opens,
    ) -> Arc<Resource> {
        let make = || {
            let tls = match opens {
                Opens::Plaintext => None,
                Opens::Mtls => Some(tls::upstream(mesh, name)),
            };
            Arc::new(cluster::service(name, tls))
        };
        self.cluster.get_or_insert_with(make).clone()
    }

    pub(super) fn endpoints(&mut self, name: &ServiceName) -> Arc<Resource> {
        let offers = &self.offers;
        let make = || {
            let at = offers.values().flatten().copied().collect();
            Arc::new(cluster::endpoints(name, &at))
        };
        self.endpoints.get_or_insert_with(make).clone()
    }

    pub(super) fn inbound(
        &mut self,
        mesh: &MeshName,
        name: &ServiceName,
        (at, to): (SocketAddr, NonZeroU16),
        (accepts, drained): (Accepts, u64),
        grants: &Grants,
    ) -> Arc<Resource> {
        let make_guard = || {
            let sources = grants.sources(name);
            Guard {
                tls: tls::downstream(mesh, &sources),
                rbac: rbac::filter(mesh, name, &sources),
                drained,
            }
        };
        self.inbounds.get_or_make((at, to), || {
            let mut guard = || self.guard.get_or_insert_with(make_guard).clone();
            let access = match accepts {
                Accepts::Plaintext => Access::Plaintext,
                Accepts::Both => Access::Both(guard()),
                Accepts::Mtls => Access::Mtls(guard()),
            };
            listener::inbound(at, to, name, access)
        })
    }

    pub(super) fn outbound(&mut self, name: &ServiceName, at: SocketAddr) -> Arc<Resource> {
        self.outbounds
            .get_or_make(at, || listener::outbound(at, name))
    }
}

/// Resources that several proxies may have, while one of them has.
#[derive(Debug)]
pub(super) struct Shared<K>(HashMap<K, Weak<Resource>>);

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Shared<K> {
    pub(super) fn get_or_make(&mut self, key: K, make: impl FnOnce() -> Resource) -> Arc<Resource> {
        if self.0.len() == self.0.capacity() {
            // Instead of growing, where that is possible.
            self.0.retain(|_, resource| resource.strong_count() > 0);
        }
        match self.0.entry(key) {
            Entry::Occupied(mut known) => known.get().upgrade().unwrap_or_else(|| {
                let resource = Arc::new(make());
                known.insert(Arc::downgrade(&resource));
                resource
            }),
            Entry::Vacant(place) => {
                let resource = Arc::new(make());
                place.insert(Arc::downgrade(&resource));
                resource
            }
        }
    }
}
