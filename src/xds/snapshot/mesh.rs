//! A mesh as its proxies see it: compiled once, then advanced from state to
//! state at the cost of what changed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::grants::Grants;
use super::service::{Service, Shared};
use super::{LeafSpec, TrustBundle, View};
use crate::model::{
    AuthorityId, Dataplane, Inbound, Marks, MeshState, Posture, Resource as Stored, ResourceKey,
    ResourceName, Role, ServiceMatch, ServiceName, SpiffeId, StoredResource,
};
use crate::xds::resource::Resource;
use crate::xds::to_envoy::cluster;

/// The proxies whose view may differ now. No other's does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// All of the mesh.
    Everyone,
    /// These.
    Only(BTreeSet<ResourceName>),
}

/// The compiled form of one [`MeshState`].
///
/// Whatever several proxies are told is made once, when the first of them
/// needs it, and shared.
#[derive(Debug)]
pub struct MeshView {
    state: Arc<MeshState>,
    /// `None` without a Mesh resource: nothing is known about such a mesh, so its
    /// proxies are given nothing.
    posture: Option<Posture>,
    marks: Marks,
    drained: u64,
    mesh_ca: Option<Arc<Resource>>,
    issuer: Option<AuthorityId>,
    grants: Grants,
    services: BTreeMap<ServiceName, Service>,
    local: Shared<(NonZeroU16, bool)>,
}

impl MeshView {
    /// Compiles a mesh.
    #[must_use]
    pub fn of(state: &Arc<MeshState>) -> Self {
        let mut view = Self {
            state: Arc::new(MeshState::absent(state.name.clone())),
            posture: None,
            marks: Marks::default(),
            drained: 0,
            mesh_ca: None,
            issuer: None,
            grants: Grants::default(),
            services: BTreeMap::new(),
            local: Shared::default(),
        };
        view.advance(state);
        view
    }

    /// Goes on to another state of the same mesh.
    pub fn advance(&mut self, next: &Arc<MeshState>) -> Touched {
        if Arc::ptr_eq(&self.state, next) {
            return Touched::Only(BTreeSet::new());
        }
        let before = std::mem::replace(&mut self.state, next.clone());
        let mut step = Step::default();
        differences(&before.resources, &next.resources, |old, new| {
            self.replace(old, new, &mut step);
        });
        let names = self.settle(&step);
        if self.reground() {
            return Touched::Everyone;
        }
        Touched::Only(names)
    }

    /// What the mesh has for a dataplane; `None` where there is no such.
    pub fn proxy(&mut self, name: &ResourceName) -> Option<View> {
        let state = self.state.clone();
        let dataplane = state.dataplane(name)?;
        let Some(posture) = self.posture else {
            return Some(View::default());
        };
        let mesh = &state.name;
        let mut clusters = BTreeMap::new();
        let mut endpoints = BTreeMap::new();
        // By address: Envoy binds each once. The inbound is the one that others rely on.
        let mut listeners = BTreeMap::new();
        for (at, inbound, service) in inbounds(dataplane) {
            let to = inbound.service_port.unwrap_or(inbound.port);
            let key @ (to, is_proxy) = (to, listens_on_localhost(dataplane, to));
            let local = self.local.get_or_make(key, || cluster::local(to, is_proxy));
            clusters.insert(local.name.clone(), local);
            let known = self.services.entry(service.clone()).or_default();
            listeners.entry(at).or_insert_with(|| {
                let accepts = (posture.accepts(), self.drained);
                known.inbound(mesh, &service, (at, to), accepts, &self.grants)
            });
        }
        for outbound in &dataplane.networking.outbound {
            let service = &outbound.service;
            let ip = outbound.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let at = SocketAddr::new(ip, outbound.port.get());
            let known = self.services.entry(service.clone()).or_default();
            let cluster = known.cluster(mesh, service, posture.opens());
            clusters.insert(cluster.name.clone(), cluster);
            endpoints.insert(service.clone(), known.endpoints(service));
            listeners
                .entry(at)
                .or_insert_with(|| known.outbound(service, at));
        }
        Some(View {
            mesh_ca: self.mesh_ca.clone(),
            leaf: self.leaf(dataplane),
            clusters: clusters.into_values().collect(),
            endpoints: endpoints.into_values().collect(),
            listeners: listeners.into_values().collect(),
            marks: state.progress.marks,
        })
    }

