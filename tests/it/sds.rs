//! SDS and ADS over real TLS and HTTP/2, against a server in this process.

mod ads;
mod auth;
mod behind;
mod dataplane_service;
mod envoy;
mod harness;
mod insight;
mod limits;
mod postures;
mod proxy;
mod push;
mod reconnect;
