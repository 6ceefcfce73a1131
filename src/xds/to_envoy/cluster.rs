//! Clusters and their endpoints.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use envoy_types::util::pack_any;

use super::{address, ads, seconds, tls};
use crate::model::ServiceName;
use crate::xds::resource::{Resource, ResourceType};

/// How long the other side may take to accept a connection.
const CONNECT: Duration = seconds(5);

/// The name of the cluster of a port of the proxy's own host. No service has
/// it: service names hold no colon.
pub(super) fn local_name(port: NonZeroU16) -> String {
    format!("localhost:{port}")
}

/// The cluster of a port of the proxy's own host: the service there, or
/// nothing where the proxy itself listens. It would call itself for ever.
pub(in crate::xds) fn local(port: NonZeroU16, is_proxy: bool) -> Resource {
    let name = local_name(port);
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, port.get()));
    let assignment = load_assignment(&name, (!is_proxy).then_some(service));
    encode(Cluster {
        name,
        connect_timeout: Some(CONNECT),
        circuit_breakers: Some(no_limits()),
        cluster_discovery_type: Some(discovery(DiscoveryType::Static)),
        load_assignment: Some(assignment),
        ..Cluster::default()
    })
}

/// The cluster of a service, plaintext where there is no TLS context. It has
/// the service's name, and so do its endpoints. Envoy uses a cluster that
/// changed once its endpoints have come again, the same or not; measured on
/// 1.40, it otherwise goes on with the old cluster until [`super::ads`] times out.
pub(in crate::xds) fn service(service: &ServiceName, tls: Option<Any>) -> Resource {
    encode(Cluster {
        name: service.to_string(),
        connect_timeout: Some(CONNECT),
        circuit_breakers: Some(no_limits()),
        lb_policy: LbPolicy::LeastRequest.into(),
        cluster_discovery_type: Some(discovery(DiscoveryType::Eds)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            ..EdsClusterConfig::default()
        }),
        transport_socket: tls.map(tls::socket),
        ..Cluster::default()
    })
}

/// The endpoints of a service; none where nobody offers it.
pub(in crate::xds) fn endpoints(service: &ServiceName, at: &BTreeSet<SocketAddr>) -> Resource {
    let assignment = load_assignment(service.as_str(), at.iter().copied());
    let message = pack_any(assignment).value.into();
    Resource::encoded(ResourceType::Endpoints, service.as_str(), message)
}

fn load_assignment(name: &str, at: impl IntoIterator<Item = SocketAddr>) -> ClusterLoadAssignment {
    let endpoint = |at: SocketAddr| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(at)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let lb_endpoints: Vec<_> = at.into_iter().map(endpoint).collect();
    let locality = (!lb_endpoints.is_empty()).then(|| LocalityLbEndpoints {
        lb_endpoints,
        ..LocalityLbEndpoints::default()
    });
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: locality.into_iter().collect(),
        ..ClusterLoadAssignment::default()
    }
}

/// Envoy's own limits are 1,024 connections to a cluster and as many that
/// wait; how many a service takes is the service's business.
fn no_limits() -> CircuitBreakers {
    let unlimited = Some(UInt32Value { value: u32::MAX });
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: unlimited,
            max_pending_requests: unlimited,
            max_requests: unlimited,
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

fn discovery(kind: DiscoveryType) -> ClusterDiscoveryType {
    ClusterDiscoveryType::Type(kind.into())
}

fn encode(cluster: Cluster) -> Resource {
    let name = cluster.name.clone();
    let message = pack_any(cluster).value.into();
    Resource::encoded(ResourceType::Cluster, name, message)
}
