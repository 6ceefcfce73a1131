//! The one place that asks what time it is, and spreads waits by chance.
//! Everything else is told.

use std::time::{Duration, SystemTime};

use crate::model::Timestamp;

/// The present.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one clock of the program"
)]
pub fn now() -> Timestamp {
    time::OffsetDateTime::from(SystemTime::now()).into()
}

/// The wait, a quarter more or less, so that many do not come at once.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "jitter wants chance; nothing else depends on it"
)]
pub(crate) fn jittered(wait: Duration) -> Duration {
    use rand::Rng as _;
    wait.mul_f64(rand::rng().random_range(0.75..1.25))
}
