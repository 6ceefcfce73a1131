//! Real Envoys under `windlass dp run`, with real services behind them: what is
//! in Git is what the network does.

mod acceptance;
mod identity;
pub(crate) mod network;
pub(crate) mod policy;
mod rejection;
mod sent;
mod stopping;
mod switching;
