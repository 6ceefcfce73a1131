//! What each posture is, message by message.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::StringValue;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::TreeType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::on_match::OnMatch as Then;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherType, OnMatch};
use prost::Message as _;

use super::resources::{allow, config, decode, demo};
use super::*;
use crate::model::{Accepts, Opens};

const INBOUND: &str = "inbound:192.0.2.1:80";

/// `web` under a posture.
fn web(posture: Posture) -> View {
    view_of(&demo(posture))
}

fn view_of(mesh: &MeshState) -> View {
    let mut view = MeshView::of(&Arc::new(mesh.clone()));
    view.proxy(&"web".parse().unwrap()).unwrap()
}

fn inbound(view: &View) -> Listener {
    decode(&view.listeners).remove(INBOUND).unwrap()
}

fn chain_names(listener: &Listener) -> Vec<&str> {
    let chains = listener.filter_chains.iter();
    chains.map(|chain| chain.name.as_str()).collect()
}

fn chain<'a>(listener: &'a Listener, name: &str) -> &'a FilterChain {
    let mut chains = listener.filter_chains.iter();
    chains.find(|chain| chain.name == name).unwrap()
}

fn goes_to(on_match: Option<&OnMatch>) -> String {
    let Some(Then::Action(action)) = &on_match.unwrap().on_match else {
        panic!("{on_match:?}");
    };
    let name = &action.typed_config.as_ref().unwrap().value;
    StringValue::decode(name.as_slice()).unwrap().value
}

fn stat_prefix(chain: &FilterChain) -> String {
    config::<TcpProxy>(chain.filters.last().unwrap()).stat_prefix
}

/// The listener but for what is updated in place.
fn frame(view: &View) -> Listener {
    Listener {
        filter_chains: vec![],
        filter_chain_matcher: None,
        ..inbound(view)
    }
}

#[test]
fn secrets_come_with_identities_whatever_connections_are() {
    for posture in Posture::ALL {
        let view = web(posture);
        let has = posture.has_identities();
        assert_eq!(view.mesh_ca.is_some(), has, "{posture:?}");
        assert_eq!(view.leaf.is_some(), has, "{posture:?}");
    }
    // Nothing else changes.
    let (plaintext, identified) = (web(Posture::Plaintext), web(Posture::Identified));
    assert!(are_same(&plaintext.listeners, &identified.listeners));
    assert!(are_same(&plaintext.clusters, &identified.clusters));
}

#[test]
fn outbounds_open_tls_from_encrypting_on() {
    for posture in Posture::ALL {
        let clusters: BTreeMap<_, Cluster> = decode(&web(posture).clusters);
        for name in ["backend", "redis"] {
            let secured = clusters[name].transport_socket.is_some();
            assert_eq!(secured, posture.opens() == Opens::Mtls, "{posture:?}");
        }
        assert!(clusters["localhost:8080"].transport_socket.is_none());
    }
}

#[test]
fn a_plaintext_inbound_asks_nothing_and_waits_for_nothing() {
    let listener = inbound(&web(Posture::Plaintext));
    assert_eq!(chain_names(&listener), ["plaintext"]);
    assert!(listener.listener_filters.is_empty());
    assert_eq!(listener.filter_chain_matcher, None);
    let chain = chain(&listener, "plaintext");
    assert_eq!(chain.filters.len(), 1);
    assert!(chain.transport_socket.is_none());
    assert_eq!(stat_prefix(chain), "inbound_plaintext.web");
}

#[test]
fn a_permissive_inbound_guards_what_the_mesh_encrypts_and_takes_everything_else_as_it_is() {
    let listener = inbound(&web(Posture::Permissive));
    assert_eq!(chain_names(&listener), ["mtls-0", "plaintext"]);
    let [inspector] = listener.listener_filters.as_slice() else {
        panic!("{listener:#?}");
    };
    assert_eq!(inspector.name, "envoy.filters.listener.tls_inspector");
    // A client of a service that speaks first gets through, to plaintext.
    assert!(listener.continue_on_listener_filters_timeout);
    assert_eq!(listener.listener_filters_timeout.unwrap().seconds, 1);
    let matcher = listener.filter_chain_matcher.as_ref().unwrap();
    assert_eq!(goes_to(matcher.on_no_match.as_deref()), "plaintext");
    let Some(MatcherType::MatcherTree(tree)) = &matcher.matcher_type else {
        panic!("{matcher:#?}");
    };
    let Some(TreeType::ExactMatchMap(map)) = &tree.tree_type else {
        panic!("{tree:#?}");
    };
    assert_eq!(map.map.len(), 1, "a map has no order");
    assert_eq!(goes_to(map.map.get("'windlass'")), "mtls-0");
    assert_eq!(stat_prefix(&listener.filter_chains[0]), "inbound.web");
    assert_eq!(
        stat_prefix(&listener.filter_chains[1]),
        "inbound_plaintext.web"
    );
}

#[test]
fn a_strict_inbound_sends_everyone_to_the_guard() {
    let listener = inbound(&web(Posture::Strict));
    assert_eq!(chain_names(&listener), ["mtls-0"]);
    let matcher = listener.filter_chain_matcher.as_ref().unwrap();
    assert_eq!(matcher.matcher_type, None);
    assert_eq!(goes_to(matcher.on_no_match.as_deref()), "mtls-0");
    let chain = chain(&listener, "mtls-0");
    assert!(chain.transport_socket.is_some());
    assert_eq!(chain.filters.len(), 2, "RBAC and the destination");
}

#[test]
fn each_posture_leaves_the_chains_of_the_one_before_as_they_are() {
    // Permissive and later: in place, so that what is encrypted goes on.
    let path = [Posture::Permissive, Posture::Encrypting, Posture::Strict];
    for pair in path.windows(2) {
        let (one, next) = (web(pair[0]), web(pair[1]));
        assert_eq!(frame(&one), frame(&next), "{pair:?}");
        let guarded = |view: &View| chain(&inbound(view), "mtls-0").clone();
        assert_eq!(guarded(&one), guarded(&next), "{pair:?}");
    }
    let plaintext = |posture| chain(&inbound(&web(posture)), "plaintext").clone();
    for posture in Posture::ALL {
        if posture.accepts() != Accepts::Mtls {
            assert_eq!(plaintext(posture), plaintext(Posture::Plaintext));
        }
    }
}

#[test]
fn a_drain_renames_the_guarded_chain_and_touches_nothing_else() {
    for posture in [Posture::Permissive, Posture::Strict] {
        let mut mesh = demo(posture);
        allow(&mut mesh, "one", "backend", "web");
        let before = view_of(&mesh);
        mesh.progress.drained = 7;
        let after = view_of(&mesh);
        assert_eq!(frame(&before), frame(&after));
        let (before, after) = (inbound(&before), inbound(&after));
        let renamed = FilterChain {
            name: "mtls-7".to_owned(),
            ..chain(&before, "mtls-0").clone()
        };
        assert_eq!(*chain(&after, "mtls-7"), renamed);
        assert_eq!(after.filter_chains[1..], before.filter_chains[1..]);
        assert_ne!(before.filter_chain_matcher, after.filter_chain_matcher);
    }
    let mut mesh = demo(Posture::Identified);
    let before = view_of(&mesh);
    mesh.progress.drained = 7;
    assert!(are_same(&before.listeners, &view_of(&mesh).listeners));
}
