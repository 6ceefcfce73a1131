//! Inbounds: who gets to a service, and in what they speak.
//!
//! All that policy changes stands inside the filter chains: TLS, RBAC and the
//! destination. A listener of which the filter chains and the matcher alone
//! differ is updated in place (Envoy, "In place filter chain update"): its
//! socket stays open, connections of chains that are the same in both go on,
//! those of the others go on under the old rules for `--drain-time-s` and are
//! closed then. That is how a permission that is withdrawn ends the connections
//! that it had allowed, and how a drain ends those that were authenticated
//! under an authority that goes: the guarded chain changes its name.
//!
//! Measured on Envoy 1.40 with 200 new connections a second and a drain time
//! of 2 s, through every posture up and down and a drain in between:
//!
//! - No new connection is refused or fails at any change.
//! - Between both and mTLS only, and at a drain, the update is in place: new
//!   connections meet the new chains within milliseconds, and connections of
//!   the guarded chain that is in both go on.
//! - The TLS inspector is no part of a filter chain: with it or without it is
//!   another listener. It takes over the socket with all that waits in it, and
//!   all connections of the old one end with the drain time. Plaintext
//!   inbounds have none all the same: clients of services that speak first
//!   would wait for ever. Inbounds that accept only mTLS have one: they become
//!   ones that accept both, and back, without an end to what is encrypted. It
//!   costs them a look at the `ClientHello`; a client that is silent for
//!   [`FIRST_WORD`] goes to the guarded chain then, as every other.
//! - Where inbounds accept both, a plaintext client of a service that speaks
//!   first is connected after [`FIRST_WORD`] (1.001 s); one over mTLS after
//!   its handshake, as ever. A client whose `ClientHello` comes later than that
//!   (1.5 s) is taken for plaintext and fails.
//! - At the end of the drain time, Envoy closes, and what is under way then is
//!   lost (TCP has no request to wait for). In a few runs, idle clients saw
//!   FIN; of six busy ones in one run, five saw FIN, and one saw RST and lost
//!   the request that it was sending.
//! - What is counted under a `stat_prefix` goes with the last filter chain
//!   that has it: `inbound_plaintext.<service>` begins at 0 with each window.
//! - A cluster that is replaced (outbounds open TLS, or no longer) closes
//!   nothing: connections of the old one go on until the chain that accepted
//!   them goes.
//!
//! Not measured: how `max_downstream_connection_duration` of the TCP proxy
//! closes. It would do so over and over without a change of authority
//! (`docs/decisions/0012-a-drain-by-another-filter-chain.md`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType as ListenerConfigType;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, ListenerFilter};
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, UpstreamConnectMode,
};
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::ApplicationProtocolInput;
use envoy_types::pb::google::protobuf::{Any, Duration, StringValue, UInt32Value};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::{MatchMap, TreeType};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch as Then;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch};
use envoy_types::util::pack_any;

use super::{encode, filter, tcp_proxy};
use crate::model::ServiceName;
use crate::xds::resource::Resource;
use crate::xds::to_envoy::{address, cluster, seconds, tls};

/// How much a client may send before the service is connected, in bytes; then
/// its proxy stops reading.
const MAX_EARLY_DATA: u32 = 64 * 1024;

/// How long a client may take to say its first word where inbounds accept both
/// plaintext and mTLS. One that waits for the service to speak first speaks
/// plaintext: it is connected after this time. One that speaks TLS and takes
/// longer fails, so this is more than two lost packets cost.
const FIRST_WORD: Duration = seconds(1);

/// The name of the filter chain for plaintext.
const PLAINTEXT: &str = "plaintext";

/// What stands in front of a service with mTLS.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::xds) struct Guard {
    /// The TLS context: [`tls::downstream`].
    pub(in crate::xds) tls: Any,
    /// Who may connect: [`crate::xds::to_envoy::rbac::filter`].
    pub(in crate::xds) rbac: Any,
    /// The drain that connections came after: with another number, those there
    /// are come to an end.
    pub(in crate::xds) drained: u64,
}

/// Who gets to a service.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::xds) enum Access {
    /// Everyone, in plaintext.
    Plaintext,
    /// Everyone in plaintext, and whom the guard lets in.
    Both(Guard),
    /// Whom the guard lets in.
    Mtls(Guard),
}

