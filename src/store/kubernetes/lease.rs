//! Leases: which replica reconciles, and which ones live.
//!
//! Clocks of two machines are never compared: a lease has ended where whoever
//! looks has seen it unchanged for as long as it lasts. It is no fence, and need
//! not be: every write compares the head of the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, warn};

use super::KubernetesStore;
use super::cluster::{Cluster, Fault};
use super::names::{self, LEADER, NAME, annotation, hashed, part};
use crate::clock;
use crate::store::{Announced, Leadership, Replica, StoreError};

/// How long leadership lasts that is not renewed.
const LASTS: Duration = Duration::from_secs(6);
/// How often it is renewed, and looked at by those who wait for it.
const RENEW: Duration = Duration::from_secs(2);
/// After how long without renewal it is given up: before it ends for others.
const GIVE_UP: Duration = Duration::from_secs(4);
/// How often those who wait look.
const LOOK: Duration = Duration::from_secs(1);

/// When a lease was first seen as it is.
#[derive(Debug)]
pub(super) struct Seen {
    version: Option<String>,
    at: Instant,
}

fn now() -> Option<MicroTime> {
    let milliseconds = clock::now().unix_milliseconds();
    let now = jiff::Timestamp::from_millisecond(milliseconds);
    now.ok().map(MicroTime)
}

impl KubernetesStore {
    pub(super) async fn become_leader(&self, replica: &str) -> Result<Leadership, StoreError> {
        const ACTION: &str = "lead";
        // Another run of the same replica is another holder.
        let holder = format!("{replica}_{}", self.cluster.nonce());
        let mut seen: Option<Seen> = None;
        let lease = loop {
            let found = self.cluster.get::<Lease>(ACTION, LEADER).await?;
            let mine = match &found {
                None => Some(lease_of(&holder, None)),
                Some(lease) if is_free(lease, &mut seen) => Some(lease_of(&holder, Some(lease))),
                Some(_) => None,
            };
            if let Some(mine) = mine {
                match self.cluster.put(ACTION, &mine).await {
                    Ok(lease) => break lease,
                    // Someone else was faster.
                    Err(Fault::Conflict | Fault::Missing) => {}
                    Err(fault) => return Err(fault.into_error(&self.cluster, ACTION)),
                }
            }
            sleep(LOOK / 2 + self.cluster.jitter(LOOK / 2)).await;
        };
        info!(replica, "this replica leads");
        let (lost, released) = (CancellationToken::new(), CancellationToken::new());
        let keeper = Keeper {
            cluster: self.cluster.clone(),
            holder,
            lost: lost.clone(),
            released: released.clone(),
        };
        self.tasks.spawn(keeper.keep(lease, Instant::now()));
        self.take_care(lost.clone(), released.clone());
        let held: DropGuard = released.drop_guard();
        Ok(Leadership::new(lost, held))
    }

    pub(super) async fn put_replica(&self, replica: &Replica) -> Result<(), StoreError> {
        const ACTION: &str = "announce a replica";
        let text = serde_json::to_string(replica);
        let text = text.map_err(|error| self.cluster.failed(ACTION, error))?;
        let name = hashed("replica", &[&replica.name]);
        for _ in 0..super::MAX_CONFLICTS {
            let found = self.cluster.get::<Lease>(ACTION, &name).await?;
            let mut meta = names::meta(&name, part::REPLICA, &[(NAME, &text)]);
            if let Some(found) = found {
                meta.resource_version = found.metadata.resource_version;
            }
            let lease = Lease {
                metadata: meta,
                spec: Some(LeaseSpec {
                    holder_identity: Some(replica.name.to_string()),
                    renew_time: now(),
                    ..LeaseSpec::default()
                }),
            };
            match self.cluster.put(ACTION, &lease).await {
                Ok(_) => return Ok(()),
                Err(Fault::Conflict | Fault::Missing) => {}
                Err(fault) => return Err(fault.into_error(&self.cluster, ACTION)),
            }
        }
        Err(Fault::Conflict.into_error(&self.cluster, ACTION))
    }

