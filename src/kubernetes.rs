//! What Windlass is in a Kubernetes cluster beside a store in it: it takes the
//! tokens of service accounts ([`accounts`]), and judges what `kubectl` writes
//! ([`webhook`]).

pub mod accounts;
pub mod webhook;
