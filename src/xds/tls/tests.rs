use std::os::unix::fs::PermissionsExt as _;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;
use crate::store::memory::MemoryStore;
use crate::xds::fixtures::at;

const NOW: i64 = 1_800_000_000;

async fn identity(store: &MemoryStore, vault: &Vault) -> ServerIdentity {
    let names = server_names(Some("mesh.example.org"));
    ServerIdentity::open_or_create(store, vault, names, at(NOW))
        .await
        .unwrap()
}

/// Whether a client that trusts `ca` accepts the current certificate for `name`.
fn is_accepted(ca: &str, identity: &ServerIdentity, name: &str, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let shown = identity.resolver.0.load();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(&shown.cert[0], &[], &name, &[], now)
        .is_ok()
}

#[tokio::test]
async fn the_certificate_is_good_for_every_name_and_no_other() {
    let identity = identity(&MemoryStore::new(), &Vault::ephemeral()).await;
    let ca = identity.ca_pem();
    for name in ["localhost", "127.0.0.1", "::1", "mesh.example.org"] {
        assert!(is_accepted(&ca, &identity, name, NOW), "{name}");
    }
    assert!(!is_accepted(&ca, &identity, "example.org", NOW));
}

#[tokio::test]
async fn the_ca_stays_and_the_certificate_is_new_at_each_start() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let first = identity(&store, &vault).await;
    let second = identity(&store, &vault).await;
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert!(is_accepted(&first.ca_pem(), &second, "localhost", NOW));
    assert_ne!(first.resolver.0.load().cert, second.resolver.0.load().cert);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_outlives_the_old_one() {
    let identity = identity(&MemoryStore::new(), &Vault::ephemeral()).await;
    let later = NOW + 40 * 24 * 3600;
    let ca = identity.ca_pem();
    assert!(!is_accepted(&ca, &identity, "localhost", later));
    identity.renew(at(later)).unwrap();
    assert!(is_accepted(&ca, &identity, "localhost", later));
}

#[tokio::test]
async fn the_key_of_the_ca_is_in_the_store_sealed_and_nowhere_else() {
    let (store, vault) = (MemoryStore::new(), Vault::ephemeral());
    let identity = identity(&store, &vault).await;
    let secrets = store.secrets(XDS.secret).await.unwrap();
    let [(name, sealed)] = secrets.as_slice() else {
        panic!("{secrets:?}");
    };
    assert_eq!(name, XDS.secret);
    assert!(!String::from_utf8_lossy(&sealed.0).contains("PRIVATE KEY"));
    assert!(!identity.ca_pem().contains("PRIVATE KEY"));
    assert!(!format!("{identity:?}").contains("PRIVATE KEY"));
    let other = Vault::ephemeral();
    let refused = ServerIdentity::open_or_create(&store, &other, server_names(None), at(NOW)).await;
    assert!(matches!(refused, Err(TlsError::Vault(_))));
}

#[tokio::test]
async fn a_damaged_ca_and_a_bad_name_are_errors_without_key_bytes() {
    let vault = Vault::ephemeral();
    for text in [
        "",
        "nonsense",
        "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n",
    ] {
        let store = MemoryStore::new();
        let sealed = vault
            .seal(&PrivateKey::new(Zeroizing::new(text.to_owned())))
            .unwrap();
        store
            .put_secret_if_absent(XDS.secret, &sealed)
            .await
            .unwrap();
        let names = server_names(None);
        let error = ServerIdentity::open_or_create(&store, &vault, names, at(NOW))
            .await
            .unwrap_err();
        assert!(matches!(error, TlsError::Damaged { .. }), "{error}");
        assert!(!error.to_string().contains("QUJD"));
    }
    let names = vec!["nämlich".to_owned()];
    let error = ServerIdentity::open_or_create(&MemoryStore::new(), &vault, names, at(NOW)).await;
    assert!(matches!(error, Err(TlsError::Name { .. })));
}

#[tokio::test]
async fn the_certificate_of_the_ca_is_written_for_all_to_read() {
    let identity = identity(&MemoryStore::new(), &Vault::ephemeral()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xds-ca.pem");
    for _ in 0..2 {
        identity.write_ca(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *identity.ca_pem());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(
        identity.write_ca(Path::new("/nowhere/xds-ca.pem")),
        Err(TlsError::Write { .. })
    ));
}
