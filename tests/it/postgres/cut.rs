//! A connection that breaks after any number of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use windlass::model::{Generation, Kind};
use windlass::store::postgres::{PostgresConfig, PostgresStore};
use windlass::store::{MeshWrite, Store, StoreError, WriteError};

use crate::store_contract::samples::{history, key, mesh, permission, put, write};
use crate::support::Postgres;

/// More than any test sends.
const ENDLESS: i64 = i64::MAX / 2;

/// Carries connections to a server, and ends them all once so many bytes went
/// in a direction. Those that come later are whole.
struct Scissors {
    port: u16,
    to_server: Arc<AtomicI64>,
    to_client: Arc<AtomicI64>,
}

impl Scissors {
    async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scissors = Self {
            port: listener.local_addr().unwrap().port(),
            to_server: Arc::new(AtomicI64::new(ENDLESS)),
            to_client: Arc::new(AtomicI64::new(ENDLESS)),
        };
        let budgets = (scissors.to_server.clone(), scissors.to_client.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (there, back) = budgets.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(from_client, to_server, &there) => {}
                        () = carry(from_server, to_client, &back) => {}
                    }
                });
            }
        });
        scissors
    }
}

/// Carries bytes until one side ends, or the budget does; then all goes on anew.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, budget: &AtomicI64) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let had = budget.fetch_sub(i64::try_from(read).unwrap(), Ordering::SeqCst);
        let may = usize::try_from(had).unwrap_or_default().min(read);
        let written = to.write_all(&buffer[..may]).await;
        if may < read {
            budget.store(ENDLESS, Ordering::SeqCst);
            return;
        }
        if written.is_err() {
            return;
        }
    }
}

/// Writes over a connection that is cut after `bytes`; tells whether it came that far.
async fn write_cut(
    store: &PostgresStore,
    truth: &PostgresStore,
    budget: &AtomicI64,
    (bytes, generation): (i64, Generation),
) -> (bool, Generation) {
    let name = format!("p-{}", generation.0);
    let attempt = MeshWrite {
        history: Some(history(&name)),
        ..write("demo", generation, vec![put(permission("demo", &name))])
    };
    budget.store(bytes, Ordering::SeqCst);
    let outcome = store.write(&attempt).await;
    let was_cut = budget.swap(ENDLESS, Ordering::SeqCst) > ENDLESS / 2;

    let current = truth.load().await.unwrap();
    let mesh = &current.meshes["demo"];
    let resource = key("demo", Kind::TrafficPermission, &name);
    let is_done = mesh.resources.contains_key(&resource);
    let told = truth.history(None, 10_000).await.unwrap();
    let told = told.iter().filter(|entry| entry.steps[0] == name).count();
    assert_eq!(told, usize::from(is_done), "{bytes}: told and done differ");
    match outcome {
        Ok(written) => {
            assert!(is_done, "{bytes}: it is said to be done");
            assert_eq!(written.generation, mesh.generation);
            assert_eq!(written.mesh.unwrap(), *mesh);
        }
        // It was tried again by itself, and done before.
        Err(WriteError::Conflict { .. } | WriteError::Store(StoreError::Uncertain { .. })) => {}
        Err(WriteError::Store(StoreError::Unreachable { .. })) => {
            assert!(!is_done, "{bytes}: it is said not to be done");
        }
        Err(error) => panic!("{bytes}: {error:?}"),
    }
    // And the store goes on.
    assert_eq!(store.load().await.unwrap(), current);
    (was_cut, mesh.generation)
}

async fn cut_everywhere(direction: fn(&Scissors) -> &AtomicI64) {
    let server = Postgres::start();
    let truth = PostgresStore::open(&server.config()).await.unwrap();
    let scissors = Scissors::before(server.port()).await;
    let config = PostgresConfig {
        port: scissors.port,
        // One connection: what is cut is the write.
        max_open_connections: 1,
        ..server.config()
    };
    let store = PostgresStore::open(&config).await.unwrap();
    let first = write("demo", Generation(0), vec![put(mesh("demo"))]);
    let mut generation = store.write(&first).await.unwrap().generation;
    let mut uncut = 0;
    let mut bytes = 0;
    // To the end of the write, and through those that find it cut already.
    while uncut < 3 {
        let cut = (bytes, generation);
        let (was_cut, now) = write_cut(&store, &truth, direction(&scissors), cut).await;
        generation = now;
        uncut = if was_cut { 0 } else { uncut + 1 };
        bytes += 23;
        assert!(bytes < 20_000, "a write has an end");
    }
    assert!(generation > Generation(3) && bytes > 200, "{bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_words_are_cut_is_done_or_is_not() {
    cut_everywhere(|scissors| &scissors.to_server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_cut_is_done_once() {
    cut_everywhere(|scissors| &scissors.to_client).await;
}
