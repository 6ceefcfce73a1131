//! What the tests of the whole program share: a site with a Git repository and
//! a state folder, the daemon on it, and a real Envoy.
//!
//! Everything listens on ephemeral loopback ports and lives in a folder of its
//! own, so tests run side by side. Processes end with the value that owns them.

pub(crate) mod balancer;
pub(crate) mod cluster;
pub(crate) mod daemon;
pub(crate) mod dp_run;
pub(crate) mod dying;
pub(crate) mod echo;
pub(crate) mod envoy;
pub(crate) mod gap;
pub(crate) mod http;
pub(crate) mod kubernetes;
pub(crate) mod mesh_ca;
pub(crate) mod postgres;
pub(crate) mod repo;
pub(crate) mod sds;
pub(crate) mod site;
pub(crate) mod tls;
pub(crate) mod wait;

pub(crate) use cluster::Cluster;
pub(crate) use daemon::Daemon;
pub(crate) use dp_run::DpRun;
pub(crate) use envoy::Envoy;
pub(crate) use mesh_ca::MeshCa;
pub(crate) use postgres::Postgres;
pub(crate) use site::Site;
