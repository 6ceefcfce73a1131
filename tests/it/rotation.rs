//! The CA of a mesh changes under load: real Envoys, many new connections a
//! second and some long-lived ones.

pub(crate) mod crashes;
mod disable_first;
mod joining;
mod load;
mod rejects;
mod reverts;
pub(crate) mod rolling;
mod stage;
mod stalls;
mod unusable;
