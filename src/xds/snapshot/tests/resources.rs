//! What a dataplane is told, message by message.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::core::v3::{Address, ApiVersion, TransportSocket};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener};
use envoy_types::pb::envoy::config::rbac::v3::principal::Identifier;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, UpstreamConnectMode,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use serde_json::{Value, json};

use super::*;
use crate::xds::fixtures::changes::{mesh, put};
use crate::xds::to_envoy::pack;

/// `web` reaches `backend` and `redis`; one dataplane offers both of those,
/// another `backend` alone.
pub(super) fn demo(posture: Posture) -> MeshState {
    let mut mesh = mesh(posture);
    dataplane(
        &mut mesh,
        "web",
        &json!({
            "address": "192.0.2.1",
            "inbound": [{"port": 80, "servicePort": 8080, "tags": {"service": "web"}}],
            "outbound": [
                {"port": 9001, "service": "backend"},
                {"port": 9002, "service": "redis", "address": "127.0.0.2"},
            ],
        }),
    );
    dataplane(
        &mut mesh,
        "both",
        &json!({
            "address": "192.0.2.2",
            "inbound": [
                {"port": 81, "tags": {"service": "backend"}},
                {"port": 82, "tags": {"service": "redis"}},
            ],
        }),
    );
    let tags = json!({"service": "backend"});
    let networking = json!({"address": "192.0.2.1", "inbound": [{"port": 83, "tags": tags}]});
    dataplane(&mut mesh, "backend", &networking);
    let gateway = json!({
        "address": "192.0.2.9", "gateway": {"tags": {"service": "backend"}},
        "outbound": [{"port": 9001, "service": "backend"}],
    });
    dataplane(&mut mesh, "edge", &gateway);
    mesh
}

pub(super) fn dataplane(mesh: &mut MeshState, name: &str, networking: &Value) {
    let resource =
        json!({"type": "Dataplane", "mesh": "demo", "name": name, "networking": networking});
    put(mesh, resource);
}

pub(super) fn allow(mesh: &mut MeshState, name: &str, source: &str, destination: &str) {
    let selector = |service| json!([{"match": {"service": service}}]);
    let (sources, destinations) = (selector(source), selector(destination));
    put(
        mesh,
        json!({
            "type": "TrafficPermission", "mesh": "demo", "name": name,
            "sources": sources, "destinations": destinations,
        }),
    );
}

pub(super) fn view(mesh: MeshState, name: &str) -> View {
    let mut mesh = MeshView::of(&Arc::new(mesh));
    mesh.proxy(&name.parse().unwrap()).unwrap()
}

pub(super) fn decode<T: Message + Default>(resources: &[Arc<Resource>]) -> BTreeMap<String, T> {
    let decoded = resources.iter().map(|resource| {
        let message = T::decode(&*pack(resource).value).unwrap();
        (resource.name.to_string(), message)
    });
    decoded.collect()
}

fn names(resources: &[Arc<Resource>]) -> Vec<&str> {
    resources.iter().map(|resource| &*resource.name).collect()
}

fn unpack<T: Message + Name + Default>(any: &Any) -> T {
    assert_eq!(any.type_url, T::type_url());
    T::decode(&*any.value).unwrap()
}

pub(super) fn config<T: Message + Name + Default>(filter: &Filter) -> T {
    match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => unpack(any),
        other => panic!("{other:?}"),
    }
}

pub(super) fn tls<T: Message + Name + Default>(socket: Option<&TransportSocket>) -> T {
    let Some(SocketConfig::TypedConfig(any)) = &socket.unwrap().config_type else {
        panic!("{socket:?}");
    };
    unpack(any)
}

fn at(address: Option<&Address>) -> String {
    let Some(AddressKind::SocketAddress(socket)) = &address.unwrap().address else {
        panic!("{address:?}");
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        panic!("{socket:?}");
    };
    format!("{}:{port}", socket.address)
}

fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    let localities = assignment.endpoints.iter();
    let endpoints = localities.flat_map(|locality| &locality.lb_endpoints);
    endpoints
        .map(|endpoint| match &endpoint.host_identifier {
            Some(HostIdentifier::Endpoint(endpoint)) => at(endpoint.address.as_ref()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The filters of the only chain, and its transport socket.
fn chain(listener: &Listener) -> (&[Filter], Option<&TransportSocket>) {
    let [chain] = listener.filter_chains.as_slice() else {
        panic!("{listener:#?}");
    };
    (&chain.filters, chain.transport_socket.as_ref())
}

fn destination(filter: &Filter) -> String {
    match config::<TcpProxy>(filter).cluster_specifier {
        Some(ClusterSpecifier::Cluster(cluster)) => cluster,
        other => panic!("{other:?}"),
    }
}

fn pattern(matcher: Option<&StringMatcher>) -> String {
    let matcher = matcher.unwrap();
    assert!(!matcher.ignore_case);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => format!("={text}"),
        Some(MatchPattern::Prefix(text)) => format!("{text}*"),
        other => panic!("{other:?}"),
    }
}

/// Whom the listener lets in.
fn principals(listener: &Listener) -> Vec<String> {
    let rbac: Rbac = config(&chain(listener).0[0]);
    let rules = rbac.rules.expect("without rules the filter is off");
    assert_eq!(rules.action, 0, "ALLOW");
    assert!(rules.policies.len() <= 1, "a map has no order");
    let principals = rules
        .policies
        .values()
        .flat_map(|policy| &policy.principals);
    principals
        .map(|principal| match &principal.identifier {
            Some(Identifier::Authenticated(name)) => pattern(name.principal_name.as_ref()),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn assert_over_ads(secret: &SdsSecretConfig, name: &str) {
    assert_eq!(secret.name, name);
    let source = secret.sds_config.as_ref().unwrap();
    assert_eq!(source.resource_api_version(), ApiVersion::V3);
    let specifier = source.config_source_specifier.as_ref().unwrap();
    assert!(matches!(specifier, ConfigSourceSpecifier::Ads(_)));
}

/// Checks what both sides have in common, and returns whom they accept.
pub(super) fn peers(context: Option<&CommonTlsContext>) -> Vec<String> {
    let context = context.unwrap();
    let params = context.tls_params.as_ref().unwrap();
    assert_eq!(params.tls_minimum_protocol_version(), TlsProtocol::TlSv12);
    let [identity] = context.tls_certificate_sds_secret_configs.as_slice() else {
        panic!("{context:#?}");
    };
    assert_over_ads(identity, IDENTITY_CERT);
    let Some(ValidationContextType::CombinedValidationContext(validation)) =
        &context.validation_context_type
    else {
        panic!("{context:#?}");
    };
    let roots = validation.validation_context_sds_secret_config.as_ref();
    assert_over_ads(roots.unwrap(), MESH_CA);
    let default = validation.default_validation_context.as_ref().unwrap();
    let sans = default.match_typed_subject_alt_names.iter();
    let peers = sans.map(|san| {
        assert_eq!(san.san_type(), SanType::Uri);
        pattern(san.matcher.as_ref())
    });
    peers.collect()
}

/// Whom an inbound lets through its handshake.
fn clients(listener: &Listener) -> Vec<String> {
    let (_, socket) = chain(listener);
    let context: DownstreamTlsContext = tls(socket);
    peers(context.common_tls_context.as_ref())
}

#[test]
fn an_inbound_terminates_mtls_then_asks_rbac_then_goes_to_the_service_port() {
    let view = view(demo(Posture::Strict), "web");
    let listeners: BTreeMap<_, Listener> = decode(&view.listeners);
    let listener = &listeners["inbound:192.0.2.1:80"];
    assert_eq!(listener.name, "inbound:192.0.2.1:80");
    assert_eq!(at(listener.address.as_ref()), "192.0.2.1:80");
    let (filters, socket) = chain(listener);
    let context: DownstreamTlsContext = tls(socket);
    assert!(context.require_client_certificate.unwrap().value);
    let [rbac, proxy] = filters else {
        panic!("{filters:#?}");
    };
    assert_eq!(config::<Rbac>(rbac).stat_prefix, "inbound.web.");
    assert_eq!(destination(proxy), "localhost:8080");
    let proxy: TcpProxy = config(proxy);
    let mode = UpstreamConnectMode::OnDownstreamTlsHandshake;
    assert_eq!(proxy.upstream_connect_mode(), mode);
    let clusters: BTreeMap<_, Cluster> = decode(&view.clusters);
    let local = &clusters["localhost:8080"];
    assert!(local.transport_socket.is_none());
    let there = addresses(local.load_assignment.as_ref().unwrap());
    assert_eq!(there, ["127.0.0.1:8080"]);
}

#[test]
fn without_a_service_port_the_service_is_on_the_inbound_port() {
    let view = view(demo(Posture::Strict), "backend");
    assert_eq!(names(&view.clusters), ["localhost:83"]);
}

#[test]
fn a_proxy_that_listens_where_its_service_should_be_does_not_call_itself() {
    let service = |address: &str, outbound: &Value| {
        let mut demo = mesh(Posture::Plaintext);
        let networking = json!({
            "address": address, "outbound": outbound,
            "inbound": [{"port": 80, "tags": {"service": "web"}}],
        });
        dataplane(&mut demo, "web", &networking);
        let view = view(demo, "web");
        let clusters: BTreeMap<_, Cluster> = decode(&view.clusters);
        addresses(clusters["localhost:80"].load_assignment.as_ref().unwrap())
    };
    let nothing = json!([]);
    assert_eq!(service("192.0.2.1", &nothing), ["127.0.0.1:80"]);
    for own in ["127.0.0.1", "0.0.0.0", "::"] {
        assert!(service(own, &nothing).is_empty(), "{own}");
    }
    let outbound = json!([{"port": 80, "service": "backend"}]);
    assert!(service("192.0.2.1", &outbound).is_empty());
}

#[test]
fn an_outbound_opens_mtls_to_exactly_the_service_wherever_it_is_offered() {
    let mut demo = demo(Posture::Strict);
    let view = view(demo.clone(), "web");
    let listeners: BTreeMap<_, Listener> = decode(&view.listeners);
    for (name, service) in [
        ("outbound:127.0.0.1:9001", "backend"),
        ("outbound:127.0.0.2:9002", "redis"),
    ] {
        let (filters, socket) = chain(&listeners[name]);
        assert!(socket.is_none(), "the workload speaks plaintext");
        assert_eq!(filters.len(), 1);
        assert_eq!(destination(&filters[0]), service);
    }
    let clusters: BTreeMap<_, Cluster> = decode(&view.clusters);
    let backend = &clusters["backend"];
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    assert_eq!(backend.cluster_discovery_type, Some(eds));
    assert!(
        backend
            .eds_cluster_config
            .as_ref()
            .unwrap()
            .service_name
            .is_empty()
    );
    let context: UpstreamTlsContext = tls(backend.transport_socket.as_ref());
    let common = context.common_tls_context.as_ref().unwrap();
    assert_eq!(common.alpn_protocols, ["windlass"]);
    assert_eq!(
        peers(context.common_tls_context.as_ref()),
        ["=spiffe://demo/backend"]
    );
    let endpoints: BTreeMap<_, ClusterLoadAssignment> = decode(&view.endpoints);
    assert_eq!(endpoints["backend"].cluster_name, "backend");
    let offered = addresses(&endpoints["backend"]);
    assert_eq!(
        offered,
        ["192.0.2.1:83", "192.0.2.2:81"],
        "sorted, no gateway"
    );

    // Nobody offers it any more: the endpoints exist and are empty.
    let networking =
        json!({"address": "192.0.2.2", "inbound": [{"port": 81, "tags": {"service": "backend"}}]});
    dataplane(&mut demo, "both", &networking);
    let view = self::view(demo, "web");
    let endpoints: BTreeMap<_, ClusterLoadAssignment> = decode(&view.endpoints);
    assert!(endpoints["redis"].endpoints.is_empty());
}

#[test]
fn rbac_follows_the_permissions_of_each_inbound_by_itself() {
    let mut demo = demo(Posture::Strict);
    let listeners = |mesh: &MeshState| {
        let listeners: BTreeMap<_, Listener> = decode(&view(mesh.clone(), "both").listeners);
        ["inbound:192.0.2.2:81", "inbound:192.0.2.2:82"].map(|name| {
            let (allowed, mut clients) = (principals(&listeners[name]), clients(&listeners[name]));
            // Nobody has this name. Without a name everybody would get in.
            clients.retain(|client| client != "=spiffe://demo/");
            assert_eq!(clients, allowed, "the handshake and RBAC agree");
            allowed
        })
    };
    assert_eq!(
        clients(&decode(&view(demo.clone(), "both").listeners)["inbound:192.0.2.2:81"]),
        ["=spiffe://demo/"]
    );
    let nobody: [&str; 0] = [];
    assert_eq!(listeners(&demo), [nobody, nobody]);
    allow(&mut demo, "one", "web", "backend");
    allow(&mut demo, "two", "admin", "backend");
    allow(&mut demo, "three", "web", "backend");
    let backend = vec!["=spiffe://demo/admin", "=spiffe://demo/web"];
    assert_eq!(listeners(&demo), [backend.clone(), vec![]]);
    allow(&mut demo, "four", "backup", "*");
    let backup = "=spiffe://demo/backup";
    assert_eq!(
        listeners(&demo),
        [vec![backend[0], backup, backend[1]], vec![backup]]
    );
    allow(&mut demo, "five", "*", "redis");
    assert_eq!(listeners(&demo)[1], ["spiffe://demo/*"]);
}

#[test]
fn without_mtls_all_is_plaintext_and_open() {
    let mut demo = demo(Posture::Plaintext);
    allow(&mut demo, "one", "web", "backend");
    for name in ["web", "both", "backend", "edge"] {
        let view = view(demo.clone(), name);
        for listener in decode::<Listener>(&view.listeners).values() {
            let (filters, socket) = chain(listener);
            assert!(socket.is_none());
            assert_eq!(filters.len(), 1, "no RBAC");
        }
        for cluster in decode::<Cluster>(&view.clusters).values() {
            assert!(cluster.transport_socket.is_none());
        }
    }
}

#[test]
fn without_an_authority_mtls_is_required_all_the_same() {
    let mut demo = demo(Posture::Strict);
    let before = view(demo.clone(), "web");
    demo.authorities.clear();
    let after = view(demo, "web");
    assert!(after.mesh_ca.is_none() && after.leaf.is_none());
    assert!(are_same(&before.listeners, &after.listeners));
    assert!(are_same(&before.clusters, &after.clusters));
}

#[test]
fn a_gateway_has_outbounds_only() {
    let view = view(demo(Posture::Strict), "edge");
    assert_eq!(names(&view.listeners), ["outbound:127.0.0.1:9001"]);
    assert_eq!(names(&view.clusters), ["backend"]);
    let leaf = view.leaf.unwrap();
    assert_eq!(leaf.identity.to_string(), "spiffe://demo/backend");
}

#[test]
fn an_address_is_bound_once_and_the_inbound_wins() {
    let mut demo = demo(Posture::Strict);
    let networking = json!({
        "address": "127.0.0.1",
        "inbound": [{"port": 80, "tags": {"service": "web"}}],
        "outbound": [{"port": 80, "service": "redis"}, {"port": 81, "service": "redis"},
                     {"port": 81, "service": "backend"}],
    });
    dataplane(&mut demo, "web", &networking);
    let view = view(demo, "web");
    let expected = ["inbound:127.0.0.1:80", "outbound:127.0.0.1:81"];
    assert_eq!(names(&view.listeners), expected);
}

#[test]
fn what_proxies_have_in_common_is_made_once() {
    let mut demo = demo(Posture::Strict);
    let outbound = json!([{"port": 9001, "service": "backend"}]);
    let networking = json!({"address": "192.0.2.7", "gateway": {"tags": {"service": "x"}}, "outbound": outbound});
    dataplane(&mut demo, "edge", &networking);
    let mut mesh = MeshView::of(&Arc::new(demo));
    let mut proxy = |name: &str| mesh.proxy(&name.parse().unwrap()).unwrap();
    let (web, edge) = (proxy("web"), proxy("edge"));
    assert!(Arc::ptr_eq(&web.clusters[0], &edge.clusters[0]));
    assert!(Arc::ptr_eq(&web.endpoints[0], &edge.endpoints[0]));
    assert!(Arc::ptr_eq(&web.listeners[0], &edge.listeners[0]));
    assert!(Arc::ptr_eq(&web.mesh_ca.unwrap(), &edge.mesh_ca.unwrap()));
}
