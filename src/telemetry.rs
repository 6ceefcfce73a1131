//! Logs and metrics.
//!
//! Logs go to standard error. [`Metrics`] is made once, by
//! [`crate::app`], and handed to whom it concerns; nothing here is global.

mod logs;
mod metrics;

pub use logs::{LogError, chain, init};
pub use metrics::{Metrics, ReconcileResult};
