//! Windlass: a declarative GitOps reconciler and identity control plane for
//! service meshes.
//!
//! Read the modules in the order in which the data goes: [`source`] reads a
//! commit, [`manifest`] parses it, [`check`] judges it, [`plan`] compares it
//! with what the [`store`] holds, [`apply`] carries the plan out, [`state`]
//! publishes what is stored, and [`xds`] and [`api`] serve it. [`reconcile`]
//! turns that wheel on one replica, the others [`follow`]; [`app`] builds it. [`dataplane`] is the other end, beside
//! an Envoy. The types of all of it are in [`model`].

pub mod api;
pub mod app;
pub mod apply;
pub mod ca;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dataplane;
pub mod follow;
pub mod kubernetes;
pub mod manifest;
pub mod model;
pub mod outlook;
pub mod plan;
pub mod reconcile;
pub mod replicas;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod transition;
pub mod xds;
