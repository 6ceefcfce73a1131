//! The way to the server: TLS in every mode, passwords, and what is said where
//! it is not open.

use windlass::store::postgres::{
    ClientCertificate, Password, PostgresConfig, PostgresStore, PostgresTls, TlsMode,
};
use windlass::store::{Store as _, StoreError};

use super::certificates::{Ca, HOSTSSL, Pair, self_signed};
use crate::support::Postgres;
use crate::support::postgres::PASSWORD;

const PLAIN: &str = "host all all 127.0.0.1/32 scram-sha-256\n";

/// A server that shows that certificate, and asks for clients' of that authority.
fn server(hba: &str, pair: &Pair, clients: Option<&Ca>) -> Postgres {
    let hba = format!("local all all trust\n{hba}");
    let mut files = vec![
        ("server.crt", pair.certificate.as_str()),
        ("server.key", pair.key.as_str()),
    ];
    let mut settings = vec![("ssl", "on")];
    if let Some(ca) = clients {
        files.push(("clients.crt", &ca.pem));
        settings.push(("ssl_ca_file", "clients.crt"));
    }
    Postgres::with(&hba, &files, &settings)
}

fn tls(mode: TlsMode, ca: Option<&Ca>) -> PostgresTls {
    PostgresTls {
        mode,
        ca_path: ca.map(Ca::path),
        client: None,
    }
}

fn with(server: &Postgres, tls: PostgresTls) -> PostgresConfig {
    PostgresConfig {
        tls,
        ..server.config()
    }
}

/// Whether the connections of Windlass are encrypted, as the server sees it.
async fn is_encrypted(server: &Postgres) -> bool {
    let (plain, encrypted): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE NOT ssl), count(*) FILTER (WHERE ssl) \
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'windlass'",
    )
    .fetch_one(&mut server.admin("windlass").await)
    .await
    .unwrap();
    assert!(plain + encrypted > 0 && (plain == 0 || encrypted == 0));
    encrypted > 0
}

async fn opens(server: &Postgres, config: &PostgresConfig) {
    let store = PostgresStore::open(config).await.unwrap();
    store.generation().await.unwrap();
    let wanted = config.tls.mode != TlsMode::Disable;
    assert_eq!(is_encrypted(server).await, wanted, "{config:?}");
    store.close().await;
}

