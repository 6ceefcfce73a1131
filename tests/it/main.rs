//! The one integration-test binary.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what tests share fails as tests do"
)]

mod admin_public;
mod api;
mod cli;
mod config;
mod crash;
mod dp;
mod envoy;
mod envoy_roots;
mod garbage;
mod golden;
mod kubernetes;
mod mesh;
mod plan_apply;
mod plan_call;
mod plan_cli;
mod postgres;
mod purity;
mod reconcile;
mod rekey;
mod replicas;
mod rotation;
mod sds;
mod seal;
mod security;
mod source;
mod store_contract;
mod store_kubernetes;
mod support;
mod tokens;
mod validate;
