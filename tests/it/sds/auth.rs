//! Who is let in, and with which code the rest is turned away.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use tonic::Code;
use windlass::clock;
use windlass::model::DataplaneId;
use windlass::token::Keyring;

use super::harness::Site;
use super::proxy::{BOTH, MESH_CA, authorized, delta_subscribe, id, node, subscribe, with_node};

/// What each of the three services says to a token and a node id.
async fn codes(site: &Site, token: Option<String>, node_id: Option<&str>) -> [Code; 3] {
    let node = node_id.map(node);
    let first = DiscoveryRequest {
        node: node.clone(),
        ..subscribe(BOTH)
    };
    let mut delta_first = delta_subscribe(BOTH);
    delta_first.node = node;
    let mut sotw = site.sotw_with(token.clone(), first.clone()).await;
    let mut delta = site.delta_with(token.clone(), delta_first).await;
    let fetch = site
        .client()
        .await
        .fetch_secrets(authorized(first, token))
        .await;
    let code = |result: Result<(), tonic::Status>| result.err().map_or(Code::Ok, |s| s.code());
    [
        code(sotw.receive().await.map(drop)),
        code(delta.receive().await.map(drop)),
        code(fetch.map(drop)),
    ]
}

#[tokio::test]
async fn a_good_token_is_let_in_with_and_without_a_scheme() {
    let site = Site::start().await;
    let token = site.token("web");
    for token in [
        token.clone(),
        format!("Bearer {token}"),
        format!("bearer  {token}"),
    ] {
        let codes = codes(&site, Some(token), Some("demo.web")).await;
        assert_eq!(codes, [Code::Ok; 3]);
    }
}

#[tokio::test]
async fn missing_wrong_expired_and_revoked_tokens_are_unauthenticated() {
    let site = Site::start().await;
    let token = site.token("web");
    let yesterday = clock::now() - Duration::from_hours(24);
    let expired = site
        .keyring
        .issue(&id("web"), Duration::from_hours(1), yesterday)
        .unwrap();
    let revoked = site.token("web");
    let claims = site.keyring.verify(&revoked, clock::now()).unwrap();
    site.keyring
        .revoke(&claims.token_id, &*site.store, &site.vault)
        .await
        .unwrap();
    let other = Site::start().await.token("web");
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("not a token".to_owned()),
        Some(format!("Basic {token}")),
        Some(format!("{token}x")),
        Some(expired),
        Some(revoked),
        Some(other),
    ];
    for (index, token) in bad.into_iter().enumerate() {
        let codes = codes(&site, token, Some("demo.web")).await;
        assert_eq!(codes, [Code::Unauthenticated; 3], "token {index}");
    }
}

#[tokio::test]
async fn a_bad_token_is_seen_before_a_bad_node() {
    let site = Site::start().await;
    let codes = codes(&site, None, Some("nonsense")).await;
    assert_eq!(codes, [Code::Unauthenticated; 3]);
}

#[tokio::test]
async fn the_token_of_another_dataplane_or_mesh_is_denied() {
    let site = Site::start().await;
    let foreign = DataplaneId {
        mesh: "other".parse().unwrap(),
        name: "web".parse().unwrap(),
    };
    let foreign = site
        .keyring
        .issue(&foreign, Duration::from_hours(1), clock::now())
        .unwrap();
    for token in [site.token("backend"), foreign] {
        let codes = codes(&site, Some(token), Some("demo.web")).await;
        assert_eq!(codes, [Code::PermissionDenied; 3]);
    }
}

#[tokio::test]
async fn a_dataplane_that_the_store_does_not_know_is_not_found() {
    let site = Site::start().await;
    let codes = codes(&site, Some(site.token("ghost")), Some("demo.ghost")).await;
    assert_eq!(codes, [Code::NotFound; 3]);
}

#[tokio::test]
async fn a_node_id_that_is_none_is_an_invalid_argument() {
    let site = Site::start().await;
    for node_id in [None, Some(""), Some("web"), Some("Demo.web"), Some(".web")] {
        let codes = codes(&site, Some(site.token("web")), node_id).await;
        assert_eq!(codes, [Code::InvalidArgument; 3], "{node_id:?}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let site = Site::start().await;
    let token = site.token_for("web", Duration::from_secs(2));
    let first = with_node("web", subscribe(&[MESH_CA]));
    let mut stream = site.sotw_with(Some(token), first).await;
    stream.accept().await;
    assert_eq!(stream.end().await.code(), Code::Unauthenticated);
    site.evidence("web", |evidence| evidence.connected_since.is_none())
        .await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked_and_others_go_on() {
    let mut site = Site::start().await;
    let token = site.token("web");
    let claims = site.keyring.verify(&token, clock::now()).unwrap();
    let first = with_node("web", subscribe(&[MESH_CA]));
    let mut revoked = site.sotw_with(Some(token), first.clone()).await;
    let mut other = site.sotw("web", first).await;
    revoked.accept().await;
    other.accept().await;
    site.keyring
        .revoke(&claims.token_id, &*site.store, &site.vault)
        .await
        .unwrap();
    assert_eq!(revoked.end().await.code(), Code::Unauthenticated);
    site.change_bundle();
    // What nobody answered may come in other bytes before.
    while other.accept().await.authorities().len() != 2 {}
}

#[tokio::test]
async fn what_another_process_does_to_tokens_is_seen() {
    let site = Site::start().await;
    let token = site.token("web");
    let claims = site.keyring.verify(&token, clock::now()).unwrap();
    let first = with_node("web", subscribe(&[MESH_CA]));
    let mut stream = site.sotw_with(Some(token), first.clone()).await;
    stream.accept().await;
    let other = Keyring::load_or_create(&*site.store, &site.vault)
        .await
        .unwrap();
    other.rotate(&*site.store, &site.vault).await.unwrap();
    let token = other
        .issue(&id("web"), Duration::from_hours(1), clock::now())
        .unwrap();
    other
        .revoke(&claims.token_id, &*site.store, &site.vault)
        .await
        .unwrap();
    assert_eq!(stream.end().await.code(), Code::Unauthenticated);
    let mut stream = site.sotw_with(Some(token), first).await;
    stream.accept().await;
}

#[tokio::test]
async fn a_client_without_the_ca_does_not_trust_the_server() {
    let site = Site::start().await;
    let mut stranger = Site::start().await;
    stranger.address = site.address;
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(&stranger.ca_pem))
        .domain_name("localhost");
    let endpoint = tonic::transport::Channel::from_shared(format!("https://{}", site.address))
        .unwrap()
        .tls_config(tls)
        .unwrap();
    assert!(endpoint.connect().await.is_err());
}
