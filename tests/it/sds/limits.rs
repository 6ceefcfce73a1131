//! What one client can do to the server, and to the others.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use tokio::io::AsyncReadExt as _;
use tonic::Code;

use super::harness::{DEADLINE, Site};
use super::proxy::{BOTH, MESH_CA, delta_subscribe, subscribe};

#[tokio::test]
async fn a_client_that_does_not_read_blocks_nobody_and_gets_the_newest_in_the_end() {
    let mut site = Site::start().await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(site.delta("web", delta_subscribe(BOTH)).await);
    }
    let mut busy = site.delta("backend", delta_subscribe(&[MESH_CA])).await;
    busy.accept().await;
    // More than the flow-control window of a stream holds.
    let rounds = 40;
    for round in 0..rounds {
        site.change_bundle();
        assert_eq!(busy.accept().await.authorities().len(), round + 2);
    }
    for stream in &mut idle {
        let read = async {
            loop {
                let received = stream.accept().await;
                if received.name() == MESH_CA && received.authorities().len() == rounds + 1 {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_only_listens_is_served() {
    let mut site = Site::start().await;
    let request = super::proxy::with_node("web", subscribe(BOTH));
    let request = super::proxy::authorized(tokio_stream::iter([request]), Some(site.token("web")));
    let mut client = site.client().await;
    let mut responses = client.stream_secrets(request).await.unwrap().into_inner();
    for _ in BOTH {
        responses.message().await.unwrap().unwrap();
    }
    site.change_bundle();
    responses.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn another_type_is_an_invalid_argument() {
    let site = Site::start().await;
    let first = DiscoveryRequest {
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
        ..subscribe(BOTH)
    };
    let mut stream = site.sotw("web", first).await;
    assert_eq!(stream.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn too_many_names_too_long_names_and_too_large_messages_end_the_stream() {
    let site = Site::start().await;
    let many: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (long, larger) = ("x".repeat(300), "x".repeat(2 * 1024 * 1024));
    for names in [many.as_slice(), &[long.as_str()], &[larger.as_str()]] {
        let mut stream = site.sotw("web", subscribe(names)).await;
        let code = stream.end().await.code();
        assert!(
            matches!(code, Code::ResourceExhausted | Code::OutOfRange),
            "{code:?}"
        );
    }
    // Little by little is no way around it.
    let mut stream = site.delta("web", delta_subscribe(&[])).await;
    for half in many.chunks(100) {
        stream.send(delta_subscribe(half)).await;
    }
    let status = stream.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_dropped() {
    let site = Site::start().await;
    let mut silent = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_secs(15), silent.read_u8());
    // Others are served meanwhile.
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    stream.accept().await;
    assert!(dropped.await.unwrap().is_err());
}
