//! Who has to be told what: from published states to one `watch` per proxy.
//!
//! [`Index::run`] advances the [`MeshView`] of each mesh that has proxies to
//! the published state, makes the views of those proxies that the change may
//! have touched and wakes only those whose view it did. A proxy is in the
//! index while it has a stream; its feeder adds the leaf to the view and renews
//! it.

mod feeder;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::evidence::EvidenceBoard;
use super::leaf::LeafCache;
use super::snapshot::{MeshView, Snapshot, Touched, View};
use crate::ca::Signer;
use crate::model::{DataplaneId, Generation, Marks, MeshName, MeshState, Part, ResourceName};
use crate::state::{Serving, Watch};

/// What the streams of a proxy see.
#[derive(Debug, Clone)]
pub enum Feed {
    /// The first snapshot is being made.
    Pending,
    /// What the proxy is to be told.
    Ready(Arc<Snapshot>),
    /// The dataplane was deleted.
    Gone,
}

/// What a feeder works from.
#[derive(Debug, Clone)]
enum Target {
    Serve {
        view: View,
        /// The signer of the view's leaf.
        signer: Option<Arc<Signer>>,
    },
    Gone,
}

impl Target {
    /// What the feeder of a proxy with this view works from.
    fn of(view: Option<View>, serving: &Serving) -> Self {
        let Some(view) = view else {
            return Self::Gone;
        };
        let signer = view
            .leaf
            .as_ref()
            .and_then(|leaf| serving.signers.get(&leaf.issuer))
            .cloned();
        Self::Serve { view, signer }
    }

    /// Whether a feeder would make the same of both. A signer is named by the view.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gone, Self::Gone) => true,
            (Self::Serve { view: a, signer: x }, Self::Serve { view: b, signer: y }) => {
                a.is_same(b) && x.is_some() == y.is_some()
            }
            _ => false,
        }
    }
}

/// A proxy with at least one stream.
#[derive(Debug)]
struct Proxy {
    targets: watch::Sender<Target>,
    feed: watch::Receiver<Feed>,
    feeder: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

/// A stream's place in the index. The proxy leaves with its last one.
#[derive(Debug)]
pub struct Subscription(Arc<Proxy>);

impl Subscription {
    /// What the proxy is to be told.
    #[must_use]
    pub fn feed(&self) -> watch::Receiver<Feed> {
        self.0.feed.clone()
    }
}

/// The store knows no such dataplane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no dataplane {name} in mesh {mesh}; apply its Dataplane resource first", name = .0.name, mesh = .0.mesh)]
pub struct UnknownDataplane(pub DataplaneId);

/// The connected proxies, by mesh.
#[derive(Debug)]
pub struct Index {
    state: Watch,
    leaves: Arc<LeafCache>,
    /// What proxies have acknowledged, here and elsewhere.
    evidence: Arc<EvidenceBoard>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    serving: Arc<Serving>,
    /// Those with proxies.
    meshes: HashMap<MeshName, Mesh>,
}

#[derive(Debug)]
struct Mesh {
    view: MeshView,
    proxies: HashMap<ResourceName, Weak<Proxy>>,
}

impl Index {
    /// An index of what `state` publishes.
    #[must_use]
    pub fn new(state: Watch, leaves: Arc<LeafCache>, evidence: Arc<EvidenceBoard>) -> Self {
        let serving = state.borrow().clone();
        Self {
            state,
            leaves,
            evidence,
            inner: Mutex::new(Inner {
                serving,
                meshes: HashMap::new(),
            }),
        }
    }

