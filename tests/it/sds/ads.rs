//! Aggregated discovery: several types on one stream, beside SDS on its port.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response};
use windlass::clock;

use super::harness::Site;
use super::proxy::{
    BOTH, Delta, MESH_CA, Sotw, authorized, delta_subscribe, node, subscribe, with_node,
};

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

async fn sotw_with(site: &Site, token: Option<String>, first: DiscoveryRequest) -> Sotw {
    let (requests, receiver) = mpsc::channel(16);
    requests.send(first).await.unwrap();
    let request = authorized(ReceiverStream::new(receiver), token);
    let mut client = AggregatedDiscoveryServiceClient::new(site.channel().await);
    let responses = client.stream_aggregated_resources(request).await;
    Sotw {
        requests,
        responses: responses.map(Response::into_inner),
        names: Vec::new(),
    }
}

async fn sotw(site: &Site, first: DiscoveryRequest) -> Sotw {
    sotw_with(site, Some(site.token("web")), with_node("web", first)).await
}

async fn delta_with(site: &Site, token: Option<String>, first: DeltaDiscoveryRequest) -> Delta {
    let (requests, receiver) = mpsc::channel(16);
    requests.send(first).await.unwrap();
    let request = authorized(ReceiverStream::new(receiver), token);
    let mut client = AggregatedDiscoveryServiceClient::new(site.channel().await);
    let responses = client.delta_aggregated_resources(request).await;
    Delta {
        requests,
        responses: responses.map(Response::into_inner),
    }
}

async fn delta(site: &Site, first: DeltaDiscoveryRequest) -> Delta {
    let first = DeltaDiscoveryRequest {
        node: Some(node("demo.web")),
        ..first
    };
    delta_with(site, Some(site.token("web")), first).await
}

fn all_of(type_url: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn delta_all_of(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The acceptance of a wildcard's response.
fn accepted(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..all_of(&response.type_url)
    }
}

#[tokio::test]
async fn several_types_on_one_stream_of_the_state_of_the_world() {
    let mut site = Site::start().await;
    let mut stream = sotw(&site, all_of(CLUSTER)).await;
    let clusters = stream.receive().await.unwrap();
    assert_eq!(clusters.type_url, CLUSTER);
    stream.send(accepted(&clusters)).await;
    stream.send(subscribe(BOTH)).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(stream.accept().await.name(), MESH_CA);
    stream.accept().await;
    stream.send(all_of(LISTENER)).await;
    let listeners = stream.receive().await.unwrap();
    assert_eq!(listeners.type_url, LISTENER);
    stream.send(accepted(&listeners)).await;
    site.evidence("web", |proxy| {
        proxy.bundle.is_some() && proxy.leaf_issuer.is_some()
    })
    .await;
    site.change_bundle();
    assert_eq!(stream.accept().await.authorities().len(), 2);
}

#[tokio::test]
async fn several_types_on_one_incremental_stream() {
    let mut site = Site::start().await;
    let mut stream = delta(&site, delta_all_of(CLUSTER)).await;
    for type_url in [CLUSTER, LISTENER] {
        if type_url == LISTENER {
            stream.send(delta_all_of(LISTENER)).await;
        }
        let response = stream.receive().await.unwrap();
        assert_eq!(response.type_url, type_url);
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            ..delta_all_of(type_url)
        };
        stream.send(answer).await;
    }
    stream.send(delta_subscribe(BOTH)).await;
    assert_eq!(stream.accept().await.name(), MESH_CA);
    stream.accept().await;
    site.evidence("web", |proxy| {
        proxy.bundle.is_some() && proxy.leaf_issuer.is_some()
    })
    .await;
    site.change_bundle();
    assert_eq!(stream.accept().await.authorities().len(), 2);
}

#[tokio::test]
async fn a_type_without_resources_is_served_and_one_that_is_unknown_is_not() {
    let site = Site::start().await;
    let mut stream = sotw(&site, all_of(ROUTE)).await;
    stream.send(subscribe(&[MESH_CA])).await;
    assert_eq!(stream.accept().await.name(), MESH_CA);
    stream.send(all_of(RUNTIME)).await;
    assert_eq!(stream.end().await.code(), Code::InvalidArgument);
    for type_url in ["", RUNTIME, &"x".repeat(100_000)] {
        let mut stream = sotw(&site, all_of(type_url)).await;
        let status = stream.end().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() < 1000, "{status}");
    }
}

