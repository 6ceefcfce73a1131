//! Real Envoys under `windlass dp run`, with real services behind them: what is
//! in Git is what the network does.

pub(crate) mod acceptance;
pub(crate) mod identity;
pub(crate) mod network;
pub(crate) mod policy;
pub(crate) mod rejection;
pub(crate) mod sent;
pub(crate) mod stopping;
pub(crate) mod switching;