    /// Follows the published state until its publisher is gone.
    pub async fn run(&self) {
        let mut state = self.state.clone();
        loop {
            self.lock().follow(&state.borrow_and_update().clone());
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// Enters a stream of a dataplane.
    ///
    /// # Errors
    ///
    /// Fails when the store does not know the dataplane.
    pub fn subscribe(&self, id: &DataplaneId) -> Result<Subscription, UnknownDataplane> {
        let mut inner = self.lock();
        // The dataplane may be in a state that `run` has not come to yet.
        inner.follow(&self.state.borrow().clone());
        let Inner { serving, meshes } = &mut *inner;
        let unknown = || UnknownDataplane(id.clone());
        let state = serving.current.meshes.get(&id.mesh).ok_or_else(unknown)?;
        let mesh = meshes.entry(id.mesh.clone()).or_insert_with(|| Mesh {
            view: MeshView::of(state),
            proxies: HashMap::new(),
        });
        if let Some(proxy) = mesh.proxies.get(&id.name).and_then(Weak::upgrade) {
            return Ok(Subscription(proxy));
        }
        let view = mesh.view.proxy(&id.name).ok_or_else(unknown)?;
        let proxy = self.admit(id, Target::of(Some(view), serving));
        mesh.proxies.insert(id.name.clone(), Arc::downgrade(&proxy));
        Ok(Subscription(proxy))
    }

    /// Whether the store knows a dataplane.
    #[must_use]
    pub fn knows(&self, id: &DataplaneId) -> bool {
        let state = self.state.borrow();
        let mesh = state.current.meshes.get(&id.mesh);
        mesh.is_some_and(|mesh| mesh.dataplane(&id.name).is_some())
    }

    /// Whether what a proxy is `told` under these marks is no older than what
    /// the store held at `generation`. Its leaf may be: the one before is as
    /// good, for as long as who signed it is trusted. Not where the proxy has
    /// acknowledged a newer one: steps are taken on that word. One is issued at
    /// once then.
    #[must_use]
    pub fn has_reached(&self, generation: Generation, id: &DataplaneId, told: Marks) -> bool {
        let state = self.state.borrow();
        let mesh = state.current.meshes.get(&id.mesh);
        let is_new = |mesh: &Arc<MeshState>| {
            let parts = [Part::Bundle, Part::Inbounds, Part::Outbounds];
            let marks = mesh.progress.marks;
            parts.iter().all(|part| told.of(*part) >= marks.of(*part))
        };
        let has_leaf = |mesh: &Arc<MeshState>| {
            let known = acknowledged_leaf(&self.evidence, id).unwrap_or(0);
            told.leaf >= known.min(mesh.progress.marks.leaf)
        };
        if state.current.generation < generation || !mesh.is_none_or(is_new) {
            return false;
        }
        let has_leaf = mesh.is_none_or(has_leaf);
        drop(state);
        if !has_leaf {
            self.hurry(id);
        }
        has_leaf
    }

    /// Lets the feeder of a proxy look again at what it has acknowledged.
    fn hurry(&self, id: &DataplaneId) {
        let inner = self.lock();
        let mesh = inner.meshes.get(&id.mesh);
        let proxy = mesh.and_then(|mesh| mesh.proxies.get(&id.name)?.upgrade());
        drop(inner);
        if let Some(proxy) = proxy {
            proxy.targets.send_modify(|_| {});
        }
    }

    /// Changes whenever something is published.
    #[must_use]
    pub fn published(&self) -> Watch {
        self.state.clone()
    }

    /// The namespace that a dataplane names, if it names one.
    ///
    /// # Errors
    ///
    /// Fails when the store does not know the dataplane.
    pub fn namespace(&self, id: &DataplaneId) -> Result<Option<ResourceName>, UnknownDataplane> {
        let state = self.state.borrow();
        let mesh = state.current.meshes.get(&id.mesh);
        let dataplane = mesh.and_then(|mesh| mesh.dataplane(&id.name));
        let dataplane = dataplane.ok_or_else(|| UnknownDataplane(id.clone()))?;
        Ok(dataplane.namespace.clone())
    }

    fn admit(&self, id: &DataplaneId, target: Target) -> Arc<Proxy> {
        let (targets, target) = watch::channel(target);
        let (out, feed) = watch::channel(Feed::Pending);
        let feeder = feeder::Feeder {
            dataplane: id.clone(),
            target,
            out,
            leaves: self.leaves.clone(),
            evidence: self.evidence.clone(),
        };
        Arc::new(Proxy {
            targets,
            feed,
            feeder: tokio::spawn(feeder.run()).abort_handle(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes in a published state.
    fn follow(&mut self, serving: &Arc<Serving>) {
        if Arc::ptr_eq(&self.serving, serving) {
            return;
        }
        let before = std::mem::replace(&mut self.serving, serving.clone());
        self.meshes.retain(|name, mesh| {
            mesh.proxies.retain(|_, proxy| proxy.strong_count() > 0);
            match serving.current.meshes.get(name) {
                Some(state) => mesh.follow(state, signs(name, &before), serving),
                None => mesh.end(),
            }
            !mesh.proxies.is_empty()
        });
    }
}

impl Mesh {
    /// Takes in the state of the mesh, and tells the proxies that it changes
    /// something for.
    fn follow(&mut self, state: &Arc<MeshState>, signed: bool, serving: &Serving) {
        let touched = if signed == signs(&state.name, serving) {
            self.view.advance(state)
        } else {
            self.view.advance(state);
            Touched::Everyone
        };
        match touched {
            Touched::Everyone => {
                let names: Vec<_> = self.proxies.keys().cloned().collect();
                for name in &names {
                    self.tell(name, serving);
                }
            }
            Touched::Only(names) => {
                for name in &names {
                    self.tell(name, serving);
                }
            }
        }
    }

    fn tell(&mut self, name: &ResourceName, serving: &Serving) {
        let Some(proxy) = self.proxies.get(name).and_then(Weak::upgrade) else {
            return;
        };
        let target = Target::of(self.view.proxy(name), serving);
        if matches!(target, Target::Gone) {
            // A deleted dataplane that comes back is another proxy.
            self.proxies.remove(name);
        }
        proxy.targets.send_if_modified(|current| {
            let differs = !current.is_same(&target);
            if differs {
                *current = target;
            }
            differs
        });
    }

    /// The mesh is gone, and so are its dataplanes.
    fn end(&mut self) {
        for proxy in self
            .proxies
            .drain()
            .filter_map(|(_, proxy)| proxy.upgrade())
        {
            proxy.targets.send_replace(Target::Gone);
        }
    }
}

/// The mark of the newest leaf that a proxy has acknowledged.
fn acknowledged_leaf(evidence: &EvidenceBoard, id: &DataplaneId) -> Option<u64> {
    let proxy = evidence.of(id)?;
    proxy.acknowledged.get(&Part::Leaf).map(|known| known.mark)
}

/// Whether the key of the mesh's active authority is at hand.
fn signs(name: &MeshName, serving: &Serving) -> bool {
    let mesh = serving.current.meshes.get(name);
    mesh.and_then(|mesh| mesh.active_authority())
        .is_some_and(|authority| serving.signers.contains_key(&authority.id))
}
