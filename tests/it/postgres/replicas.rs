//! Several on one database: who leads, and who hears what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass::store::postgres::PostgresStore;
use windlass::store::{Leadership, News, Store};

use crate::store_contract::samples::{change, create_secure, holds_leaf, mesh, put, sealed};
use crate::support::{Postgres, wait};

/// Waits until what `of` counts is more than it was in `seen`.
async fn heard(store: &PostgresStore, seen: &mut News, what: &str, of: fn(&News) -> u64) {
    let mut news = store.news();
    let more = news.wait_for(|news| of(news) > of(seen));
    let more = tokio::time::timeout(wait::PATIENCE, more).await;
    *seen = *more
        .unwrap_or_else(|_| panic!("{what} is no news"))
        .expect("the store is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_is_news_to_the_other() {
    let server = Postgres::start();
    let one = PostgresStore::open(&server.config()).await.unwrap();
    let other = PostgresStore::open(&server.config()).await.unwrap();
    let mut seen = News::default();
    // The first is that it listens.
    heard(&other, &mut seen, "listening", |news| news.sync).await;

    let start = Instant::now();
    create_secure(&one, "demo").await;
    heard(&other, &mut seen, "a write", |news| news.meshes).await;
    let evidence = [holds_leaf("demo", "dp-1", "builtin")];
    one.record_evidence(&evidence).await.unwrap();
    heard(&other, &mut seen, "evidence", |news| news.evidence).await;
    one.put_secret_if_absent("token/1", &sealed("one"))
        .await
        .unwrap();
    heard(&other, &mut seen, "a secret", |news| news.secrets).await;
    for _ in 0..10 {
        one.ask_for_sync().await.unwrap();
        heard(&other, &mut seen, "a call", |news| news.sync).await;
    }
    // Told, and not found by looking now and then: that takes 13 rounds of 4 s.
    assert!(start.elapsed() < Duration::from_secs(40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_connection_that_listens_misses_nothing() {
    let server = Postgres::start();
    let one = PostgresStore::open(&server.config()).await.unwrap();
    let other = PostgresStore::open(&server.config()).await.unwrap();
    let mut seen = News::default();
    heard(&other, &mut seen, "listening", |news| news.sync).await;
    for number in 0..5 {
        server
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = 'windlass listen'",
            )
            .await;
        let name = format!("mesh-{number}");
        let written = change(&one, &name, vec![put(mesh(&name))]).await.unwrap();
        let start = Instant::now();
        let mut current = other.generation().await.unwrap();
        while current < written.generation {
            heard(&other, &mut seen, "a write", |news| news.meshes).await;
            current = other.generation().await.unwrap();
        }
        assert!(start.elapsed() < wait::PATIENCE);
        // And whoever waits for news is woken, be it twice.
        heard(&other, &mut seen, "listening again", |news| news.sync).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_was_notified_of_is_found_by_looking() {
    let server = Postgres::start();
    let store = PostgresStore::open(&server.config()).await.unwrap();
    let mut seen = News::default();
    heard(&store, &mut seen, "listening", |news| news.sync).await;
    // As if the notification were lost.
    for (count, of) in [
        ("generation", (|news| news.meshes) as fn(&News) -> u64),
        ("evidence", |news| news.evidence),
        ("secrets", |news| news.secrets),
        ("sync", |news| news.sync),
    ] {
        let sql = format!("UPDATE store SET {count} = {count} + 1");
        server.execute(&sql).await;
        heard(&store, &mut seen, count, of).await;
    }
}

async fn lead(store: &Arc<PostgresStore>, name: &str) -> Leadership {
    let leading = tokio::time::timeout(wait::PATIENCE, store.lead(name)).await;
    leading.expect("it leads in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_connection_ends_is_followed_by_another() {
    let server = Postgres::start();
    let one = Arc::new(PostgresStore::open(&server.config()).await.unwrap());
    let other = Arc::new(PostgresStore::open(&server.config()).await.unwrap());
    let first = lead(&one, "a").await;
    let second = tokio::spawn({
        let other = Arc::clone(&other);
        async move { lead(&other, "b").await }
    });
    let start = Instant::now();
    server
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'windlass lead a'",
        )
        .await;
    tokio::time::timeout(wait::PATIENCE, first.lost())
        .await
        .expect("the first learns that it lost");
    let second = second.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{start:?}");
    assert!(first.is_lost() && !second.is_lost());

    // It comes back where the other goes.
    let third = tokio::spawn({
        let one = Arc::clone(&one);
        async move { lead(&one, "a").await }
    });
    other.close().await;
    tokio::time::timeout(wait::PATIENCE, second.lost())
        .await
        .expect("who closes no longer leads");
    assert!(!third.await.unwrap().is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_of_one_database_have_a_leader_each() {
    let server = Postgres::start();
    server
        .execute(
            "CREATE SCHEMA second AUTHORIZATION windlass; \
             CREATE ROLE other LOGIN PASSWORD 'TOP-SECRET-password' IN ROLE windlass; \
             ALTER ROLE other SET search_path = second; \
             GRANT ALL ON SCHEMA second TO other",
        )
        .await;
    let one = Arc::new(PostgresStore::open(&server.config()).await.unwrap());
    let config = windlass::store::postgres::PostgresConfig {
        user: "other".to_owned(),
        ..server.config()
    };
    let other = Arc::new(PostgresStore::open(&config).await.unwrap());
    create_secure(&*one, "demo").await;
    assert!(other.load().await.unwrap().meshes.is_empty());
    let (first, second) = (lead(&one, "a").await, lead(&other, "b").await);
    assert!(!first.is_lost() && !second.is_lost());
}