    fn leaf(&self, dataplane: &Dataplane) -> Option<LeafSpec> {
        Some(LeafSpec {
            identity: SpiffeId {
                mesh: self.state.name.clone(),
                service: dataplane.service()?,
            },
            issuer: self.issuer?,
            mark: self.state.progress.marks.leaf,
        })
    }

    /// Takes in that one resource became another; what stays is not touched.
    fn replace(&mut self, old: Option<&Stored>, new: Option<&Stored>, step: &mut Step) {
        if let Some(Stored::TrafficPermission(permission)) = new {
            step.destinations.extend(self.grants.add(permission));
        }
        if let Some(Stored::TrafficPermission(permission)) = old {
            step.destinations.extend(self.grants.remove(permission));
        }
        let (old, new) = (Ties::of(old), Ties::of(new));
        let Some(name) = new.name.or(old.name) else {
            return;
        };
        step.dataplanes.insert(name.clone());
        for (service, at) in &new.offers {
            if old.offers.get(service) != Some(at) {
                let known = self.services.entry(service.clone()).or_default();
                known.offers.insert(name.clone(), at.clone());
                step.offers.insert(service.clone());
            }
        }
        for service in old.offers.keys() {
            if !new.offers.contains_key(service)
                && let Some(known) = self.services.get_mut(service)
            {
                known.offers.remove(name);
                step.offers.insert(service.clone());
            }
        }
        for &service in &new.reaches {
            let known = self.services.entry(service.clone()).or_default();
            known.clients.insert(name.clone());
        }
        for &service in old.reaches.difference(&new.reaches) {
            if let Some(known) = self.services.get_mut(service) {
                known.clients.remove(name);
                step.left.insert(service.clone());
            }
        }
    }

    /// Forgets what was made of what changed, and says who had it.
    fn settle(&mut self, step: &Step) -> BTreeSet<ResourceName> {
        let mut names = step.dataplanes.clone();
        let mut rules = |service: &mut Service| {
            service.forget_rules();
            names.extend(service.offers.keys().cloned());
        };
        if step.destinations.contains(&ServiceMatch::Any) {
            self.services.values_mut().for_each(&mut rules);
        } else {
            for destination in &step.destinations {
                if let ServiceMatch::Exactly(service) = destination
                    && let Some(service) = self.services.get_mut(service)
                {
                    rules(service);
                }
            }
        }
        for service in &step.offers {
            if let Some(service) = self.services.get_mut(service) {
                service.forget_endpoints();
                names.extend(service.clients.iter().cloned());
            }
        }
        for service in step.offers.iter().chain(&step.left) {
            if self.services.get(service).is_some_and(Service::is_unused) {
                self.services.remove(service);
            }
        }
        names
    }

    /// Takes in what concerns every proxy, and says whether it differs.
    fn reground(&mut self) -> bool {
        let progress = &self.state.progress;
        let posture = self.state.mesh().map(|_| progress.posture);
        let mtls = posture.is_some_and(Posture::has_identities);
        let bundle = TrustBundle::of(&self.state).filter(|_| mtls);
        let active = self.state.active_authority().filter(|_| mtls);
        let issuer = active.map(|authority| authority.id);
        let accepted = (self.posture.map(Posture::accepts), self.drained);
        let opened = self.posture.map(Posture::opens);
        let mut differs =
            self.issuer != issuer || self.marks != progress.marks || self.posture != posture;
        self.issuer = issuer;
        self.marks = progress.marks;
        self.posture = posture;
        self.drained = progress.drained;
        if accepted != (posture.map(Posture::accepts), self.drained) {
            self.services.values_mut().for_each(Service::forget_rules);
            differs = true;
        }
        if opened != posture.map(Posture::opens) {
            self.services.values_mut().for_each(Service::forget_cluster);
        }
        let known = self.mesh_ca.as_deref().and_then(Resource::bundle);
        if known.map(|bundle| bundle.id) != bundle.as_ref().map(|bundle| bundle.id) {
            self.mesh_ca = bundle.map(|bundle| Arc::new(Resource::mesh_ca(Arc::new(bundle))));
            differs = true;
        }
        differs
    }
}

