//! The loop: source, manifest, plan, apply; its conditions and its back-off.

pub mod report;
