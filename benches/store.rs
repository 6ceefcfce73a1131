//! The stores side by side: memory, SQLite, Postgres and Kubernetes.
//!
//! `cargo bench --bench store` prints, of one run: applying 1,000 and 10,000
//! resources in meshes of 100, one changed resource of 10,000, and how long it
//! takes from a write on one handle of a store until another has read what
//! changed. Postgres is started for it and, like SQLite, waits for the disk. So
//! are a kube-apiserver and its etcd, as the tests start them: etcd does not wait.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints what it measures and has nobody to report an error to"
)]

use std::time::{Duration, Instant};

use windlass::model::{
    Generation, Mesh, Mtls, Origin, Resource, Selector, ServiceMatch, StoredResource,
    TrafficPermission,
};
use windlass::store::kubernetes::KubernetesStore;
use windlass::store::memory::MemoryStore;
use windlass::store::postgres::PostgresStore;
use windlass::store::sqlite::SqliteStore;
use windlass::store::{MeshWrite, Operation, Store};

/// What starts servers for the tests.
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of it, and keep their own rules"
)]
#[path = "../tests/it/support"]
mod support {
    pub(crate) mod http;
    pub(crate) mod kubernetes;
    pub(crate) mod postgres;
    pub(crate) mod wait;
}

use support::{kubernetes, postgres};

/// Resources of a mesh, the Mesh among them.
const PER_MESH: usize = 100;
const ROUNDS: usize = 3;
/// How many single changes are timed; the median is printed.
const CHANGES: usize = 101;
/// What a test server leaves out.
const DURABLE: [(&str, &str); 2] = [("fsync", "on"), ("full_page_writes", "on")];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run());
}

/// What is measured of a store.
struct Measured {
    name: &'static str,
    apply: [Duration; 2],
    change: Duration,
    /// None where no two handles share a store.
    news: Option<Duration>,
}

async fn run() {
    let mut all = Vec::new();
    let mut best: Option<Measured> = None;
    for _ in 0..ROUNDS {
        let (small, large) = (MemoryStore::new(), MemoryStore::new());
        keep(&mut best, measure("memory", [&small, &large], None).await);
    }
    all.extend(best.take());
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = async |name: &str| {
            let store = SqliteStore::open(&folder.path().join(name)).await;
            store.expect("a store")
        };
        let (small, large) = (open("small.db").await, open("large.db").await);
        keep(&mut best, measure("SQLite", [&small, &large], None).await);
    }
    all.extend(best.take());
    for _ in 0..ROUNDS {
        let servers = [(), ()]
            .map(|()| postgres::Postgres::with("host all all 127.0.0.1/32 trust\n", &[], &DURABLE));
        let open = async |server: usize| {
            let store = PostgresStore::open(&servers[server].config()).await;
            store.expect("a store")
        };
        let (small, large, other) = (open(0).await, open(1).await, open(1).await);
        let measured = measure("Postgres", [&small, &large], Some(&other)).await;
        keep(&mut best, measured);
    }
    all.extend(best.take());
    for round in 0..ROUNDS {
        let cluster = kubernetes::Cluster::take();
        let open = async |size: &str| {
            let namespace = format!("windlass-{size}-{round}");
            // Where it is there already, from an earlier run, it is as new.
            let _ = cluster.try_run(&["create", "namespace", &namespace]);
            let client = cluster.client().await;
            KubernetesStore::new(client, &namespace, "the cluster of the benchmark")
        };
        let (small, large, other) = (
            open("small").await,
            open("large").await,
            open("large").await,
        );
        let measured = measure("Kubernetes", [&small, &large], Some(&other)).await;
        keep(&mut best, measured);
        for store in [small, large, other] {
            store.close().await;
        }
    }
    all.extend(best.take());
    print(&all);
}

/// Keeps the best of several rounds.
fn keep(best: &mut Option<Measured>, measured: Measured) {
    *best = Some(match best.take() {
        None => measured,
        Some(before) => Measured {
            name: before.name,
            apply: [0, 1].map(|index| before.apply[index].min(measured.apply[index])),
            change: before.change.min(measured.change),
            news: before.news.min(measured.news),
        },
    });
}

