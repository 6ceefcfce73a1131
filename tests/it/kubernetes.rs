//! The control plane in a Kubernetes cluster, with a real API server.

mod apply;
mod deploy;
mod install;
mod neighbours;
mod renewal;
mod site;
mod tokens;
mod webhook;