/// The listener in front of a service on the proxy's own host.
pub(in crate::xds) fn inbound(
    at: SocketAddr,
    to: NonZeroU16,
    service: &ServiceName,
    access: Access,
) -> Resource {
    let listener = Listener {
        name: format!("inbound:{at}"),
        address: Some(address(at)),
        traffic_direction: TrafficDirection::Inbound.into(),
        ..Listener::default()
    };
    let plaintext = || plaintext(to, service);
    encode(match access {
        Access::Plaintext => Listener {
            filter_chains: vec![plaintext()],
            ..listener
        },
        Access::Both(guard) => {
            let guarded = guarded(to, service, guard);
            let matcher = Matcher {
                matcher_type: Some(MatcherType::MatcherTree(offers_mesh_tls(&guarded.name))),
                on_no_match: Some(Box::new(go_to(PLAINTEXT))),
            };
            inspected(listener, vec![guarded, plaintext()], matcher)
        }
        Access::Mtls(guard) => {
            let guarded = guarded(to, service, guard);
            let matcher = Matcher {
                matcher_type: None,
                on_no_match: Some(Box::new(go_to(&guarded.name))),
            };
            inspected(listener, vec![guarded], matcher)
        }
    })
}

/// A listener that looks at what a client says first. One that accepts mTLS
/// only has no use for that; it looks all the same, so that it becomes one that
/// accepts both, and back, in place.
fn inspected(listener: Listener, filter_chains: Vec<FilterChain>, matcher: Matcher) -> Listener {
    Listener {
        listener_filters: vec![ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".to_owned(),
            config_type: Some(ListenerConfigType::TypedConfig(pack_any(
                TlsInspector::default(),
            ))),
            ..ListenerFilter::default()
        }],
        listener_filters_timeout: Some(FIRST_WORD),
        continue_on_listener_filters_timeout: true,
        filter_chains,
        filter_chain_matcher: Some(matcher),
        ..listener
    }
}

/// Matches the outbounds of the mesh, not what workloads encrypt themselves:
/// that goes through plaintext outbounds and inbounds as it is.
fn offers_mesh_tls(guarded: &str) -> MatcherTree {
    // The input is all that the client offers, each in quotes.
    let offered = format!("'{}'", tls::ALPN);
    MatcherTree {
        input: Some(extension(
            "application-protocols",
            pack_any(ApplicationProtocolInput {}),
        )),
        tree_type: Some(TreeType::ExactMatchMap(MatchMap {
            map: HashMap::from([(offered, go_to(guarded))]),
        })),
    }
}

fn go_to(chain: &str) -> OnMatch {
    let name = StringValue {
        value: chain.to_owned(),
    };
    OnMatch {
        on_match: Some(Then::Action(extension("filter-chain", pack_any(name)))),
        ..OnMatch::default()
    }
}

fn extension(name: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: name.to_owned(),
        typed_config: Some(config),
    }
}

fn plaintext(to: NonZeroU16, service: &ServiceName) -> FilterChain {
    FilterChain {
        name: PLAINTEXT.to_owned(),
        filters: vec![tcp_proxy(TcpProxy {
            stat_prefix: format!("inbound_plaintext.{service}"),
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster::local_name(to))),
            ..TcpProxy::default()
        })],
        ..FilterChain::default()
    }
}

fn guarded(to: NonZeroU16, service: &ServiceName, guard: Guard) -> FilterChain {
    let mut proxy = TcpProxy {
        stat_prefix: format!("inbound.{service}"),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster::local_name(to))),
        max_early_data_bytes: Some(UInt32Value {
            value: MAX_EARLY_DATA,
        }),
        ..TcpProxy::default()
    };
    // The service does not hear of a client that proves nothing.
    proxy.set_upstream_connect_mode(UpstreamConnectMode::OnDownstreamTlsHandshake);
    FilterChain {
        name: format!("mtls-{}", guard.drained),
        filters: vec![
            filter("envoy.filters.network.rbac", guard.rbac),
            tcp_proxy(proxy),
        ],
        transport_socket: Some(tls::socket(guard.tls)),
        ..FilterChain::default()
    }
}