#[cfg(test)]
impl MeshView {
    /// All that is kept beside what was made of it.
    pub(super) fn shape(&self) -> String {
        let service = |(name, service): (&ServiceName, &Service)| {
            format!("{name}: {:?} {:?}", service.offers, service.clients)
        };
        let services: Vec<_> = self.services.iter().map(service).collect();
        format!("{services:#?} {:#?}", self.grants)
    }
}

/// What one step changed.
#[derive(Debug, Default)]
struct Step {
    /// The destinations whose sources differ.
    destinations: BTreeSet<ServiceMatch>,
    /// The services that are offered elsewhere now.
    offers: BTreeSet<ServiceName>,
    /// The services that some dataplane no longer reaches for.
    left: BTreeSet<ServiceName>,
    /// The dataplanes that differ themselves.
    dataplanes: BTreeSet<ResourceName>,
}

/// What a dataplane has to do with which services.
#[derive(Debug, Default)]
struct Ties<'a> {
    name: Option<&'a ResourceName>,
    offers: BTreeMap<ServiceName, BTreeSet<SocketAddr>>,
    reaches: BTreeSet<&'a ServiceName>,
}

impl<'a> Ties<'a> {
    fn of(stored: Option<&'a Stored>) -> Self {
        let Some(Stored::Dataplane(dataplane)) = stored else {
            return Self::default();
        };
        let mut offers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (at, _, service) in inbounds(dataplane) {
            offers.entry(service).or_default().insert(at);
        }
        let outbounds = dataplane.networking.outbound.iter();
        Self {
            name: Some(&dataplane.name),
            offers,
            reaches: outbounds.map(|outbound| &outbound.service).collect(),
        }
    }
}

/// The inbounds of a dataplane: where others reach them, and their service.
fn inbounds(dataplane: &Dataplane) -> impl Iterator<Item = (SocketAddr, &Inbound, ServiceName)> {
    let inbounds = match &dataplane.networking.role {
        Role::Inbound(inbounds) => inbounds.as_slice(),
        Role::Gateway(_) => &[],
    };
    inbounds.iter().filter_map(|inbound| {
        let at = SocketAddr::new(dataplane.networking.address, inbound.port.get());
        let service = inbound.tags.get("service")?.parse().ok()?;
        Some((at, inbound, service))
    })
}

/// Whether the proxy's own listeners take what goes to that port of 127.0.0.1.
fn listens_on_localhost(dataplane: &Dataplane, port: NonZeroU16) -> bool {
    let networking = &dataplane.networking;
    let takes = |ip: IpAddr| ip == Ipv4Addr::LOCALHOST || ip.is_unspecified();
    let inbound = match &networking.role {
        Role::Inbound(inbounds) => inbounds.iter().any(|inbound| inbound.port == port),
        Role::Gateway(_) => false,
    };
    (inbound && takes(networking.address))
        || networking
            .outbound
            .iter()
            .any(|outbound| outbound.port == port && outbound.address.is_none_or(takes))
}

/// Walks over what is not the same in both, in order.
fn differences(
    before: &BTreeMap<ResourceKey, Arc<StoredResource>>,
    after: &BTreeMap<ResourceKey, Arc<StoredResource>>,
    mut differs: impl FnMut(Option<&Stored>, Option<&Stored>),
) {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let old = before.next_if(|_| order.is_le()).map(|(_, stored)| stored);
        let new = after.next_if(|_| order.is_ge()).map(|(_, stored)| stored);
        let is_same = |(a, b): (&Arc<StoredResource>, &Arc<StoredResource>)| {
            Arc::ptr_eq(a, b) || a.digest == b.digest
        };
        if !old.zip(new).is_some_and(is_same) {
            differs(old.map(|old| &old.resource), new.map(|new| &new.resource));
        }
    }
}