#[tokio::test]
async fn the_same_credentials_are_asked_for() {
    let site = Site::start().await;
    let ghost = (Some(site.token("ghost")), "demo.ghost", Code::NotFound);
    for (token, node_id, code) in [
        (None, "demo.web", Code::Unauthenticated),
        (
            Some("nonsense".to_owned()),
            "demo.web",
            Code::Unauthenticated,
        ),
        (
            Some(site.token("backend")),
            "demo.web",
            Code::PermissionDenied,
        ),
        (Some(site.token("web")), "web", Code::InvalidArgument),
        ghost,
    ] {
        let first = DiscoveryRequest {
            node: Some(node(node_id)),
            ..all_of(CLUSTER)
        };
        let mut stream = sotw_with(&site, token.clone(), first).await;
        assert_eq!(stream.end().await.code(), code);
        let first = DeltaDiscoveryRequest {
            node: Some(node(node_id)),
            ..delta_all_of(CLUSTER)
        };
        let mut stream = delta_with(&site, token, first).await;
        assert_eq!(stream.receive().await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn streams_end_with_the_token_and_with_the_dataplane() {
    let mut site = Site::start().await;
    let token = site.token_for("web", Duration::from_mins(10));
    let claims = site.keyring.verify(&token, clock::now()).unwrap();
    let first = with_node("web", all_of(CLUSTER));
    let mut revoked = sotw_with(&site, Some(token), first).await;
    let mut other = sotw(&site, all_of(CLUSTER)).await;
    revoked.receive().await.unwrap();
    other.receive().await.unwrap();
    site.keyring
        .revoke(&claims.token_id, &*site.store, &site.vault)
        .await
        .unwrap();
    assert_eq!(revoked.end().await.code(), Code::Unauthenticated);
    site.mesh.dataplanes.remove("web");
    site.publish();
    assert_eq!(other.end().await.code(), Code::NotFound);
}

#[tokio::test]
async fn a_proxy_that_comes_back_is_not_sent_what_it_has() {
    let site = Site::start().await;
    let mut stream = sotw(&site, all_of(CLUSTER)).await;
    let clusters = stream.receive().await.unwrap();
    let accepted = DiscoveryRequest {
        version_info: clusters.version_info.clone(),
        response_nonce: clusters.nonce.clone(),
        ..all_of(CLUSTER)
    };
    stream.send(accepted).await;
    // What was never answered would not be believed.
    site.evidence("web", |proxy| proxy.versions.contains_key("cluster"))
        .await;
    drop(stream);
    let first = DiscoveryRequest {
        version_info: clusters.version_info,
        ..all_of(CLUSTER)
    };
    let mut stream = sotw(&site, first).await;
    stream.send(all_of(LISTENER)).await;
    assert_eq!(stream.receive().await.unwrap().type_url, LISTENER);
}

#[tokio::test]
async fn a_stream_may_name_4096_resources() {
    let site = Site::start().await;
    let names: Vec<String> = (0..4097).map(|number| number.to_string()).collect();
    let first = |names: &[String]| DiscoveryRequest {
        resource_names: names.to_vec(),
        ..all_of(LISTENER)
    };
    let mut stream = sotw(&site, first(&names[..4096])).await;
    assert_eq!(stream.receive().await.unwrap().type_url, LISTENER);
    let mut stream = sotw(&site, first(&names)).await;
    assert_eq!(stream.end().await.code(), Code::ResourceExhausted);
    // What it says that it holds counts too.
    let held = names.iter().map(|name| (name.clone(), String::new()));
    let first = DeltaDiscoveryRequest {
        initial_resource_versions: held.collect(),
        ..delta_all_of(LISTENER)
    };
    let mut stream = delta(&site, first).await;
    let status = stream.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}
