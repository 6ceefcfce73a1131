//! What is sent, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::Code;
use windlass::ca::CertificateInfo;
use windlass::clock;
use windlass::model::{AuthorityState, Posture};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::harness::Site;
use super::proxy::{
    BOTH, IDENTITY_CERT, MESH_CA, Received, authorized, delta_subscribe, private_key, subscribe,
    with_node,
};

/// The one SAN of a leaf, if it is signed by the one authority of the bundle.
fn spiffe_id(leaf: &Received, bundle: &Received) -> String {
    let (leaf, root) = (leaf.pem(), bundle.pem());
    let (_, leaf) = parse_x509_pem(leaf.as_bytes()).unwrap();
    let (_, root) = parse_x509_pem(root.as_bytes()).unwrap();
    let (leaf, root) = (leaf.parse_x509().unwrap(), root.parse_x509().unwrap());
    leaf.verify_signature(Some(root.public_key())).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => (*uri).to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_names_on_one_stream() {
    let site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(BOTH)).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    let bundle = stream.accept().await;
    let leaf = stream.accept().await;
    assert_eq!((bundle.name(), leaf.name()), (MESH_CA, IDENTITY_CERT));
    assert_eq!(spiffe_id(&leaf, &bundle), "spiffe://demo/web");
    assert!(private_key(&leaf).starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[tokio::test]
async fn a_proxy_that_answers_nothing_gets_both_names() {
    let site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(BOTH)).await;
    stream.receive().await.unwrap();
    stream.receive().await.unwrap();
}

#[tokio::test]
async fn all_streams_of_a_dataplane_get_the_same_leaf_also_after_a_reconnect() {
    let site = Site::start().await;
    let mut one = site.sotw("web", subscribe(&[IDENTITY_CERT])).await;
    let mut two = site.delta("web", delta_subscribe(&[IDENTITY_CERT])).await;
    let leaf = one.accept().await.pem();
    assert_eq!(two.accept().await.pem(), leaf);
    drop((one, two));
    site.evidence("web", |evidence| evidence.connected_since.is_none())
        .await;
    let mut again = site.sotw("web", subscribe(&[IDENTITY_CERT])).await;
    assert_eq!(again.accept().await.pem(), leaf);
    let mut other = site.sotw("backend", subscribe(&[IDENTITY_CERT])).await;
    assert_ne!(other.accept().await.pem(), leaf);
}

#[tokio::test]
async fn a_changed_bundle_is_pushed_and_the_leaf_is_not() {
    let mut site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(BOTH)).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    let first = stream.accept().await.authorities();
    stream.accept().await;
    let added = site.change_bundle();
    let both = stream.accept().await.authorities();
    assert_eq!(both, first.iter().copied().chain([added]).collect());
    let third = site.change_bundle();
    assert!(stream.accept().await.authorities().contains(&third));
}

#[tokio::test]
async fn another_authority_or_service_is_another_leaf() {
    let mut site = Site::start().await;
    let mut leaves = site.sotw("web", subscribe(&[IDENTITY_CERT])).await;
    let mut bundles = site.sotw("web", subscribe(&[MESH_CA])).await;
    leaves.accept().await;
    bundles.accept().await;

    site.mesh.authorities.clear();
    site.mesh.add_authority(AuthorityState::Active);
    site.publish();
    let (leaf, bundle) = (leaves.accept().await, bundles.accept().await);
    assert_eq!(spiffe_id(&leaf, &bundle), "spiffe://demo/web");

    site.mesh
        .dataplanes
        .insert("web".to_owned(), "shop".to_owned());
    site.publish();
    assert_eq!(
        spiffe_id(&leaves.accept().await, &bundle),
        "spiffe://demo/shop"
    );
}

#[tokio::test]
async fn a_leaf_is_replaced_before_it_ends() {
    let site = Site::with_leaves_of(Duration::from_secs(4)).await;
    let mut stream = site.delta("web", delta_subscribe(&[IDENTITY_CERT])).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let leaf = stream.accept().await.pem();
        let info = CertificateInfo::from_pem(&leaf).unwrap();
        assert!(clock::now() < info.not_after);
        assert!(seen.insert(leaf), "a leaf was sent twice");
    }
}

