//! The xDS server under thousands of simulated proxies, over real gRPC with
//! TLS, one connection and one incremental ADS stream each. The proxies are
//! another process on the same machine, so what they cost is in every time.
//!
//! `cargo bench --bench xds` prints, for 1,000, 5,000 and 10,000 proxies:
//! connections with a first certificate per second, resident memory of the
//! server per proxy, and, for a permission of the whole mesh and for one that
//! touches one service of a hundred, the time until the last proxy has the
//! change and the processor time that it costs the server.

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

use std::time::Duration;

use link::Proxies;
use server::Server;

/// With this argument the program is the proxies.
const PROXIES: &str = "--proxies";
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
