//! Watches that go on: over connections that end, over failures, and over what
//! the API server has forgotten.

use std::fmt::Debug;
use std::time::Duration;

use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tracing::{debug, info, warn};

use super::cluster::Cluster;

/// How long a watch may take at most before it is begun anew, in seconds. The
/// server ends it then.
const WATCH_SECONDS: u32 = 240;
/// How long to wait after a failure: the least and the most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// How often in a row a watch fails before that is told, and then how often
/// until it is told again.
const TOLD: [u32; 2] = [3, 30];

/// Follows objects for ever, or until `hear` says that nobody listens.
///
/// Where the server no longer knows the version that a watch goes on from (410),
/// all objects are listed again: what came, changed or went meanwhile is in the
/// events from [`Event::Init`] to [`Event::InitDone`], or missing there.
pub(super) async fn follow<K, F>(
    cluster: Cluster,
    what: String,
    api: Api<K>,
    config: watcher::Config,
    explain: impl Fn(&watcher::Error) -> Option<String>,
    mut hear: impl FnMut(Event<K>) -> F,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    F: Future<Output = bool>,
{
    let config = config.timeout(WATCH_SECONDS);
    let mut failures: u32 = 0;
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    // A list that has begun has not succeeded yet.
                    if !matches!(event, Event::Init) {
                        failures = 0;
                    }
                    if !hear(event).await {
                        return;
                    }
                    continue;
                }
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let has_expired = has_expired(&error);
            let why =
                explain(&error).unwrap_or_else(|| crate::telemetry::chain(&error).to_string());
            if has_expired {
                info!(
                    store = ?cluster, what,
                    "a watch has expired, since the API server has forgotten where it was; all is listed again"
                );
            } else if failures == TOLD[0] || failures.is_multiple_of(TOLD[1]) {
                warn!(store = ?cluster, what, error = why, "a watch fails; trying again");
            } else {
                debug!(what, error = why, "a watch is begun anew");
            }
            let longest = BACKOFF[0] * 2_u32.saturating_pow(failures.min(8));
            sleep(cluster.jitter(longest.min(BACKOFF[1]))).await;
            if has_expired {
                // One that was refused outright would ask for that version for ever.
                break;
            }
        }
    }
}

/// Whether the server has forgotten the version that was asked for (410).
fn has_expired(error: &watcher::Error) -> bool {
    let (watcher::Error::WatchError(status)
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))
    | watcher::Error::InitialListFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 410
}
