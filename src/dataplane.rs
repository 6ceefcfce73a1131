//! `dp run`: what an Envoy is started with, and what keeps it going.
//!
//! [`bootstrap`], [`token`] and [`answer`] are pure; [`run`] supervises one
//! Envoy, talks to its admin server ([`admin`]), and keeps its token file
//! ([`token_file`]) good ([`renewal`]).

pub mod admin;
pub mod answer;
pub mod bootstrap;
pub mod control;
pub mod envoy;
pub mod program;
pub mod renewal;
pub mod run;
pub mod token;
pub mod token_file;