fn print(all: &[Measured]) {
    println!("store      apply 1,000   apply 10,000   ratio    1 of 10,000   until another has it");
    for it in all {
        let [small, large] = it.apply;
        let news = it.news.map_or("-".to_owned(), |news| format!("{news:.2?}"));
        println!(
            "{:<10} {:>11} {:>14} {:>7.2} {:>14} {:>22}",
            it.name,
            format!("{small:.2?}"),
            format!("{large:.2?}"),
            ratio(large, small),
            format!("{:.2?}", it.change),
            news
        );
    }
    println!("ratio: of 10,000 to 1,000 resources (10 is linear)");
    if let [_, sqlite, shared @ ..] = all {
        for it in shared {
            println!(
                "{} to SQLite: apply 10,000 {:.2}, one change {:.2}",
                it.name,
                ratio(it.apply[1], sqlite.apply[1]),
                ratio(it.change, sqlite.change)
            );
        }
    }
}

async fn measure<S: Store>(
    name: &'static str,
    [small, large]: [&S; 2],
    other: Option<&S>,
) -> Measured {
    let apply = [apply(small, 1_000).await, apply(large, 10_000).await];
    let mut generation = Generation(1);
    let mut changes = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let started = Instant::now();
        generation = change(large, generation, number).await;
        changes.push(started.elapsed());
    }
    let mut news = None;
    if let Some(other) = other {
        let mut delays = Vec::with_capacity(CHANGES);
        for number in CHANGES..2 * CHANGES {
            let seen = other.generation().await.expect("a generation");
            let mut heard = other.news();
            heard.borrow_and_update();
            let started = Instant::now();
            let (written, ()) = tokio::join!(change(large, generation, number), async {
                // Until the write is among what has changed.
                loop {
                    heard.changed().await.expect("the store is open");
                    let changes = other.changes_since(seen).await.expect("changes");
                    if !changes.meshes.is_empty() {
                        break;
                    }
                }
            });
            delays.push(started.elapsed());
            generation = written;
        }
        news = Some(median(delays));
    }
    Measured {
        name,
        apply,
        change: median(changes),
        news,
    }
}

async fn apply(store: &impl Store, count: usize) -> Duration {
    let writes: Vec<MeshWrite> = (0..count / PER_MESH).map(new_mesh).collect();
    let started = Instant::now();
    for write in &writes {
        store.write(write).await.expect("a write");
    }
    started.elapsed()
}

/// Changes one resource of the first mesh.
async fn change(store: &impl Store, generation: Generation, number: usize) -> Generation {
    let write = MeshWrite {
        mesh: "mesh-0".parse().expect("a name"),
        expected: generation,
        operations: vec![put(permission("mesh-0", 1, &format!("changed-{number}")))],
        history: None,
    };
    store.write(&write).await.expect("a write").generation
}

fn new_mesh(number: usize) -> MeshWrite {
    let name = format!("mesh-{number}");
    let mesh = Resource::Mesh(Mesh {
        name: name.parse().expect("a name"),
        mtls: Mtls::default(),
    });
    let permissions = (1..PER_MESH).map(|n| permission(&name, n, &format!("web-{n}")));
    MeshWrite {
        mesh: name.parse().expect("a name"),
        expected: Generation(0),
        operations: std::iter::once(mesh).chain(permissions).map(put).collect(),
        history: None,
    }
}

fn put(resource: Resource) -> Operation {
    Operation::PutResource(StoredResource::new(resource, Origin::Api {}))
}

fn permission(mesh: &str, number: usize, source: &str) -> Resource {
    Resource::TrafficPermission(TrafficPermission {
        mesh: mesh.parse().expect("a name"),
        name: format!("allow-{number}").parse().expect("a name"),
        namespace: None,
        sources: vec![Selector {
            service: ServiceMatch::Exactly(source.parse().expect("a service")),
        }],
        destinations: vec![Selector {
            service: ServiceMatch::Any,
        }],
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
