//! A server that is killed, stands still and comes back, under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use windlass::model::{Generation, HistoryEntry, Kind};
use windlass::store::postgres::PostgresStore;
use windlass::store::{MeshWrite, Reach, Store, WriteError};

use crate::store_contract::samples::{create_secure, history, key, mesh, permission, put, write};
use crate::support::{Postgres, wait};

const WRITERS: usize = 3;

struct Load {
    stores: [Arc<PostgresStore>; 2],
    stop: AtomicBool,
    written: AtomicU64,
    read: AtomicU64,
}

fn step(writer: usize, number: u64) -> String {
    format!("writer {writer} step {number}")
}

/// Writes one permission after the other to a mesh of its own; returns how many.
async fn write_on(load: Arc<Load>, writer: usize) -> u64 {
    let name = format!("mesh-{writer}");
    let mut generation = Generation(0);
    let mut number = 0;
    while !load.stop.load(Ordering::Relaxed) {
        let store = &load.stores[usize::try_from(number).unwrap() % 2];
        let permission_name = format!("p-{number}");
        let operations = vec![put(mesh(&name)), put(permission(&name, &permission_name))];
        let attempt = MeshWrite {
            history: Some(history(&step(writer, number))),
            ..write(&name, generation, operations)
        };
        match store.write(&attempt).await {
            Ok(written) => generation = written.generation,
            Err(WriteError::Conflict { .. }) => {
                // It was done, and the word of it was lost.
                let Ok(current) = store.load().await else {
                    continue;
                };
                let mesh = &current.meshes[&*name];
                let done = key(&name, Kind::TrafficPermission, &permission_name);
                assert!(mesh.resources.contains_key(&done), "{name} {number}");
                generation = mesh.generation;
            }
            Err(WriteError::Store(_)) => continue,
            Err(error) => panic!("{error:?}"),
        }
        number += 1;
        load.written.fetch_add(1, Ordering::Relaxed);
    }
    number
}

async fn read_on(load: Arc<Load>) {
    let mut seen = Generation(0);
    while !load.stop.load(Ordering::Relaxed) {
        if let Ok(changes) = load.stores[1].changes_since(seen).await {
            assert!(changes.generation >= seen, "what was read is gone");
            seen = changes.generation;
            load.read.fetch_add(1, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until that many more are written and read.
fn goes_on(load: &Load, more: u64) {
    let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (written, read) = (now(&load.written) + more, now(&load.read) + more);
    wait::within(wait::PATIENCE * 2, "writers and readers to go on", || {
        let (w, r) = (now(&load.written), now(&load.read));
        if w >= written && r >= read {
            Ok(())
        } else {
            Err(format!("{w} of {written} written, {r} of {read} read"))
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_server_that_is_killed_under_load_loses_and_repeats_nothing() {
    let mut server = Postgres::start();
    let config = server.config();
    let stores = [
        Arc::new(PostgresStore::open(&config).await.unwrap()),
        Arc::new(PostgresStore::open(&config).await.unwrap()),
    ];
    let load = Arc::new(Load {
        stores,
        stop: AtomicBool::new(false),
        written: AtomicU64::new(0),
        read: AtomicU64::new(0),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write_on(Arc::clone(&load), writer)))
        .collect();
    let reader = tokio::spawn(read_on(Arc::clone(&load)));
    goes_on(&load, 20);
    for round in 0..6 {
        if round % 2 == 0 {
            server.kill();
        } else {
            server.stop();
        }
        server.restart();
        goes_on(&load, 20);
    }
    load.stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for writer in writers {
        counts.push(writer.await.unwrap());
    }
    reader.await.unwrap();

    let store = PostgresStore::open(&config).await.unwrap();
    let current = store.load().await.unwrap();
    let entries: Vec<HistoryEntry> = store.history(None, usize::MAX).await.unwrap();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &entries {
        *told.entry(&entry.steps[0]).or_default() += 1;
    }
    for (writer, count) in counts.iter().enumerate() {
        let name = format!("mesh-{writer}");
        let resources = &current.meshes[&*name].resources;
        for number in 0..*count {
            let done = key(&name, Kind::TrafficPermission, &format!("p-{number}"));
            assert!(resources.contains_key(&done), "{done} is lost");
            assert_eq!(told[&*step(writer, number)], 1, "{done}");
        }
    }
    assert!(told.values().all(|times| *times == 1));
    assert_eq!(current.generation.0, u64::try_from(entries.len()).unwrap());
    for other in &load.stores {
        assert_eq!(other.load().await.unwrap(), current);
    }
}

async fn reaches(store: &PostgresStore, what: &str, is: fn(&Reach) -> bool) -> Reach {
    let mut reach = store.reach();
    let found = tokio::time::timeout(wait::PATIENCE * 2, reach.wait_for(is)).await;
    found
        .unwrap_or_else(|_| panic!("the store is not {what}"))
        .expect("the store is open")
        .clone()
}

fn is_lost(reach: &Reach) -> bool {
    matches!(reach, Reach::Lost { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_out_of_reach_says_so_and_comes_back() {
    let mut server = Postgres::start();
    let store = PostgresStore::open(&server.config()).await.unwrap();
    create_secure(&store, "demo").await;
    let before = store.load().await.unwrap();
    let leader = store.lead("a").await.unwrap();
    for _ in 0..2 {
        server.stop();
        let lost = reaches(&store, "lost", is_lost).await;
        let Reach::Lost { why, .. } = &lost else {
            unreachable!()
        };
        assert!(why.contains("cannot be reached"), "{why}");
        assert!(!why.contains(crate::support::postgres::PASSWORD), "{why}");
        // Calls fail soon, and do not hang.
        let failed = tokio::time::timeout(Duration::from_secs(10), store.load()).await;
        failed.expect("a call ends").unwrap_err();
        server.restart();
        reaches(&store, "found", |reach| !is_lost(reach)).await;
        assert_eq!(store.load().await.unwrap(), before);
    }
    tokio::time::timeout(wait::PATIENCE, leader.lost())
        .await
        .expect("who led no longer does");
    let again = tokio::time::timeout(wait::PATIENCE, store.lead("a")).await;
    assert!(!again.expect("it leads again").unwrap().is_lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_out_of_reach() {
    let server = Postgres::start();
    let store = PostgresStore::open(&server.config()).await.unwrap();
    create_secure(&store, "demo").await;
    // Told when it listens: with a backend that is among those below.
    let mut news = store.news();
    let listens = tokio::time::timeout(wait::PATIENCE, news.wait_for(|news| news.sync > 0));
    listens.await.expect("it listens").unwrap();
    let backends: Vec<(i32,)> =
        sqlx::query_as("SELECT pid FROM pg_stat_activity WHERE usename = 'windlass'")
            .fetch_all(&mut server.admin("windlass").await)
            .await
            .unwrap();
    let still = |signal| {
        server.signal(signal);
        for (pid,) in &backends {
            let pid = rustix::process::Pid::from_raw(*pid).unwrap();
            // One that was not needed any more may be gone.
            let _ = rustix::process::kill_process(pid, signal);
        }
    };
    still(Signal::STOP);
    reaches(&store, "lost", is_lost).await;
    // What is asked for meanwhile fails, and does not hang.
    let failed = tokio::time::timeout(wait::PATIENCE, store.load()).await;
    failed.expect("a call ends").unwrap_err();
    still(Signal::CONT);
    reaches(&store, "found", |reach| !is_lost(reach)).await;
    store.load().await.unwrap();
}