#[tokio::test]
async fn a_mesh_without_mtls_has_no_secret_until_it_is_enabled() {
    let mut site = Site::start().await;
    site.mesh.progress.posture = Posture::Plaintext;
    site.publish();
    let mut sotw = site.sotw("web", subscribe(BOTH)).await;
    let mut delta = site.delta("backend", delta_subscribe(BOTH)).await;
    for name in ["web", "backend"] {
        site.evidence(name, |evidence| evidence.connected_since.is_some())
            .await;
    }
    let request = authorized(with_node("web", subscribe(BOTH)), Some(site.token("web")));
    let fetched = site.client().await.fetch_secrets(request).await.unwrap();
    assert!(fetched.into_inner().resources.is_empty());

    // The first thing that comes is of the mesh as it is then: one more authority.
    site.mesh.progress.posture = Posture::Strict;
    site.change_bundle();
    assert_eq!(sotw.accept().await.authorities().len(), 2);
    assert_eq!(delta.accept().await.authorities().len(), 2);
}

#[tokio::test]
async fn fetch_returns_what_is_asked_for() {
    let site = Site::start().await;
    for (names, count) in [(BOTH, 2), (&[MESH_CA], 1), (&["unknown"], 0), (&[], 0)] {
        let request = with_node("web", subscribe(names));
        let request = authorized(request, Some(site.token("web")));
        let fetched = site.client().await.fetch_secrets(request).await.unwrap();
        assert_eq!(fetched.into_inner().resources.len(), count, "{names:?}");
    }
}

#[tokio::test]
async fn streams_end_when_their_dataplane_or_mesh_is_deleted() {
    let mut site = Site::start().await;
    let mut web = site.sotw("web", subscribe(&[MESH_CA])).await;
    let mut backend = site.sotw("backend", subscribe(&[MESH_CA])).await;
    web.accept().await;
    backend.accept().await;
    site.mesh.dataplanes.remove("web");
    site.change_bundle();
    assert_eq!(web.end().await.code(), Code::NotFound);
    assert_eq!(backend.accept().await.authorities().len(), 2);
    site.mesh.exists = false;
    site.publish();
    assert_eq!(backend.end().await.code(), Code::NotFound);

    site.mesh.exists = true;
    site.mesh
        .dataplanes
        .insert("web".to_owned(), "web".to_owned());
    site.publish();
    site.sotw("web", subscribe(&[MESH_CA])).await.accept().await;
}

#[tokio::test]
async fn delta_sends_what_is_subscribed_to_and_changes() {
    let mut site = Site::start().await;
    let mut stream = site.delta("web", delta_subscribe(&[MESH_CA])).await;
    assert_eq!(stream.accept().await.name(), MESH_CA);
    stream.send(delta_subscribe(&[IDENTITY_CERT])).await;
    let leaf = stream.accept().await;
    assert_eq!(leaf.name(), IDENTITY_CERT);
    site.change_bundle();
    let bundle = stream.accept().await;
    assert_eq!(bundle.name(), MESH_CA);
    assert_ne!(bundle.version, leaf.version);
}

#[tokio::test]
async fn streams_end_when_the_server_stops_and_the_evidence_is_written() {
    let mut site = Site::start().await;
    let mut stream = site.sotw("web", subscribe(&[MESH_CA])).await;
    stream.accept().await;
    site.evidence("web", |evidence| evidence.bundle.is_some())
        .await;
    site.shutdown.cancel();
    assert_eq!(stream.end().await.code(), Code::Unavailable);
    drop(stream);
    let server = tokio::time::timeout(super::harness::DEADLINE, &mut site.server);
    server.await.unwrap().unwrap().unwrap();
    site.stored_evidence(|stored| stored.iter().any(|proxy| proxy.bundle.is_some()))
        .await;
}
