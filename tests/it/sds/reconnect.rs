//! Evidence, and what a proxy that comes back is not sent again.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use windlass::model::AuthorityState;

use super::harness::Site;
use super::proxy::{
    BOTH, IDENTITY_CERT, MESH_CA, Received, delta_subscribe, private_key, subscribe, unpack,
};

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
    let mut other = site.sotw("web", subscribe(&[MESH_CA])).await;
    let same = other.receive().await.unwrap();
    let rejected = stream.reject(&"no good ".repeat(1000)).await;
    assert_eq!(same.version_info, rejected.version);
    let evidence = site
        .evidence("web", |evidence| evidence.last_nack.is_some())
        .await;
    let nack = evidence.last_nack.as_ref().unwrap();
    assert_eq!(nack.resource, MESH_CA);
    assert!(nack.message.starts_with("no good") && nack.message.len() <= 1024);
    assert_eq!(evidence.bundle, None);

    // The same bytes, accepted on another stream.
    other
        .send(DiscoveryRequest {
            version_info: rejected.version,
            response_nonce: same.nonce,
            ..subscribe(&[MESH_CA])
        })
        .await;
    site.mesh.add_authority(AuthorityState::Prepared);
    site.publish();
    // By the time that this one is sent, that answer has been judged.
    other.receive().await.unwrap();
    let evidence = site.evidence("web", |_| true).await;
    assert_eq!(evidence.bundle, None);
    assert!(evidence.last_nack.is_some());
}

#[tokio::test]
async fn a_proxy_that_comes_back_is_sent_what_it_rejected_in_other_bytes() {
    let site = Site::start().await;
    let mut versions = Vec::new();
    for message in ["no good", "still no good"] {
        let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
        versions.push(stream.reject(message).await.version);
        site.evidence("web", |evidence| {
            evidence
                .last_nack
                .as_ref()
                .is_some_and(|nack| nack.message == message)
        })
        .await;
    }
    let mut stream = site.delta("web", delta_subscribe(&[MESH_CA])).await;
    let accepted = stream.accept().await;
    assert_eq!(accepted.authorities().len(), 1);
    versions.push(accepted.version);
    let different: BTreeSet<_> = versions.iter().collect();
    assert_eq!(different.len(), 3, "{versions:?}");
    let evidence = site
        .evidence("web", |evidence| evidence.bundle.is_some())
        .await;
    assert!(evidence.rejected.is_empty());
}

#[tokio::test]
async fn a_secret_is_sent_again_when_the_other_was_mended_and_not_before() {
    let mut site = Site::start().await;
    let mut bundles = site.sotw("web", subscribe(&[MESH_CA])).await;
    let mut leaves = site.sotw("web", subscribe(&[IDENTITY_CERT])).await;
    bundles.reject("a bad bundle").await;
    site.evidence("web", |evidence| evidence.rejected.len() == 1)
        .await;
    let leaf = leaves.reject("a bad bundle").await;
    site.evidence("web", |evidence| evidence.rejected.len() == 2)
        .await;

    site.change_bundle();
    bundles.accept().await;
    let again = leaves.receive().await.unwrap();
    let evidence = site
        .evidence("web", |evidence| evidence.bundle.is_some())
        .await;
    assert_eq!(evidence.leaf_issuer, None);
    assert_ne!(again.version_info, leaf.version);
    let secret = unpack(&again.resources);
    let again = Received {
        version: again.version_info.clone(),
        secret,
    };
    assert_eq!(again.pem().trim_end(), leaf.pem().trim_end());
    assert_ne!(again.pem(), leaf.pem());
    assert_eq!(private_key(&again), private_key(&leaf));
    leaves
        .send(DiscoveryRequest {
            version_info: again.version,
            response_nonce: "2".to_owned(),
            ..subscribe(&[IDENTITY_CERT])
        })
        .await;
    let evidence = site
        .evidence("web", |evidence| evidence.leaf_issuer.is_some())
        .await;
    assert!(evidence.rejected.is_empty());

    // A next bundle wakes nobody but who asked for it.
    site.change_bundle();
    bundles.accept().await;
    site.mesh
        .dataplanes
        .insert("web".to_owned(), "shop".to_owned());
    site.publish();
    assert_eq!(leaves.receive().await.unwrap().nonce, "3");
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
    site.evidence("web", |evidence| {
        evidence.bundle.is_some() && evidence.leaf_issuer.is_some()
    })
    .await;
    drop(stream);
    site.evidence("web", |evidence| evidence.connected_since.is_none())
        .await;
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
