//! Who has to be told what: from published states to one `watch` per proxy.
//!
//! [`Index::run`] compares each published state with the one before, looks
//! only at meshes that changed and wakes only proxies whose view did. A proxy
//! is in the index while it has a stream; its feeder adds the leaf to the view
//! and renews it.

mod feeder;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::leaf::LeafCache;
use super::snapshot::{Snapshot, TrustBundle, View};
use crate::ca::Signer;
use crate::model::{DataplaneId, MeshName, MeshState, ResourceName};
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
    fn of(
        mesh: &MeshState,
        name: &ResourceName,
        bundle: Option<&Arc<TrustBundle>>,
        serving: &Serving,
    ) -> Self {
        let Some(dataplane) = mesh.dataplane(name) else {
            return Self::Gone;
        };
        let view = View::of(mesh, dataplane, bundle);
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
                a == b && x.is_some() == y.is_some()
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
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    serving: Arc<Serving>,
    meshes: HashMap<MeshName, HashMap<ResourceName, Weak<Proxy>>>,
}

impl Index {
    /// An index of what `state` publishes.
    #[must_use]
    pub fn new(state: Watch, leaves: Arc<LeafCache>) -> Self {
        let serving = state.borrow().clone();
        Self {
            state,
            leaves,
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
        let inner = &mut *inner;
        let known = inner
            .meshes
            .get(&id.mesh)
            .and_then(|mesh| mesh.get(&id.name));
        if let Some(proxy) = known.and_then(Weak::upgrade) {
            return Ok(Subscription(proxy));
        }
        let target = match inner.serving.current.meshes.get(&id.mesh) {
            Some(mesh) => {
                let bundle = TrustBundle::of(mesh).map(Arc::new);
                Target::of(mesh, &id.name, bundle.as_ref(), &inner.serving)
            }
            None => Target::Gone,
        };
        if matches!(target, Target::Gone) {
            return Err(UnknownDataplane(id.clone()));
        }
        let proxy = self.admit(id, target);
        inner
            .meshes
            .entry(id.mesh.clone())
            .or_default()
            .insert(id.name.clone(), Arc::downgrade(&proxy));
        Ok(Subscription(proxy))
    }

    /// Whether the store knows a dataplane.
    #[must_use]
    pub fn knows(&self, id: &DataplaneId) -> bool {
        let state = self.state.borrow();
        let mesh = state.current.meshes.get(&id.mesh);
        mesh.is_some_and(|mesh| mesh.dataplane(&id.name).is_some())
    }

    fn admit(&self, id: &DataplaneId, target: Target) -> Arc<Proxy> {
        let (targets, target) = watch::channel(target);
        let (out, feed) = watch::channel(Feed::Pending);
        let feeder = feeder::Feeder {
            dataplane: id.clone(),
            target,
            out,
            leaves: self.leaves.clone(),
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
        self.meshes.retain(|name, proxies| {
            let mesh = serving.current.meshes.get(name);
            if is_unchanged(name, &before, serving) {
                return true;
            }
            let bundle = mesh.and_then(|mesh| TrustBundle::of(mesh)).map(Arc::new);
            proxies.retain(|name, proxy| {
                let Some(proxy) = proxy.upgrade() else {
                    return false;
                };
                let target = mesh.map_or(Target::Gone, |mesh| {
                    Target::of(mesh, name, bundle.as_ref(), serving)
                });
                // A deleted dataplane that comes back is another proxy.
                let stays = !matches!(target, Target::Gone);
                proxy.targets.send_if_modified(|current| {
                    let differs = !current.is_same(&target);
                    if differs {
                        *current = target;
                    }
                    differs
                });
                stays
            });
            !proxies.is_empty()
        });
    }
}

/// Whether a mesh is the same in both states, with the same key at hand.
fn is_unchanged(name: &MeshName, before: &Serving, after: &Serving) -> bool {
    let same_mesh = match (
        before.current.meshes.get(name),
        after.current.meshes.get(name),
    ) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    let signs = |serving: &Serving| {
        let authority = serving.current.meshes.get(name)?.active_authority()?;
        Some(serving.signers.contains_key(&authority.id))
    };
    same_mesh && signs(before) == signs(after)
}
