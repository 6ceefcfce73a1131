//! Replicas and the store die again and again while commits come.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use windlass::model::{HistoryEntry, MeshState};
use windlass::store::Store;
use windlass::store::postgres::PostgresStore;

use crate::support::repo::Repo;
use crate::support::{Cluster, Daemon, Envoy, Site, sds, wait};

/// How many times something dies.
const KILLS: usize = 200;
/// How fast commits come.
const PACE: Duration = Duration::from_millis(400);
/// The longest pause between two deaths.
const PAUSE: Duration = Duration::from_millis(400);
/// How often a new connection is tried.
const NEW: usize = 10;

fn files(number: usize) -> [(String, String); 2] {
    let mesh = "type: Mesh\nname: demo\nmtls: {enabled: true, ca: {builtin: {}}}\n";
    let resources = format!(
        "type: Dataplane\nmesh: demo\nname: dp-echo-1\nnetworking:\n  address: 127.0.0.1\n  \
         inbound: [{{port: 11011, servicePort: 11012, tags: {{service: echo}}}}]\n---\n\
         type: TrafficPermission\nmesh: demo\nname: numbered\n\
         sources: [{{match: {{service: s{number}}}}}]\n\
         destinations: [{{match: {{service: '*'}}}}]\n"
    );
    [
        ("demo/mesh.yaml".to_owned(), mesh.to_owned()),
        ("demo/resources.yaml".to_owned(), resources),
    ]
}

fn commit(repo: &Repo, number: usize) -> String {
    let files = files(number);
    let files = files
        .each_ref()
        .map(|(name, text)| (name.as_str(), Some(text.as_str())));
    repo.commit(&files, &format!("commit {number}"))
}

/// The number that the mesh carries.
fn number_of(mesh: &MeshState) -> usize {
    let sources = mesh.permissions().flat_map(|it| &it.sources);
    let text: Vec<String> = sources.map(|it| format!("{it:?}")).collect();
    let digits: String = text.concat().chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// Whether a replica answers that it is ready.
fn is_ready(daemon: &Daemon, number: usize) -> bool {
    daemon.replicas()[number].ready().is_ok()
}

/// All of the history, oldest first.
async fn history(store: &PostgresStore) -> Vec<HistoryEntry> {
    let (mut before, mut all) = (None, Vec::new());
    loop {
        let page = store.history(before, 200).await.expect("the history");
        let Some(last) = page.last() else { break };
        before = Some(last.generation);
        all.extend(page);
    }
    all.reverse();
    all
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, from the first commit to the last look"
)]
fn two_hundred_kills_of_replicas_and_of_the_store_lose_nothing_and_repeat_nothing() {
    let seed = 0x0057_1e4d;
    let mut rng = StdRng::seed_from_u64(seed);
    let cluster = Cluster::of_pods(3);
    let store = cluster.store.clone();
    let first = files(0);
    let first = first
        .each_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    let site = Site::from_files(&first).on(Some(cluster));
    let mut daemon = site.start();
    let mut envoy = Envoy::start(&daemon, "demo", "dp-echo-1");
    let uri = "spiffe://demo/echo";
    let holds_certificate = |envoy: &mut Envoy| {
        envoy.assert_running();
        let found = envoy.identities()?;
        if found.len() == 1 && found[0].uris == [uri] {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    };
    wait::until("a certificate", || holds_certificate(&mut envoy));

    let (stop, stopped) = mpsc::channel::<()>();
    let path = site.repo.path().to_owned();
    let committer = thread::spawn(move || {
        let repo = Repo::open(&path);
        let (mut number, mut ids) = (0, Vec::new());
        loop {
            number += 1;
            ids.push(commit(&repo, number));
            if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                return (number, ids);
            }
        }
    });

    let started = Instant::now();
    let (mut replicas, mut stores) = (0, 0);
    for kill in 0..KILLS {
        let says = |what: &str| format!("{what} (seed {seed:#x}, kill {kill})");
        if rng.random_bool(0.25) {
            stores += 1;
            let mut store = store.lock().expect("the store");
            store.kill();
            thread::park_timeout(rng.random_range(Duration::ZERO..PAUSE));
            store.restart();
        } else {
            replicas += 1;
            let victim = rng.random_range(0..3);
            // Somebody has to serve.
            wait::until(&says("another replica to serve"), || {
                let others = (0..3).filter(|it| *it != victim);
                let serves = others.into_iter().any(|it| is_ready(&daemon, it));
                serves.then_some(()).ok_or_else(|| daemon.log())
            });
            daemon.kill_replica(victim);
            daemon.restart_replica(&site, victim);
        }
        thread::park_timeout(rng.random_range(Duration::ZERO..PAUSE));
        let held = holds_certificate(&mut envoy);
        assert_eq!(held, Ok(()), "{}", says("Envoy has lost its certificate"));
        if kill % NEW == 0 {
            wait::until(&says("a new connection to be served"), || {
                sds::fetch(&daemon, "demo", "dp-echo-1").map(drop)
            });
        }
    }
    let took = started.elapsed();
    stop.send(()).expect("a committer that listens");
    let (last, ids) = committer.join().expect("a committer that did not fail");
    let id = ids.last().expect("a commit");
    daemon.wait_until_applied(id);

    let config = store.lock().expect("the store").config();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (current, history) = runtime.block_on(async {
        let store = PostgresStore::open(&config).await.expect("the store");
        (
            store.load().await.expect("what is current"),
            history(&store).await,
        )
    });
    let mesh = current.meshes.values().next().expect("the mesh");
    assert_eq!(
        number_of(mesh),
        last,
        "it did not converge (seed {seed:#x})"
    );
    let generations: Vec<u64> = history.iter().map(|it| it.generation.0).collect();
    let all: Vec<u64> = (1..=current.generation.0).collect();
    assert_eq!(
        generations, all,
        "some write is not told of, or is told of twice (seed {seed:#x})"
    );
    // Each revision once, in the order of the commits.
    let places = history
        .iter()
        .filter(|it| !it.steps.is_empty())
        .map(|entry| {
            let commit = entry.revision.as_ref().map(|it| it.commit.to_string());
            ids.iter().position(|id| Some(id) == commit.as_ref())
        });
    let applied: Vec<usize> = places.flatten().collect();
    let distinct: BTreeSet<usize> = applied.iter().copied().collect();
    println!(
        "{replicas} kills of replicas and {stores} of the store in {took:?}; {} of {last} commits \
         were heads that were applied, in {} writes",
        distinct.len(),
        history.len(),
    );
    assert!(
        applied.is_sorted(),
        "a revision was applied after a later one: {applied:?}"
    );
    assert_eq!(
        distinct.len(),
        applied.len(),
        "a revision was applied twice: {applied:?}"
    );
    assert!(
        distinct.len() > KILLS / 10,
        "too little was applied to prove anything"
    );
}
