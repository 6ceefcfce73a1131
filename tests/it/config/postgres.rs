//! `store.postgres` and `store.encryption`.

use std::path::PathBuf;

use windlass::config::{EncryptionConfig, StoreConfig};
use windlass::store::postgres::{Password, PostgresConfig, TlsMode};

use super::{loaded, problem};

const POSTGRES: (&str, &str) = ("WINDLASS_STORE_TYPE", "postgres");
const IDENTITY: (&str, &str) = ("WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE", "/identity.txt");

fn postgres(text: &str, variables: &[(&str, &str)]) -> PostgresConfig {
    let variables: Vec<_> = [POSTGRES, IDENTITY]
        .iter()
        .chain(variables)
        .copied()
        .collect();
    match loaded(text, &variables).unwrap().store {
        StoreConfig::Postgres(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn postgres_is_near_and_plain_where_nothing_is_set() {
    let config = postgres("", &[]);
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 5432));
    assert_eq!(
        (config.user.as_str(), config.db_name.as_str()),
        ("windlass", "windlass")
    );
    assert_eq!(config.password, Password::None);
    assert_eq!(config.tls.mode, TlsMode::Disable);
}

#[test]
fn every_setting_has_the_name_of_the_reference_too() {
    let variables = [
        ("KUMA_STORE_TYPE", "postgres"),
        ("KUMA_STORE_POSTGRES_HOST", "db.example"),
        ("KUMA_STORE_POSTGRES_PORT", "15432"),
        ("KUMA_STORE_POSTGRES_USER", "kuma"),
        ("KUMA_STORE_POSTGRES_PASSWORD", "TOP SECRET"),
        ("KUMA_STORE_POSTGRES_DB_NAME", "mesh"),
        ("KUMA_STORE_POSTGRES_TLS_MODE", "verifyFull"),
        ("KUMA_STORE_POSTGRES_TLS_CA_PATH", "/ca.crt"),
        ("KUMA_STORE_POSTGRES_TLS_CERT_PATH", "/client.crt"),
        ("KUMA_STORE_POSTGRES_TLS_KEY_PATH", "/client.key"),
        IDENTITY,
    ];
    let config = loaded("", &variables).unwrap();
    assert!(!format!("{config:?}{config:#?}").contains("TOP SECRET"));
    let StoreConfig::Postgres(config) = config.store else {
        panic!("{config:?}");
    };
    assert_eq!((config.host.as_str(), config.port), ("db.example", 15432));
    assert_eq!(
        (config.user.as_str(), config.db_name.as_str()),
        ("kuma", "mesh")
    );
    let Password::Value(password) = &config.password else {
        panic!("{config:?}");
    };
    assert_eq!(password.expose(), "TOP SECRET");
    assert_eq!(config.tls.mode, TlsMode::VerifyFull);
    assert_eq!(config.tls.ca_path, Some(PathBuf::from("/ca.crt")));
    let client = config.tls.client.unwrap();
    assert_eq!(client.cert_path, PathBuf::from("/client.crt"));
    assert_eq!(client.key_path, PathBuf::from("/client.key"));
    // The variable of ours goes over it.
    let ours = ("WINDLASS_STORE_POSTGRES_PORT", "7");
    let theirs = ("KUMA_STORE_POSTGRES_PORT", "8");
    assert_eq!(postgres("", &[theirs, ours]).port, 7);
}

#[test]
fn what_belongs_together_is_set_together() {
    for (text, expected) in [
        (
            "tls: {mode: verifyCa}",
            "store.postgres.tls.caPath: must be set where store.postgres.tls.mode is `verifyCa`",
        ),
        (
            "tls: {mode: verifyFull}",
            "store.postgres.tls.caPath: must be set where store.postgres.tls.mode is `verifyFull`",
        ),
        (
            "tls: {certPath: /c}",
            "store.postgres.tls.keyPath: must be set where store.postgres.tls.certPath is",
        ),
        (
            "tls: {keyPath: /k}",
            "store.postgres.tls.certPath: must be set where store.postgres.tls.keyPath is",
        ),
        (
            "tls: {mode: require}",
            "store.postgres.tls.mode: must be `disable`, `verifyNone`, `verifyCa` or `verifyFull` (windlass.yml:1)",
        ),
        (
            "password: a, passwordFile: /p",
            "store.postgres.passwordFile: cannot be set beside store.postgres.password; leave one of them out (windlass.yml:1)",
        ),
        (
            "host: /run/postgresql, tls: {mode: verifyNone}",
            "store.postgres.tls.mode: must be `disable` where store.postgres.host is the folder of a socket (windlass.yml:1)",
        ),
        (
            "host: 'postgres://db'",
            "store.postgres.host: must be a host name, an IP address or the folder of a socket, without scheme and port (windlass.yml:1)",
        ),
        (
            "port: 0",
            "store.postgres.port: must be a port from 1 to 65535 (windlass.yml:1)",
        ),
        (
            "maxOpenConnections: 0",
            "store.postgres.maxOpenConnections: must be a number from 1 to 1000 (windlass.yml:1)",
        ),
    ] {
        let text = format!("store: {{postgres: {{{text}}}}}");
        let found = problem(&text, &[POSTGRES, IDENTITY]);
        assert_eq!(
            found,
            format!("invalid configuration: {expected}"),
            "{text}"
        );
    }
}

#[test]
fn a_shared_store_has_an_identity_or_says_aloud_that_it_has_none() {
    let none = ("WINDLASS_STORE_ENCRYPTION_NONE", "true");
    let found = problem("", &[POSTGRES]);
    assert!(
        found.starts_with(
            "invalid configuration: store.encryption.identityFile: must be set where the store is shared"
        ),
        "{found}"
    );
    let found = problem("", &[POSTGRES, IDENTITY, none]);
    assert!(
        found.contains("store.encryption.none: cannot be true"),
        "{found}"
    );
    let encryption = |variables: &[(&str, &str)]| loaded("", variables).unwrap().encryption;
    assert_eq!(encryption(&[POSTGRES, none]), EncryptionConfig::None);
    let given = EncryptionConfig::Identity("/identity.txt".into());
    assert_eq!(encryption(&[POSTGRES, IDENTITY]), given);
    assert_eq!(encryption(&[none]), EncryptionConfig::None);
    let made =
        EncryptionConfig::Identity("/home/user/.local/state/windlass/store-identity.txt".into());
    assert_eq!(encryption(&[]), made);
}
