//! The schema: made once by however many start, and never in another's database.

use std::sync::Arc;

use windlass::store::postgres::{PostgresConfig, PostgresStore};
use windlass::store::{Store as _, StoreError};

use crate::store_contract::samples::{change, create_secure, mesh, put};
use crate::support::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_start_at_once_one_makes_the_schema() {
    let server = Arc::new(Postgres::start());
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { PostgresStore::open(&server.config()).await })
        })
        .collect();
    let mut stores = Vec::new();
    for store in opening {
        stores.push(store.await.unwrap().unwrap());
    }
    create_secure(&stores[0], "demo").await;
    let first = stores[0].load().await.unwrap();
    for store in &stores {
        assert_eq!(store.load().await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_version_is_left_alone() {
    let server = Postgres::start();
    let config = server.config();
    PostgresStore::open(&config).await.unwrap().close().await;
    server
        .execute("UPDATE windlass_schema SET version = 77")
        .await;
    let error = PostgresStore::open(&config).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 77, .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_program_is_left_alone() {
    let server = Postgres::start();
    // What an extension brings is nobody's.
    server.execute("CREATE EXTENSION pg_stat_statements").await;
    PostgresStore::open(&server.config()).await.unwrap();
    server
        .execute("CREATE DATABASE theirs OWNER windlass")
        .await;
    let config = PostgresConfig {
        db_name: "theirs".to_owned(),
        ..server.config()
    };
    sqlx::raw_sql("CREATE TABLE theirs (id INTEGER)")
        .execute(&mut server.admin("theirs").await)
        .await
        .unwrap();
    let error = PostgresStore::open(&config).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_keep_every_name_is_refused() {
    let server = Postgres::start();
    server
        .execute(
            "CREATE DATABASE latin OWNER windlass TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
        )
        .await;
    let config = PostgresConfig {
        db_name: "latin".to_owned(),
        ..server.config()
    };
    let error = PostgresStore::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("encoding LATIN1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_the_right_to_make_tables_is_told_so() {
    let server = Postgres::start();
    server
        .execute("ALTER DATABASE windlass OWNER TO postgres")
        .await;
    let error = PostgresStore::open(&server.config()).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(
        error.to_string().contains("owner of the database"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_looked_at_is_not_changed() {
    let server = Postgres::start();
    let config = server.config();
    let error = PostgresStore::open_for_reading(&config).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Older { found: 0, .. }),
        "{error:?}"
    );
    let store = PostgresStore::open(&config).await.unwrap();
    create_secure(&store, "demo").await;
    let reader = PostgresStore::open_for_reading(&config).await.unwrap();
    assert_eq!(reader.load().await.unwrap(), store.load().await.unwrap());
    change(&reader, "other", vec![put(mesh("other"))])
        .await
        .unwrap_err();
}
