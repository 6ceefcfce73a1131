//! What proxies accept that is not TLS, all the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::mesh::network::Network;
use crate::support::dp_run;

/// How often to look. Counters go with the filter chains that they are of, which
/// live on for the drain time of the proxies, a second.
const LOOK: Duration = Duration::from_millis(200);

/// Looks at the counters of the proxies of a network until it is dropped.
pub(super) struct Plaintext {
    stop: Arc<AtomicBool>,
    proxies: Vec<(PathBuf, Arc<AtomicU64>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Plaintext {
    pub(super) fn watch(network: &Network) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let proxies = network.proxies();
        let proxies: Vec<_> = proxies
            .map(|(_, run)| (run.dir().to_owned(), Arc::default()))
            .collect();
        // Each by itself: one that is stopped does not answer.
        let watch = |(dir, most): &(PathBuf, Arc<AtomicU64>)| {
            let (dir, most, stop) = (dir.clone(), Arc::clone(most), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    look(&dir, &most);
                    thread::park_timeout(LOOK);
                }
            })
        };
        Self {
            threads: proxies.iter().map(watch).collect(),
            stop,
            proxies,
        }
    }

    /// The most bytes and connections that were seen, of all proxies together.
    pub(super) fn most(&self) -> u64 {
        let counts = self.proxies.iter();
        counts
            .map(|(dir, most)| {
                look(dir, most);
                most.load(Ordering::Relaxed)
            })
            .sum()
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.iter().for_each(|it| it.thread().unpark());
    }
}

/// Counts what a proxy has accepted on filter chains without TLS. One that does
/// not answer accepts nothing either.
fn look(dir: &Path, most: &AtomicU64) {
    let Ok(stats) = dp_run::admin(dir, "/stats?format=json&filter=inbound_plaintext") else {
        return;
    };
    let all = stats["stats"].as_array().into_iter().flatten();
    let counted = all.filter(|it| {
        let name = it["name"].as_str().unwrap_or_default();
        name.ends_with("downstream_cx_rx_bytes_total") || name.ends_with("downstream_cx_total")
    });
    let count = counted.filter_map(|it| it["value"].as_u64()).sum();
    most.fetch_max(count, Ordering::Relaxed);
}
