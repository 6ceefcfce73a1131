//! Listeners: TCP goes through a filter chain to a cluster.

mod inbound;

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;

pub(in crate::xds) use inbound::{Access, Guard, inbound};

use super::address;
use crate::model::ServiceName;
use crate::xds::resource::{Resource, ResourceType};

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
