//! `dp run`: what an Envoy is started with, and what keeps it going.

pub mod bootstrap;
