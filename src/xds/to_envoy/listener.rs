//! Listeners: one filter chain each, which TCP goes through.
//!
//! All that policy changes stands inside the filter chain: TLS, RBAC and the
//! destination. A listener whose filter chain alone differs is updated in
//! place (Envoy, "In place filter chain update"): its socket stays open,
//! connections of the old chain go on under the old rules for `--drain-time-s`
//! and are closed then. That is how a permission that is withdrawn ends the
//! connections that it had allowed. Measured on Envoy 1.40: RBAC and TLS, on
//! or off, are all changed in place; new connections meet the new rules within
//! milliseconds, and with a drain time of 1 s the old ones end after 1 s.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, UpstreamConnectMode,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use envoy_types::util::pack_any;

use super::{address, cluster, tls};
use crate::model::ServiceName;
use crate::xds::resource::{Resource, ResourceType};

/// How much a client may send before the service is connected, in bytes; then
/// its proxy stops reading.
const MAX_EARLY_DATA: u32 = 64 * 1024;

/// What stands in front of a service with mTLS.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::xds) struct Guard {
    /// The TLS context: [`super::tls::downstream`].
    pub(in crate::xds) tls: Any,
    /// Who may connect: [`super::rbac::filter`].
    pub(in crate::xds) rbac: Any,
}

/// The listener in front of a service on the proxy's own host, open to
/// everyone where there is no guard.
pub(in crate::xds) fn inbound(
    at: SocketAddr,
    to: NonZeroU16,
    service: &ServiceName,
    guard: Option<Guard>,
) -> Resource {
    let mut proxy = TcpProxy {
        stat_prefix: format!("inbound.{service}"),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster::local_name(to))),
        ..TcpProxy::default()
    };
    let (socket, filters) = match guard {
        Some(Guard { tls, rbac }) => {
            // The service does not hear of a client that proves nothing.
            proxy.set_upstream_connect_mode(UpstreamConnectMode::OnDownstreamTlsHandshake);
            proxy.max_early_data_bytes = Some(UInt32Value {
                value: MAX_EARLY_DATA,
            });
            let rbac = filter("envoy.filters.network.rbac", rbac);
            (Some(tls::socket(tls)), vec![rbac, tcp_proxy(proxy)])
        }
        None => (None, vec![tcp_proxy(proxy)]),
    };
    encode(Listener {
        name: format!("inbound:{at}"),
        address: Some(address(at)),
        filter_chains: vec![FilterChain {
            filters,
            transport_socket: socket,
            ..FilterChain::default()
        }],
        traffic_direction: TrafficDirection::Inbound.into(),
        ..Listener::default()
    })
}

/// The listener through which the workload reaches a service.
pub(in crate::xds) fn outbound(at: SocketAddr, service: &ServiceName) -> Resource {
    encode(Listener {
        name: format!("outbound:{at}"),
        address: Some(address(at)),
        filter_chains: vec![FilterChain {
            filters: vec![tcp_proxy(TcpProxy {
                stat_prefix: format!("outbound.{service}"),
                cluster_specifier: Some(ClusterSpecifier::Cluster(service.to_string())),
                ..TcpProxy::default()
            })],
            ..FilterChain::default()
        }],
        traffic_direction: TrafficDirection::Outbound.into(),
        ..Listener::default()
    })
}

fn tcp_proxy(config: TcpProxy) -> Filter {
    filter("envoy.filters.network.tcp_proxy", pack_any(config))
}

fn filter(name: &str, config: Any) -> Filter {
    Filter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
    }
}

fn encode(listener: Listener) -> Resource {
    let name = listener.name.clone();
    let message = pack_any(listener).value.into();
    Resource::encoded(ResourceType::Listener, name, message)
}
