//! Logs and metrics.
//!
//! Logs go to standard error. [`Metrics`] is made once, by
//! [`crate::app`], and handed to whom it concerns; nothing here is global.

mod chain;
mod logs;
mod metrics;

pub use chain::{Chain, chain};
pub use logs::{LogError, init};
pub use metrics::{Metrics, ReconcileResult};
