//! The xDS server under thousands of simulated proxies, over real gRPC with
//! TLS, one connection and one incremental ADS stream each. The proxies are
//! another process on the same machine, so what they cost is in every time.
//!
//! `cargo bench --bench xds` prints, for 1,000, 5,000 and 10,000 proxies:
//! connections with a first certificate per second, resident memory of the
//! server per proxy, and, for a permission of the whole mesh and for one that
//! touches one service of a hundred, the time until the last proxy has the
//! change and the processor time that it costs the server. Then, on a Postgres
//! that is started for it, the time from a write on one replica until the last
//! of 1,000 proxies of another has it, beside that of a write on its own.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints what it measures and has nobody to report an error to"
)]

#[path = "xds/link.rs"]
mod link;
#[path = "xds/mesh.rs"]
mod mesh;
#[path = "xds/process.rs"]
mod process;
#[path = "xds/proxies.rs"]
mod proxies;
#[path = "xds/server.rs"]
mod server;

/// What starts servers for the tests.
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests use more of it, and keep their own rules"
)]
#[path = "../tests/it/support"]
mod support {
    pub(crate) mod postgres;
    pub(crate) mod wait;
}

use std::sync::Arc;
use std::time::Duration;

use link::Proxies;
use server::Server;
use support::postgres::Postgres;
use windlass::store::Store;
use windlass::store::postgres::PostgresStore;

/// With this argument the program is the proxies.
const PROXIES: &str = "--proxies";
/// How many proxies the replica has that another writes for.
const REPLICATED: usize = 1_000;
/// How often each change is measured, there and back; the middle one counts.
const ROUNDS: usize = 6;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if std::env::args().any(|argument| argument == PROXIES) {
        runtime.block_on(proxies::run());
        return;
    }
    let sizes: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        vec![1_000, 5_000, 10_000]
    } else {
        sizes
    };
    for size in sizes {
        runtime.block_on(measure(size));
    }
    runtime.block_on(measure_replicas());
}

/// From a write on one replica to the push from the other.
async fn measure_replicas() {
    let durable = [("fsync", "on"), ("full_page_writes", "on")];
    let postgres = Postgres::with("host all all 127.0.0.1/32 trust\n", &[], &durable);
    let open = async || {
        let store = PostgresStore::open(&postgres.config()).await;
        Arc::new(store.expect("a store")) as Arc<dyn Store>
    };
    let (own, other) = (open().await, open().await);
    let server = Server::on(Arc::clone(&own), true, REPLICATED).await;
    server.follow();
    let mut proxies = Proxies::start(&server);
    proxies.connect();
    println!("\n{REPLICATED} proxies of one replica, on Postgres");
    let mut middle = [Duration::ZERO; 2];
    for (index, by) in [own, Arc::clone(&other)].iter().enumerate() {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            proxies.expect(REPLICATED);
            let start = link::now();
            server.write(&**by, None, round % 2 == 0).await;
            rounds.push(proxies.reached().saturating_sub(start));
            server.settle().await;
            assert_eq!(proxies.told(), REPLICATED, "others were told, or one twice");
        }
        rounds.sort();
        middle[index] = rounds[ROUNDS / 2];
    }
    let [here, there] = middle;
    println!(
        "  a permission of the whole mesh, from the write to the last proxy: \
         {there:.1?} where another replica wrote it, {here:.1?} where this one did (ratio {:.2})",
        there.as_secs_f64() / here.as_secs_f64()
    );
    proxies.stop();
    server.stop().await;
    other.close().await;
}

async fn measure(size: usize) {
    let server = Server::start(size).await;
    let idle = process::resident_bytes();
    let mut proxies = Proxies::start(&server);
    let connected = proxies.connect();
    let resident = process::resident_bytes();
    #[expect(clippy::cast_precision_loss, reason = "counts of proxies are small")]
    let count = size as f64;
    println!("\n{size} proxies, {} services", mesh::SERVICES);
    println!(
        "  connected with certificate and configuration: {:.0}/s ({connected:.2?})",
        count / connected.as_secs_f64()
    );
    let added = resident.saturating_sub(idle);
    println!(
        "  resident memory: {} MB, of which {} KB for each proxy",
        resident / 1_000_000,
        added / size as u64 / 1000
    );
    let whole = change(&server, &mut proxies, None, size).await;
    let one = size / mesh::SERVICES;
    let part = change(&server, &mut proxies, Some(7), one).await;
    for (what, told, spent) in [
        ("a permission of the whole mesh", size, &whole),
        ("a permission of one service of a hundred", one, &part),
    ] {
        println!(
            "  {what}: {told} proxies told, the last after {:.1?}; {:.1?} of processor time",
            spent.last, spent.processor
        );
    }
    println!(
        "  ratio of processor time: 1 to {:.0}",
        whole.processor.as_secs_f64() / part.processor.as_secs_f64()
    );
    proxies.stop();
    server.stop().await;
}

/// What one change cost.
struct Spent {
    /// From the publication to the last proxy that has it.
    last: Duration,
    /// Of the server.
    processor: Duration,
}

/// Changes permissions a few times; `expected` proxies have to be told, and no other.
async fn change(
    server: &Server,
    proxies: &mut Proxies,
    service: Option<usize>,
    expected: usize,
) -> Spent {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let serving = server.with_permission(service, round % 2 == 0).await;
        proxies.expect(expected);
        let before = process::processor_time();
        let start = link::now();
        server.publish(serving).await;
        let last = proxies.reached().saturating_sub(start);
        server.settle().await;
        let processor = process::processor_time().saturating_sub(before);
        let told = proxies.told();
        assert_eq!(told, expected, "others were told, or one twice");
        rounds.push(Spent { last, processor });
    }
    rounds.sort_by_key(|spent| spent.last);
    rounds.swap_remove(ROUNDS / 2)
}
