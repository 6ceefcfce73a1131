//! The leaf of every dataplane that was connected lately.
//!
//! All streams of a dataplane are given the same leaf, and one that comes back
//! is given the one that it has, until half of its life is over or it no
//! longer fits. Leaves and their keys live here, in memory, and nowhere else.
//!
//! Where another authority signs, every proxy needs another leaf while it can
//! do with the one that it has: those wait their turn, see `pace`.

mod pace;

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::Semaphore;

use super::snapshot::LeafSpec;
use crate::ca::{self, CaError, Issuing, Leaf, LeafKey, LeafRequest, Signer};
use crate::model::{DataplaneId, Timestamp};
use pace::Pace;

/// The least time between two leaves of one dataplane, when the lifetime is
/// very short or the authority is about to end.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);

/// A leaf that could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The authority cannot sign it.
    #[error("failed to issue a leaf for {dataplane}")]
    Issue {
        /// Whose leaf.
        dataplane: DataplaneId,
        /// Why.
        source: CaError,
    },
    /// The program is about to end.
    #[error("the runtime is shutting down")]
    Stopping,
}

/// A leaf and the time to replace it.
#[derive(Debug, Clone)]
pub struct CurrentLeaf {
    /// The leaf.
    pub leaf: Arc<Leaf>,
    /// When to ask for the next one.
    pub renew_at: Timestamp,
}

/// Issues and keeps leaves.
#[derive(Debug)]
pub struct LeafCache {
    lifetime: Duration,
    key: LeafKey,
    state: Mutex<State>,
    /// Keeps the making of keys from taking all cores when a mesh changes its authority.
    issuing: Semaphore,
    pace: Arc<Pace>,
}

#[derive(Debug)]
struct State {
    leaves: HashMap<DataplaneId, (LeafSpec, CurrentLeaf)>,
    rng: StdRng,
}

impl LeafCache {
    /// An empty cache. `rng` spreads the renewals; `waiting` counts who waits a
    /// turn.
    #[must_use]
    pub fn new(issuing: Issuing, key: LeafKey, rng: StdRng, waiting: Gauge) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            lifetime: issuing.leaf_lifetime,
            key,
            state: Mutex::new(State {
                leaves: HashMap::new(),
                rng,
            }),
            issuing: Semaphore::new(cores),
            pace: Arc::new(Pace::new(issuing.reissue_rate, waiting)),
        }
    }

    /// The leaf of a dataplane: the one it has, or a new one where that no
    /// longer fits `spec` or is due to be renewed.
    ///
    /// # Errors
    ///
    /// Fails when a new one cannot be signed.
    pub async fn current(
        &self,
        dataplane: &DataplaneId,
        spec: &LeafSpec,
        signer: &Arc<Signer>,
        now: Timestamp,
    ) -> Result<CurrentLeaf, LeafError> {
        if let Some((of, current)) = self.held(dataplane, now)
            && of == *spec
        {
            return Ok(current);
        }
        let _permit = self.issuing.acquire().await;
        let request = LeafRequest {
            identity: spec.identity.clone(),
            lifetime: self.lifetime,
            key: self.key,
        };
        let signer = signer.clone();
        let leaf = tokio::task::spawn_blocking(move || ca::issue(&request, &signer, now))
            .await
            .map_err(|_| LeafError::Stopping)?
            .map_err(|source| LeafError::Issue {
                dataplane: dataplane.clone(),
                source,
            })?;
        let mut state = self.lock();
        let renew_at = renewal(now, leaf.not_after, state.rng.random_range(0.4..0.6));
        let current = CurrentLeaf {
            leaf: Arc::new(leaf),
            renew_at,
        };
        state
            .leaves
            .insert(dataplane.clone(), (spec.clone(), current.clone()));
        Ok(current)
    }

    /// The leaf that a dataplane was given last and what it was to be, until it
    /// is due to be renewed.
    #[must_use]
    pub fn held(&self, dataplane: &DataplaneId, now: Timestamp) -> Option<(LeafSpec, CurrentLeaf)> {
        let state = self.lock();
        let held = state.leaves.get(dataplane);
        held.filter(|(_, current)| now < current.renew_at).cloned()
    }

    /// The turn of one that can do with what it holds to be given another leaf.
    /// Who asks first has its turn first; dropping it gives the place up.
    pub fn turn(&self) -> impl Future<Output = ()> + Send + use<> {
        self.pace.clone().turn()
    }

    /// Drops the leaves that would not be given out again.
    pub fn drop_stale(&self, now: Timestamp) {
        self.lock()
            .leaves
            .retain(|_, (_, current)| now < current.renew_at);
    }

    /// Drops the leaf of a dataplane that no longer exists.
    pub fn forget(&self, dataplane: &DataplaneId) {
        self.lock().leaves.remove(dataplane);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to renew a leaf issued at `now`: after the given part of its life.
fn renewal(now: Timestamp, not_after: Timestamp, part: f64) -> Timestamp {
    now + not_after.since(now).mul_f64(part).max(SHORTEST_INTERVAL)
}

#[cfg(test)]
mod tests;
