//! The one place that asks what time it is. Everything else is told.

use std::time::SystemTime;

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
