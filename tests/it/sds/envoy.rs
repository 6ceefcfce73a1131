//! A real Envoy that is sent what it cannot use, and what it can again.

use std::collections::BTreeSet;

use windlass::model::{AuthorityState, ProxyEvidence};

use super::harness::Site;
use super::proxy::{IDENTITY_CERT, MESH_CA};
use crate::support::Envoy;

fn rejected(evidence: &ProxyEvidence) -> BTreeSet<&str> {
    evidence.rejected.keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_rejected_for_the_others_fault_is_proven_once_that_is_mended() {
    let mut site = Site::start().await;
    let (address, ca, token) = (
        site.address.to_string(),
        site.ca_pem.clone(),
        site.token("web"),
    );
    let envoy = move || Envoy::of_server(&address, ca.as_bytes(), "demo.web", token.as_bytes());
    let mut envoy = tokio::task::spawn_blocking(envoy).await.unwrap();
    let good = site
        .evidence("web", |proxy| {
            proxy.bundle.is_some() && proxy.leaf_issuer.is_some()
        })
        .await;

    // A root that is none.
    site.mesh.add_authority(AuthorityState::Prepared);
    let (authority, _) = site.mesh.authorities.last_mut().unwrap();
    authority.certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into();
    site.publish();
    site.evidence("web", |proxy| rejected(proxy) == [MESH_CA].into())
        .await;

    // A good leaf, of another root: refused with the error of the bundle.
    site.mesh.authorities[0].0.state = AuthorityState::Prepared;
    let signs = site.mesh.add_authority(AuthorityState::Active);
    site.publish();
    let evidence = site
        .evidence("web", |proxy| {
            rejected(proxy) == [MESH_CA, IDENTITY_CERT].into()
        })
        .await;
    assert_eq!(evidence.leaf_issuer, good.leaf_issuer);
    assert_eq!(evidence.trusts, good.trusts);

    // The bundle is good again; the leaf is the one that was refused.
    site.mesh.authorities.remove(1);
    site.publish();
    let evidence = site
        .evidence("web", |proxy| {
            proxy.trusts.len() == 2 && proxy.leaf_issuer == Some(signs)
        })
        .await;
    assert_eq!(rejected(&evidence), BTreeSet::new());
    assert_eq!(evidence.last_nack, None);
    envoy.assert_running();
    let shown = tokio::task::spawn_blocking(move || (envoy.identities(), envoy));
    let (identities, _envoy) = shown.await.unwrap();
    let identities = identities.unwrap();
    assert_eq!(identities.len(), 1, "{identities:?}");
    assert_eq!(identities[0].uris, ["spiffe://demo/web"]);
}
