//! What people are told of a proxy that is connected.

use std::time::Duration;

use windlass::clock;

use super::harness::Site;
use super::proxy::{BOTH, IDENTITY_CERT, MESH_CA, id, subscribe, with_node};

#[tokio::test]
async fn a_stream_tells_its_replica_the_end_of_its_token_and_what_it_accepted() {
    let site = Site::start().await;
    let token = site.token_for("web", Duration::from_hours(3));
    let claims = site.keyring.verify(&token, clock::now()).unwrap();
    let first = with_node("web", subscribe(BOTH));
    let mut stream = site.sotw_with(Some(token), first).await;
    stream.names = BOTH.iter().map(|&name| name.to_owned()).collect();
    stream.accept().await;
    stream.accept().await;
    let known = site
        .evidence("web", |proxy| proxy.versions.len() == BOTH.len())
        .await;
    assert_eq!(known.replica.as_deref(), Some("cp-0"));
    assert_eq!(known.token_expires_at, Some(claims.expires_at));
    for name in [MESH_CA, IDENTITY_CERT] {
        assert!(known.versions[name].starts_with("sha256:"), "{known:?}");
    }
    site.stored_evidence(|stored| {
        let web = stored.iter().find(|proxy| proxy.dataplane == id("web"));
        web.is_some_and(|proxy| proxy.versions == known.versions && proxy.replica == known.replica)
    })
    .await;
}
