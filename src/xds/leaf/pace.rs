//! How fast leaves are reissued: a budget per second for the whole process, so
//! that a change of authority swamps neither it nor the proxies.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How far turns may lag behind their times and catch up: timers are no finer
/// than a millisecond, and at a high pace turns are closer to each other.
const LAG: Duration = Duration::from_millis(10);

/// Turns, one after the other, spread evenly.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next turn is. Who holds the lock waits for it, the others wait
    /// for the lock: that is fair, and whoever gives up leaves the turn behind.
    next: Mutex<Option<Instant>>,
    waiting: Gauge,
}

impl Pace {
    /// So many turns per second. `waiting` counts who waits.
    pub(super) fn new(rate: NonZeroU32, waiting: Gauge) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.get(),
            next: Mutex::new(None),
            waiting,
        }
    }

    /// Waits for a turn. Its place is from the first poll on.
    pub(super) async fn turn(self: Arc<Self>) {
        let _waiting = Waiting::one_of(&self.waiting);
        let mut next = self.next.lock().await;
        if let Some(next) = *next {
            tokio::time::sleep_until(next).await;
        }
        let now = Instant::now();
        let latest = now.checked_sub(LAG).unwrap_or(now);
        let due = next.map_or(now, |next| next.max(latest));
        *next = Some(due + self.interval);
    }
}

struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn one_of(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
