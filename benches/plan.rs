//! Planning 10,000 resources, and applying them to SQLite.
//!
//! `cargo bench --bench plan` prints the times and two ratios of one run: how
//! planning grows from 1,000 to 10,000 resources (10 is linear), and how
//! applying compares with inserting the same rows with bare SQL.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints what it measures and has nobody to report an error to"
)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass::apply::{Applier, OpenedKeys};
use windlass::ca::Issuing;
use windlass::manifest;
use windlass::model::{Current, Desired, Evidence, MeshState, Timestamp};
use windlass::plan::Circumstances;
use windlass::plan::{self, Plan};
use windlass::store::Store;
use windlass::store::encryption::Vault;
use windlass::store::sqlite::SqliteStore;

const REVISION: &str = "main@sha1:0123456789abcdef0123456789abcdef01234567";
/// Resources of a mesh, the Mesh among them.
const PER_MESH: usize = 100;

fn main() {
    let now: Timestamp = Timestamp::from_unix_seconds(1_780_000_000);
    let (small, large) = (desired(1_000), desired(10_000));
    let current = Current::default();
    let none = Evidence::new();
    let mut best = [Duration::MAX; 2];
    for _ in 0..10 {
        for (best, desired) in best.iter_mut().zip([&small, &large]) {
            let (elapsed, planned) = timed(|| {
                plan::plan(
                    &current,
                    desired,
                    Circumstances {
                        evidence: &none,
                        issuing: Issuing::default(),
                        now,
                    },
                )
            });
            assert_eq!(planned.diagnostics, []);
            *best = elapsed.min(*best);
        }
    }
    println!("plan  1,000 new resources: {:>10.3?}", best[0]);
    println!(
        "plan 10,000 new resources: {:>10.3?}  (aim under 500 ms)",
        best[1]
    );
    println!("ratio: {:.2} (10 is linear)", ratio(best[1], best[0]));

    let plan = plan::plan(
        &current,
        &large,
        Circumstances {
            evidence: &none,
            issuing: Issuing::default(),
            now,
        },
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(apply(&plan, &large, now));
}

async fn apply(plan: &Plan, desired: &Desired, now: Timestamp) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vault = Vault::ephemeral();
    let keys = OpenedKeys::new();
    let mut best = [Duration::MAX; 2];
    for round in 0..3 {
        let path = folder.path().join(format!("windlass-{round}.db"));
        let store = SqliteStore::open(&path).await.expect("a store");
        let applier = Applier {
            evidence: &Evidence::new(),
            store: &store,
            vault: &vault,
            keys: &keys,
            now,
        };
        let started = Instant::now();
        for mesh in &plan.meshes {
            let absent = MeshState::absent(mesh.mesh.clone());
            applier
                .apply(mesh, &absent, desired)
                .await
                .expect("an applied mesh");
        }
        best[0] = started.elapsed().min(best[0]);
        store.close().await;
        let path = folder.path().join(format!("bare-{round}.db"));
        best[1] = bare(&path, desired).await.min(best[1]);
    }
    println!(
        "apply 10,000 resources in {} transactions: {:>10.3?}",
        plan.meshes.len(),
        best[0]
    );
    println!(
        "bare inserts of the same rows:              {:>10.3?}",
        best[1]
    );
    println!("ratio: {:.2}", ratio(best[0], best[1]));
}

/// The same rows in as many transactions, with the same durability.
async fn bare(path: &std::path::Path, desired: &Desired) -> Duration {
    use sqlx::Connection as _;
    use sqlx::sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .expect("a database");
    let table = "CREATE TABLE resource (mesh TEXT, kind TEXT, name TEXT, body TEXT, \
                 PRIMARY KEY (mesh, kind, name))";
    sqlx::query(table)
        .execute(&mut connection)
        .await
        .expect("a table");
    let started = Instant::now();
    for mesh in desired.meshes.values() {
        let mut transaction = connection.begin().await.expect("a transaction");
        for (key, resource) in &mesh.resources {
            sqlx::query("INSERT INTO resource VALUES (?, ?, ?, ?)")
                .bind(key.mesh.as_str())
                .bind(key.kind.as_str())
                .bind(key.name.as_str())
                .bind(resource.resource.to_universal().to_string())
                .execute(&mut *transaction)
                .await
                .expect("a row");
        }
        transaction.commit().await.expect("a commit");
    }
    started.elapsed()
}

/// A revision of `count` resources in meshes of [`PER_MESH`].
fn desired(count: usize) -> Desired {
    let files: Vec<(Arc<str>, Vec<u8>)> = (0..count / PER_MESH)
        .map(|mesh| {
            let mut text = format!("type: Mesh\nname: mesh-{mesh}\nmtls: {{enabled: true}}\n");
            for n in 1..PER_MESH {
                write!(
                    text,
                    "---\ntype: TrafficPermission\nmesh: mesh-{mesh}\nname: allow-{n}\n\
                     sources: [{{match: {{service: web-{n}}}}}]\n\
                     destinations: [{{match: {{service: backend-{n}}}}}]\n"
                )
                .expect("a string takes all");
            }
            (Arc::from(format!("mesh-{mesh}.yaml")), text.into_bytes())
        })
        .collect();
    let mut manifest = manifest::parse(&files, "default".parse().expect("a name"));
    manifest.set_revision(Some(REVISION.parse().expect("a revision")));
    assert_eq!(manifest.diagnostics(), []);
    manifest.desired().clone()
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed(), result)
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
