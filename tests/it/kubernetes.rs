//! The control plane in a Kubernetes cluster, with a real API server.

mod deploy;
mod install;
mod renewal;
mod site;
mod tokens;
mod webhook;
