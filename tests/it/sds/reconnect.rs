//! Evidence, and what a proxy that comes back is not sent again.

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use windlass::model::AuthorityState;

use super::harness::Site;
use super::proxy::{BOTH, IDENTITY_CERT, MESH_CA, delta_subscribe, subscribe};

#[tokio::test]
async fn what_a_proxy_acknowledged_is_kept_with_the_authorities() {
    let mut site = Site::start().await;
    let root = site.mesh.authorities[0].0.id;
    let mut stream = site.sotw("web", subscribe(BOTH)).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    stream.accept().await;
    stream.accept().await;
    let evidence = site
        .evidence("web", |evidence| evidence.leaf_issuer.is_some())
        .await;
    assert!(evidence.connected_since.is_some());
    assert_eq!(evidence.trusts, [root]);
    assert_eq!(evidence.leaf_issuer, Some(root));
    assert!(evidence.leaf_not_after.is_some());

    let added = site.change_bundle();
    // Sent and not acknowledged is no evidence.
    let response = stream.receive().await.unwrap();
    assert_eq!(
        site.evidence.of(&evidence.dataplane).unwrap().trusts,
        [root]
    );
    stream
        .send(DiscoveryRequest {
            version_info: response.version_info,
            response_nonce: response.nonce,
            ..subscribe(BOTH)
        })
        .await;
    let evidence = site
        .evidence("web", |evidence| evidence.trusts.len() == 2)
        .await;
    assert!(evidence.trusts.contains(&added));
    site.stored_evidence(|stored| stored.iter().any(|proxy| proxy.trusts.len() == 2))
        .await;
    drop(stream);
    let evidence = site
        .evidence("web", |evidence| evidence.connected_since.is_none())
        .await;
    assert_eq!(evidence.trusts.len(), 2, "what it holds, it still holds");
}

#[tokio::test]
async fn a_rejection_is_kept_and_the_ack_of_rejected_bytes_proves_nothing() {
    let mut site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    let rejected = stream.reject(&"no good ".repeat(1000)).await;
    let evidence = site
        .evidence("web", |evidence| evidence.last_nack.is_some())
        .await;
    let nack = evidence.last_nack.unwrap();
    assert_eq!(nack.resource, MESH_CA);
    assert!(nack.message.starts_with("no good") && nack.message.len() <= 1024);
    assert_eq!(evidence.bundle, None);
    drop(stream);

    // The same bytes on another stream, accepted this time.
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    assert_eq!(stream.accept().await.version, rejected.version);
    site.mesh.add_authority(AuthorityState::Prepared);
    site.publish();
    // By the time that this one is sent, that answer has been judged.
    stream.receive().await.unwrap();
    let evidence = site.evidence("web", |_| true).await;
    assert_eq!(evidence.bundle, None);
    assert!(evidence.last_nack.is_some());
}

#[tokio::test]
async fn different_bytes_heal() {
    let mut site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    stream.reject("no good").await;
    site.change_bundle();
    assert_eq!(stream.accept().await.authorities().len(), 2);
    let evidence = site
        .evidence("web", |evidence| evidence.bundle.is_some())
        .await;
    assert_eq!(evidence.last_nack, None);
    assert!(evidence.rejected.is_empty());
}

#[tokio::test]
async fn a_proxy_that_comes_back_is_sent_only_what_it_lacks() {
    let mut site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(BOTH)).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    stream.accept().await;
    let version = stream.accept().await.version;
    site.evidence("web", |evidence| evidence.leaf_issuer.is_some())
        .await;
    drop(stream);
    site.evidence("web", |evidence| evidence.connected_since.is_none())
        .await;
    site.evidence.forget(&super::proxy::id("web"));

    let first = DiscoveryRequest {
        version_info: version,
        ..subscribe(BOTH)
    };
    let mut stream = site.sotw("web", first).await;
    // That it holds both is evidence, and comes without a response.
    site.evidence("web", |evidence| {
        evidence.bundle.is_some() && evidence.leaf_issuer.is_some()
    })
    .await;
    site.change_bundle();
    let next = stream.accept().await;
    assert_eq!(next.name(), MESH_CA);
    assert_eq!(next.authorities().len(), 2, "nothing was sent before");
}

#[tokio::test]
async fn delta_honours_the_versions_of_an_earlier_stream() {
    let mut site = Site::start().await;
    let mut stream = site.delta("web", delta_subscribe(BOTH)).await;
    let mut first = delta_subscribe(BOTH);
    for _ in BOTH {
        let received = stream.accept().await;
        let name = received.name().to_owned();
        first
            .initial_resource_versions
            .insert(name, received.version);
    }
    drop(stream);
    site.mesh.add_authority(AuthorityState::Prepared);
    site.publish();
    let mut stream = site.delta("web", first).await;
    assert_eq!(stream.accept().await.name(), MESH_CA);
    site.mesh
        .dataplanes
        .insert("web".to_owned(), "shop".to_owned());
    site.publish();
    let next = stream.accept().await;
    assert_eq!(
        next.name(),
        IDENTITY_CERT,
        "and nothing was sent in between"
    );
}
