//! The one integration-test binary.

mod api;
mod cli;
mod config;
mod crash;
mod envoy;
mod garbage;
mod golden;
mod plan_cli;
mod purity;
mod reconcile;
mod sds;
mod seal;
mod security;
mod source;
mod store_contract;
mod support;
mod tokens;
mod validate;
