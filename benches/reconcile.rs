//! What a look at the repository costs: with nothing new, and with one
//! changed file, in repositories of 100 and of 10,000 resources.
//!
//! `cargo bench --bench reconcile` prints the times of one run and how they
//! grow. The first must not grow at all; the second no more than reading the
//! Git tree does, which is measured beside it with nothing but libgit2.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints what it measures and has nobody to report an error to"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use git2::{IndexAddOption, Repository, RepositoryInitOptions, Signature};
use tokio::sync::Notify;
use windlass::config::SourceConfig;
use windlass::reconcile::{Parts, Reconciler};
use windlass::source::decryption::Identities;
use windlass::state::Publisher;
use windlass::store::Store;
use windlass::store::encryption::Vault;
use windlass::store::memory::MemoryStore;
use windlass::telemetry::Metrics;
use windlass::xds::evidence::EvidenceBoard;

/// Resources of a mesh, one file each, the Mesh among them.
const PER_MESH: usize = 100;
/// How often each look is measured; the best counts.
const ROUNDS: usize = 50;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let small = measure(100).await;
        let large = measure(10_000).await;
        println!("                        100 resources   10,000 resources   ratio");
        for (what, a, b) in [
            ("nothing new", small.nothing, large.nothing),
            ("one changed file", small.changed, large.changed),
            ("reading the Git tree", small.tree, large.tree),
        ] {
            println!(
                "{what:<22} {a:>14.1?} {b:>18.1?} {:>7.2}",
                b.as_secs_f64() / a.as_secs_f64()
            );
        }
        println!("aim: the first ratio 1, the second no more than the third");
    });
}

struct Measured {
    nothing: Duration,
    changed: Duration,
    tree: Duration,
}

async fn measure(resources: usize) -> Measured {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repository = make_repository(&folder.path().join("repo"), resources);
    let mut reconciler = reconciler(folder.path()).await;
    reconciler.pass().await;
    let mut measured = Measured {
        nothing: Duration::MAX,
        changed: Duration::MAX,
        tree: Duration::MAX,
    };
    for round in 0..ROUNDS {
        measured.nothing = measured.nothing.min(pass(&mut reconciler).await);
        let before = head_tree(&repository);
        change_one(&repository, round);
        measured.changed = measured.changed.min(pass(&mut reconciler).await);
        measured.tree = measured.tree.min(read_tree(&repository, before));
    }
    measured
}

async fn pass(reconciler: &mut Reconciler) -> Duration {
    let started = Instant::now();
    reconciler.pass().await;
    started.elapsed()
}

/// What finding and reading the changed file costs with libgit2 alone.
fn read_tree(repository: &Repository, before: git2::Oid) -> Duration {
    let repository = Repository::open(repository.path()).expect("the repository");
    let started = Instant::now();
    let old = repository.find_tree(before).expect("a tree");
    let new = repository
        .find_tree(head_tree(&repository))
        .expect("a tree");
    let diff = repository
        .diff_tree_to_tree(Some(&old), Some(&new), None)
        .expect("a diff");
    let mut bytes = 0;
    for delta in diff.deltas() {
        bytes += repository
            .find_blob(delta.new_file().id())
            .expect("a blob")
            .size();
    }
    assert!(bytes > 0);
    started.elapsed()
}

async fn reconciler(folder: &Path) -> Reconciler {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Arc::new(Vault::ephemeral());
    let current = Arc::new(store.load().await.expect("an empty store"));
    let parts = Parts {
        source: SourceConfig {
            repo: folder.join("repo").display().to_string(),
            branch: Some("main".to_owned()),
            path: ".".to_owned(),
            poll_interval: Duration::from_secs(30),
            decryption_identity: None,
        },
        name: "default".parse().expect("a name"),
        cache_dir: folder.join("cache"),
        identities: Identities::none(),
        issuing: windlass::ca::Issuing::default(),
        store: Arc::clone(&store),
        vault: Arc::clone(&vault),
        publisher: Arc::new(Publisher::new(store, vault)),
        evidence: Arc::new(EvidenceBoard::default()),
        metrics: Arc::new(Metrics::new()),
        look: Arc::new(Notify::new()),
        replica: "cp-0".into(),
        shared: false,
    };
    Reconciler::new(parts, current, None)
}

fn make_repository(path: &Path, resources: usize) -> Repository {
    let options = &mut RepositoryInitOptions::new();
    let repository = Repository::init_opts(path, options.initial_head("main")).expect("repository");
    for mesh in 0..resources / PER_MESH {
        let folder = path.join(format!("mesh-{mesh}"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(
            folder.join("mesh.yaml"),
            format!("type: Mesh\nname: mesh-{mesh}\n"),
        )
        .expect("a file");
        for n in 1..PER_MESH {
            fs::write(
                folder.join(format!("allow-{n}.yaml")),
                permission(mesh, n, "backend"),
            )
            .expect("a file");
        }
    }
    commit(&repository);
    repository
}

fn permission(mesh: usize, n: usize, destination: &str) -> String {
    format!(
        "type: TrafficPermission\nmesh: mesh-{mesh}\nname: allow-{n}\n\
         sources: [{{match: {{service: web-{n}}}}}]\n\
         destinations: [{{match: {{service: {destination}-{n}}}}}]\n"
    )
}

fn change_one(repository: &Repository, round: usize) {
    let folder = repository.workdir().expect("a working tree").join("mesh-0");
    let text = permission(0, 1, &format!("backend-{round}"));
    fs::write(folder.join("allow-1.yaml"), text).expect("a file");
    commit(repository);
}

fn commit(repository: &Repository) {
    let mut index = repository.index().expect("an index");
    index
        .add_all(["*"], IndexAddOption::DEFAULT, None)
        .expect("added files");
    index.write().expect("a written index");
    let tree = index.write_tree().expect("a tree");
    let tree = repository.find_tree(tree).expect("the tree");
    let parent = repository
        .head()
        .and_then(|head| head.peel_to_commit())
        .ok();
    let author = Signature::now("bench", "bench@windlass.invalid").expect("a signature");
    let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
    repository
        .commit(Some("HEAD"), &author, &author, "change", &tree, &parents)
        .expect("a commit");
}

fn head_tree(repository: &Repository) -> git2::Oid {
    let head = repository.head().and_then(|head| head.peel_to_commit());
    head.expect("a commit").tree_id()
}