    pub(super) async fn list_replicas(&self) -> Result<Vec<Announced>, StoreError> {
        const ACTION: &str = "read the replicas";
        let leases = self.cluster.list::<Lease>(ACTION, part::REPLICA).await?;
        let mut seen = self.seen.lock().await;
        let mut still = BTreeMap::new();
        let mut found = Vec::new();
        for lease in leases {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let text = annotation(&lease.metadata, NAME);
            let replica: Replica = serde_json::from_str(text)
                .map_err(|error| self.cluster.corrupt(format!("Lease {name}"), error))?;
            let version = lease.metadata.resource_version;
            let known = seen.remove(&name).filter(|it| it.version == version);
            let known = known.unwrap_or_else(|| Seen {
                version,
                at: Instant::now(),
            });
            let ago = known.at.elapsed();
            found.push(Announced { replica, ago });
            still.insert(name, known);
        }
        *seen = still;
        found.sort_by(|one, other| one.replica.name.cmp(&other.replica.name));
        Ok(found)
    }

    pub(super) async fn delete_replica(&self, name: &str) -> Result<(), StoreError> {
        let lease = hashed("replica", &[name]);
        self.cluster
            .delete::<Lease>("forget a replica", &lease)
            .await
    }
}

/// Whether nobody holds the lease, or whoever did has not been heard of for as
/// long as it lasts.
fn is_free(lease: &Lease, seen: &mut Option<Seen>) -> bool {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    if holder.is_none_or(str::is_empty) {
        return true;
    }
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds);
    let lasts = lasts.and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = lasts.map_or(LASTS, Duration::from_secs);
    let version = &lease.metadata.resource_version;
    match seen {
        Some(seen) if seen.version == *version => seen.at.elapsed() > lasts,
        _ => {
            *seen = Some(Seen {
                version: version.clone(),
                at: Instant::now(),
            });
            false
        }
    }
}

/// The lease of `holder`, in the place of the one that was read.
fn lease_of(holder: &str, before: Option<&Lease>) -> Lease {
    let mut meta = names::meta(LEADER, part::LEADER, &[]);
    let spec = before.and_then(|lease| lease.spec.as_ref());
    let same = spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(holder);
    let transitions = spec.and_then(|spec| spec.lease_transitions);
    let acquired = spec.and_then(|spec| spec.acquire_time.clone());
    if let Some(before) = before {
        meta.resource_version
            .clone_from(&before.metadata.resource_version);
    }
    Lease {
        metadata: meta,
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(LASTS.as_secs()).ok(),
            renew_time: now(),
            acquire_time: if same { acquired } else { now() },
            lease_transitions: Some(transitions.unwrap_or(0) + i32::from(!same)),
            ..LeaseSpec::default()
        }),
    }
}

/// Renews the lease until it is released or lost.
struct Keeper {
    cluster: Cluster,
    holder: String,
    lost: CancellationToken,
    released: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut lease: Lease, mut renewed: Instant) {
        const ACTION: &str = "renew the lease of the leader";
        let lost = self.lost.clone().drop_guard();
        loop {
            tokio::select! {
                () = self.released.cancelled() => break,
                () = self.cluster.closed().cancelled() => return,
                () = sleep(RENEW) => {}
            }
            let left = GIVE_UP.saturating_sub(renewed.elapsed());
            let began = Instant::now();
            let mine = lease_of(&self.holder, Some(&lease));
            let put = tokio::time::timeout(left, self.cluster.put(ACTION, &mine));
            match put.await {
                Ok(Ok(next)) => (lease, renewed) = (next, began),
                Ok(Err(Fault::Conflict | Fault::Missing)) => {
                    let found = self.cluster.get::<Lease>(ACTION, LEADER);
                    match tokio::time::timeout(left, found).await {
                        // The answer to a renewal was lost, or someone labelled it.
                        Ok(Ok(Some(found))) if self.holds(&found) => lease = found,
                        Ok(Ok(_)) => {
                            warn!("another replica leads");
                            return;
                        }
                        _ => {}
                    }
                }
                Ok(Err(fault)) => {
                    let error = fault.into_error(&self.cluster, ACTION);
                    debug!(error = %crate::telemetry::chain(&error), "the lease is not renewed");
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= GIVE_UP {
                warn!("leadership is given up: its lease could not be renewed");
                return;
            }
        }
        // Free at once, for whoever waits.
        let free = lease_of("", Some(&lease));
        let _ = tokio::time::timeout(RENEW, self.cluster.put(ACTION, &free)).await;
        drop(lost);
    }

    fn holds(&self, lease: &Lease) -> bool {
        let spec = lease.spec.as_ref();
        spec.and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.holder)
    }
}
