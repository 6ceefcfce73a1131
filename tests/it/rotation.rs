//! The CA of a mesh changes under load: real Envoys, many new connections a
//! second and some long-lived ones.

pub(crate) mod crashes;
pub(crate) mod disable_first;
pub(crate) mod joining;
mod load;
mod plaintext;
pub(crate) mod rejects;
pub(crate) mod reverts;
pub(crate) mod rolling;
mod stage;
pub(crate) mod stalls;
pub(crate) mod unusable;