/// That it does not open, and is told so in these words.
async fn refused(config: &PostgresConfig, words: &str) {
    let error = PostgresStore::open(config).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    let mode = format!("(TLS mode `{}`)", config.tls.mode);
    for part in [words, &mode, &config.host, &config.port.to_string()] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(!format!("{text} {error:?} {config:?}").contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fits_is_taken_in_every_mode() {
    let ca = Ca::new("the authority");
    let server = server(PLAIN, &ca.server(), None);
    for mode in TlsMode::ALL {
        opens(&server, &with(&server, tls(mode, Some(&ca)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_is_refused_where_it_is_checked() {
    let (ca, other) = (Ca::new("the authority"), Ca::new("the authority"));
    let server = server(PLAIN, &ca.server(), None);
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let config = with(&server, tls(mode, Some(&other)));
        let words = "does not come from an authority in store.postgres.tls.caPath";
        refused(&config, words).await;
    }
    let nothing_checked = with(&server, tls(TlsMode::VerifyNone, Some(&other)));
    opens(&server, &nothing_checked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_is_refused_only_where_the_name_is_checked() {
    let ca = Ca::new("the authority");
    let server = server(PLAIN, &ca.server_elsewhere(), None);
    let full = with(&server, tls(TlsMode::VerifyFull, Some(&ca)));
    refused(&full, "does not name `127.0.0.1`").await;
    opens(&server, &with(&server, tls(TlsMode::VerifyCa, Some(&ca)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused_where_it_is_checked() {
    let ca = Ca::new("the authority");
    let server = server(PLAIN, &ca.server_expired(), None);
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        refused(&with(&server, tls(mode, Some(&ca))), "has expired").await;
    }
    opens(&server, &with(&server, tls(TlsMode::VerifyNone, None))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_signed_itself_is_its_own_authority() {
    let pair = self_signed("127.0.0.1");
    let ca = Ca::new("a folder");
    let server = server(PLAIN, &pair, None);
    let given = PostgresTls {
        ca_path: Some(ca.file("server.crt", &pair.certificate)),
        ..tls(TlsMode::VerifyFull, None)
    };
    opens(&server, &with(&server, given.clone())).await;
    let other = self_signed("127.0.0.1");
    let other = PostgresTls {
        ca_path: Some(ca.file("other.crt", &other.certificate)),
        ..given
    };
    refused(&with(&server, other), "does not come from an authority").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_never_spoken_to_in_clear() {
    let ca = Ca::new("the authority");
    let server = Postgres::start();
    for mode in [TlsMode::VerifyNone, TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let config = with(&server, tls(mode, Some(&ca)));
        refused(&config, "the server does not speak TLS").await;
    }
    opens(&server, &server.config()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_tls_alone_refuses_what_is_not() {
    let ca = Ca::new("the authority");
    let server = server(HOSTSSL, &ca.server(), None);
    let words = "takes no unencrypted connection from here; set store.postgres.tls.mode";
    refused(&server.config(), words).await;
    opens(&server, &with(&server, tls(TlsMode::VerifyFull, Some(&ca)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_takes_the_place_of_a_password() {
    let (ca, stranger) = (Ca::new("the authority"), Ca::new("a stranger"));
    let server = server(
        "hostssl all all 127.0.0.1/32 cert\n",
        &ca.server(),
        Some(&ca),
    );
    let with_client = |client: Option<ClientCertificate>| PostgresConfig {
        password: Password::None,
        tls: PostgresTls {
            client,
            ..tls(TlsMode::VerifyFull, Some(&ca))
        },
        ..server.config()
    };
    opens(&server, &with_client(Some(ca.client("windlass")))).await;
    refused(&with_client(None), "asks for a client certificate").await;
    let another_role = with_client(Some(ca.client("somebody")));
    refused(&another_role, "the client certificate is another role's").await;
    let strange = with_client(Some(stranger.client("windlass")));
    refused(&strange, "refused the TLS handshake").await;

    // The files are read anew for each connection, and named where they are wrong.
    let good = ca.client("windlass");
    let mixed = ClientCertificate {
        key_path: ca.client("other").key_path,
        ..good.clone()
    };
    refused(&with_client(Some(mixed)), "do not go together").await;
    let missing = ClientCertificate {
        cert_path: "/nowhere/windlass.crt".into(),
        ..good.clone()
    };
    refused(
        &with_client(Some(missing)),
        "certPath `/nowhere/windlass.crt` cannot be read",
    )
    .await;
    let empty = ClientCertificate {
        key_path: ca.file("empty.key", "nothing"),
        ..good
    };
    refused(&with_client(Some(empty)), "holds no private key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_without_extensions_is_told_where_it_is_looked_at() {
    let ca = Ca::new("the authority");
    let server = server(
        "hostssl all all 127.0.0.1/32 cert\n",
        &ca.version_1("127.0.0.1"),
        Some(&ca),
    );
    let with_client = |mode| PostgresConfig {
        password: Password::None,
        tls: PostgresTls {
            client: Some(ca.files("windlass", &ca.version_1("windlass"))),
            ..tls(mode, Some(&ca))
        },
        ..server.config()
    };
    opens(&server, &with_client(TlsMode::VerifyNone)).await;
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let words = "is of X.509 version 1, which has no subject alternative names";
        refused(&with_client(mode), words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_let_in_is_told_why() {
    let server = Postgres::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    let out_of_a_file = PostgresConfig {
        password: Password::File(file.path().to_owned()),
        ..server.config()
    };
    opens(&server, &out_of_a_file).await;

    std::fs::write(file.path(), format!("{PASSWORD}?\n")).unwrap();
    refused(&out_of_a_file, "refuses the password").await;
    let none = PostgresConfig {
        password: Password::None,
        ..server.config()
    };
    refused(&none, "refuses the password").await;
    let nobody = PostgresConfig {
        user: "nobody".to_owned(),
        ..server.config()
    };
    refused(&nobody, "refuses the password").await;
    let elsewhere = PostgresConfig {
        db_name: "elsewhere".to_owned(),
        ..server.config()
    };
    refused(&elsewhere, "no such database; create it").await;
    let nothing_there = PostgresConfig {
        port: 1,
        connection_timeout: std::time::Duration::from_millis(300),
        ..server.config()
    };
    refused(&nothing_there, "check that the server runs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_a_way_too() {
    let server = Postgres::start();
    let config = PostgresConfig {
        host: server.socket_folder().to_str().unwrap().to_owned(),
        password: Password::None,
        ..server.config()
    };
    opens(&server, &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_postgres_server_is_not_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Postgres::start();
    let silent = PostgresConfig {
        port: listener.local_addr().unwrap().port(),
        connection_timeout: std::time::Duration::from_millis(300),
        ..with(&server, tls(TlsMode::VerifyNone, None))
    };
    refused(&silent, "does not answer within").await;
}
