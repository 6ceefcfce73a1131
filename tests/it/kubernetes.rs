//! The control plane in a Kubernetes cluster, with a real API server.

mod site;
mod tokens;
mod webhook;
