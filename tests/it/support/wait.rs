//! Waiting for a condition with a deadline.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine. Nothing waits for it that goes right.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long to yield between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Polls until there is an answer.
///
/// # Panics
///
/// Panics after `limit`, with what was awaited and why it was not there at the last look.
pub(crate) fn within<T, E: Display>(
    limit: Duration,
    what: &str,
    look: impl FnMut() -> Result<T, E>,
) -> T {
    every(INTERVAL, limit, what, look)
}

/// The same with another time between two looks, where looking is not free.
///
/// # Panics
///
/// Panics as [`within`] does.
pub(crate) fn every<T, E: Display>(
    interval: Duration,
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(answer) => return answer,
            Err(reason) if start.elapsed() > limit => {
                panic!("waited {limit:?} for {what}: {reason}")
            }
            Err(_) => std::thread::park_timeout(interval),
        }
    }
}

/// [`within`] the usual patience.
pub(crate) fn until<T, E: Display>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    within(PATIENCE, what, look)
}
