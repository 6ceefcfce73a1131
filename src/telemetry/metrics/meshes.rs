//! The families that follow the meshes. They are made anew for every scrape,
//! so that those of a mesh that is gone are gone.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::{AuthorityState, Current, MeshName, MeshState, Timestamp};
use crate::outlook::Outlook;
use crate::plan::Circumstances;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMesh {
    mesh: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    mesh: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAuthority {
    mesh: String,
    authority: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPosture {
    mesh: String,
    posture: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    mesh: String,
    phase: &'static str,
}

/// The families.
#[derive(Debug, Default)]
pub(super) struct Meshes {
    dataplanes: Family<InState, Gauge>,
    authority_ends: Family<OfAuthority, Gauge>,
    leaf_ends: Family<OfMesh, Gauge>,
    posture: Family<InPosture, Gauge>,
    phase: Family<InPhase, Gauge>,
    awaited: Family<OfMesh, Gauge>,
    held: Family<OfMesh, Gauge>,
    stalled: Family<OfMesh, Gauge>,
    plaintext: Family<OfMesh, Gauge<f64, AtomicU64>>,
    /// By mesh, the plaintext window of the last transition that had one.
    last_windows: Mutex<BTreeMap<MeshName, Duration>>,
}

impl Meshes {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self::default();
        registry.register(
            "mesh_dataplanes",
            "Dataplanes of the mesh: known to the store, and connected",
            families.dataplanes.clone(),
        );
        registry.register_with_unit(
            "authority_not_after_timestamp",
            "When the authority ends",
            Unit::Seconds,
            families.authority_ends.clone(),
        );
        registry.register_with_unit(
            "leaf_not_after_timestamp",
            "The first end of a leaf that a connected proxy of the mesh has acknowledged",
            Unit::Seconds,
            families.leaf_ends.clone(),
        );
        registry.register(
            "mesh_posture",
            "1 for how the connections of the mesh are secured now",
            families.posture.clone(),
        );
        registry.register(
            "transition_phase",
            "1 for the phase that the running transition of the mesh is in",
            families.phase.clone(),
        );
        registry.register(
            "transition_awaited_proxies",
            "Proxies that the transition of the mesh waits for",
            families.awaited.clone(),
        );
        registry.register(
            "transition_held",
            "1 where the transition of the mesh stopped because its `hold` says so",
            families.held.clone(),
        );
        registry.register_with_unit(
            "transition_stalled",
            "For how long the transition of the mesh is stalled; 0 where it is not",
            Unit::Seconds,
            families.stalled.clone(),
        );
        registry.register_with_unit(
            "transition_plaintext",
            "For how long inbounds have accepted plaintext in the last transition of the mesh \
             from mTLS to mTLS",
            Unit::Seconds,
            families.plaintext.clone(),
        );
        families
    }

    pub(super) fn observe(&self, current: &Current, given: Circumstances<'_>) {
        self.dataplanes.clear();
        self.authority_ends.clear();
        self.leaf_ends.clear();
        self.posture.clear();
        self.phase.clear();
        self.awaited.clear();
        self.held.clear();
        self.stalled.clear();
        for mesh in current.meshes.values() {
            self.proxies(mesh, given);
            self.authorities(mesh);
            let posture = InPosture {
                mesh: mesh.name.to_string(),
                posture: mesh.progress.posture.name(),
            };
            self.posture.get_or_create(&posture).set(1);
            let outlook = Outlook::running(mesh, given);
            self.transition(&mesh.name, outlook.as_ref(), given.now);
        }
        self.windows(current);
    }

    fn windows(&self, current: &Current) {
        let mut windows = self.lock();
        windows.retain(|mesh, _| current.meshes.contains_key(mesh));
        self.plaintext.clear();
        for mesh in current.meshes.keys() {
            let window = windows.get(mesh).copied().unwrap_or_default();
            self.plaintext
                .get_or_create(&of(mesh))
                .set(window.as_secs_f64());
        }
    }

    /// A poisoned lock guards nothing that could be half done.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<MeshName, Duration>> {
        let guard = self.last_windows.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    fn proxies(&self, mesh: &MeshState, given: Circumstances<'_>) {
        let (mut known, mut online, mut ends) = (0, 0, None::<Timestamp>);
        for dataplane in mesh.dataplanes() {
            known += 1;
            let proxy = given.evidence.get(&dataplane.id());
            let Some(proxy) = proxy.filter(|proxy| proxy.connected_since.is_some()) else {
                continue;
            };
            online += 1;
            ends = [ends, proxy.leaf_not_after].into_iter().flatten().min();
        }
        for (state, number) in [("known", known), ("online", online)] {
            let mesh = mesh.name.to_string();
            let labels = InState { mesh, state };
            self.dataplanes.get_or_create(&labels).set(number);
        }
        if let Some(end) = ends {
            self.leaf_ends
                .get_or_create(&of(&mesh.name))
                .set(end.unix_seconds());
        }
    }

    fn authorities(&self, mesh: &MeshState) {
        for authority in mesh.authorities.values() {
            if matches!(authority.state, AuthorityState::Revoked { .. }) {
                continue;
            }
            let labels = OfAuthority {
                mesh: mesh.name.to_string(),
                authority: authority.id.to_string(),
                state: authority.state.name(),
            };
            let end = authority.not_after.unix_seconds();
            self.authority_ends.get_or_create(&labels).set(end);
        }
    }

    fn transition(&self, mesh: &MeshName, outlook: Option<&Outlook>, now: Timestamp) {
        let awaited = outlook.map_or(0, |it| it.awaited().len());
        let stalled = outlook.and_then(Outlook::stalled_since);
        let stalled = stalled.map_or(0, |since| now.since(since).as_secs());
        let held = outlook.is_some_and(Outlook::is_held);
        let gauge = |family: &Family<OfMesh, Gauge>, value: i64| {
            family.get_or_create(&of(mesh)).set(value);
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        gauge(&self.awaited, whole(awaited as u64));
        gauge(&self.stalled, whole(stalled));
        gauge(&self.held, i64::from(held));
        let Some(outlook) = outlook else {
            return;
        };
        let phase = InPhase {
            mesh: mesh.to_string(),
            phase: outlook.transition.phase.name(),
        };
        self.phase.get_or_create(&phase).set(1);
        if let Some(window) = outlook.plaintext {
            self.window(mesh, window);
        }
    }

    /// Notes a plaintext window, which may close between two scrapes.
    pub(super) fn window(&self, mesh: &MeshName, window: Duration) {
        self.lock().insert(mesh.clone(), window);
    }
}

fn of(mesh: &MeshName) -> OfMesh {
    OfMesh {
        mesh: mesh.to_string(),
    }
}
