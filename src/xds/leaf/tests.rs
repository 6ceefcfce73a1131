use rand::SeedableRng as _;

use super::*;
use crate::model::{AuthorityState, MeshName, SpiffeId};
use crate::xds::fixtures::{at, dataplane};

struct Case {
    cache: LeafCache,
    signer: Arc<Signer>,
    spec: LeafSpec,
}

impl Case {
    fn new(lifetime: Duration, key: LeafKey) -> Self {
        let mesh: MeshName = "demo".parse().unwrap();
        let (mut authority, private_key) = ca::create_builtin(&mesh, 1, at(0)).unwrap();
        authority.state = AuthorityState::Active;
        let spec = LeafSpec {
            mark: 0,
            identity: SpiffeId {
                mesh,
                service: "web".parse().unwrap(),
            },
            issuer: authority.id,
        };
        Self {
            cache: LeafCache::new(
                Issuing {
                    leaf_lifetime: lifetime,
                    ..Issuing::default()
                },
                key,
                StdRng::seed_from_u64(1),
                Gauge::default(),
            ),
            signer: Arc::new(Signer::new(&authority, &private_key).unwrap()),
            spec,
        }
    }

    async fn leaf(&self, name: &str, now: Timestamp) -> CurrentLeaf {
        self.cache
            .current(&dataplane(name), &self.spec, &self.signer, now)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_dataplane_keeps_its_leaf_until_it_is_to_be_renewed() {
    let case = Case::new(Duration::from_hours(24), LeafKey::EcP256);
    let first = case.leaf("web", at(0)).await;
    let same = case
        .leaf("web", first.renew_at - Duration::from_millis(1))
        .await;
    assert!(Arc::ptr_eq(&first.leaf, &same.leaf));
    let next = case.leaf("web", first.renew_at).await;
    assert_ne!(first.leaf.certificate, next.leaf.certificate);
    assert_ne!(first.leaf.key, next.leaf.key);
}

#[tokio::test]
async fn another_service_gets_another_leaf_at_once() {
    let mut case = Case::new(Duration::from_hours(24), LeafKey::EcP256);
    let first = case.leaf("web", at(0)).await;
    case.spec.identity.service = "shop".parse().unwrap();
    let next = case.leaf("web", at(1)).await;
    assert_ne!(first.leaf.certificate, next.leaf.certificate);
}

#[tokio::test]
async fn renewals_are_spread_around_half_of_the_life() {
    let case = Case::new(Duration::from_secs(1000), LeafKey::EcP256);
    let mut times = Vec::new();
    for number in 0..50 {
        let current = case.leaf(&format!("dp-{number}"), at(0)).await;
        times.push(current.renew_at.unix_seconds());
    }
    assert!(
        times.iter().all(|time| (400..=600).contains(time)),
        "{times:?}"
    );
    times.sort_unstable();
    assert!(times[49] - times[0] > 100, "{times:?}");
}

#[tokio::test]
async fn rsa_keys_can_be_asked_for() {
    let case = Case::new(Duration::from_hours(24), LeafKey::Rsa2048);
    let current = case.leaf("web", at(0)).await;
    let pem = current.leaf.certificate.to_string();
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let key = certificate.public_key().parsed().unwrap();
    assert!(matches!(
        key,
        x509_parser::public_key::PublicKey::RSA(key) if key.key_size() == 2048
    ));
}

#[tokio::test]
async fn an_ended_authority_is_an_error_and_leaves_no_leaf() {
    let case = Case::new(Duration::from_hours(24), LeafKey::EcP256);
    let late = at(20 * 365 * 24 * 3600);
    let result = case
        .cache
        .current(&dataplane("web"), &case.spec, &case.signer, late)
        .await;
    assert!(matches!(result, Err(LeafError::Issue { .. })));
    assert!(case.cache.lock().leaves.is_empty());
}

#[tokio::test]
async fn leaves_that_nobody_asks_for_any_more_are_dropped() {
    let case = Case::new(Duration::from_hours(24), LeafKey::EcP256);
    let current = case.leaf("web", at(0)).await;
    case.leaf("backend", at(0)).await;
    case.cache.forget(&dataplane("backend"));
    case.cache.drop_stale(at(1));
    assert_eq!(case.cache.lock().leaves.len(), 1);
    case.cache.drop_stale(current.renew_at);
    assert!(case.cache.lock().leaves.is_empty());
}

#[test]
fn a_leaf_that_is_about_to_end_makes_no_spin() {
    assert!(renewal(at(10), at(10), 0.5) > at(10));
    assert_eq!(renewal(at(0), at(100), 0.5), at(50));
}
