//! Replicas and the store die again and again while commits come.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use windlass::model::{Current, HistoryEntry, MeshState};
use windlass::store::Store;
use windlass::store::postgres::PostgresStore;

use crate::support::repo::Repo;
use crate::support::sds::Caller;
use crate::support::{Cluster, Daemon, Envoy, Postgres, Site, wait};

/// How many times something dies.
const KILLS: usize = 200;
/// How fast commits come.
const PACE: Duration = Duration::from_millis(400);
/// The longest pause between two deaths.
const PAUSE: Duration = Duration::from_millis(400);
/// How soon after one proxy was served the next one comes.
const NEXT: Duration = Duration::from_millis(20);

fn files(number: usize) -> [(String, String); 2] {
    let mesh = "type: Mesh\nname: demo\nmtls: {enabled: true, ca: {builtin: {}}}\n";
    let resources = format!(
        "type: Dataplane\nmesh: demo\nname: dp-echo-1\nnetworking:\n  address: 127.0.0.1\n  \
         inbound: [{{port: 11011, servicePort: 11012, tags: {{service: echo}}}}]\n---\n\
         type: Dataplane\nmesh: demo\nname: dp-new-1\nnetworking:\n  address: 127.0.0.1\n  \
         inbound: [{{port: 11021, servicePort: 11022, tags: {{service: new}}}}]\n---\n\
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

/// How soon whoever comes is served, be it in the middle of an outage.
const SERVED: Duration = Duration::from_secs(10);

/// What is killed, and what has to go on meanwhile.
struct Chaos {
    seed: u64,
    rng: StdRng,
    site: Site,
    daemon: Daemon,
    envoy: Envoy,
    store: Arc<Mutex<Postgres>>,
    /// How many replicas and stores were killed.
    killed: (usize, usize),
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let cluster = Cluster::of_pods(3);
        let store = cluster.postgres();
        let first = files(0);
        let first = first
            .each_ref()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let site = Site::from_files(&first).on(Some(cluster));
        let daemon = site.start();
        let envoy = Envoy::start(&daemon, "demo", "dp-echo-1");
        let mut chaos = Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
            site,
            daemon,
            envoy,
            store,
            killed: (0, 0),
        };
        wait::until("a certificate", || chaos.holds_certificate());
        chaos
    }

    fn says(&self, what: &str) -> String {
        let (replicas, stores) = self.killed;
        format!("{what} (seed {:#x}, kill {})", self.seed, replicas + stores)
    }

    fn holds_certificate(&mut self) -> Result<(), String> {
        self.envoy.assert_running();
        let found = self.envoy.identities()?;
        if found.len() == 1 && found[0].uris == ["spiffe://demo/echo"] {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    }

    fn pause(&mut self) {
        let pause = self.rng.random_range(Duration::ZERO..PAUSE);
        // Nothing is awaited here: any moment will do.
        thread::park_timeout(pause);
    }

    /// Kills the store or a replica, and starts it again.
    fn kill(&mut self) {
        if self.rng.random_bool(0.25) {
            self.killed.1 += 1;
            self.store.lock().expect("the store").kill();
            self.pause();
            self.store.lock().expect("the store").restart();
            return;
        }
        self.killed.0 += 1;
        let victim = self.rng.random_range(0..3);
        // Somebody has to serve.
        wait::until(&self.says("another replica to serve"), || {
            let mut others = (0..3).filter(|it| *it != victim);
            let serves = others.any(|it| self.daemon.replicas()[it].ready().is_ok());
            serves.then_some(()).ok_or_else(|| self.daemon.log())
        });
        self.daemon.kill_replica(victim);
        self.daemon.restart_replica(&self.site, victim);
    }

    /// Checks that what was served before stays.
    fn check(&mut self) {
        let held = self.holds_certificate();
        assert_eq!(held, Ok(()), "{}", self.says("Envoy lost its certificate"));
    }

    /// What the store holds, and all of its history.
    fn stored(&self) -> (Current, Vec<HistoryEntry>) {
        let config = self.store.lock().expect("the store").config();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let store = PostgresStore::open(&config).await.expect("the store");
            let current = store.load().await.expect("what is current");
            (current, history(&store).await)
        })
    }
}

/// How those were served who came.
#[derive(Debug, Default)]
struct Visits {
    /// How long each waited.
    waited: Vec<Duration>,
    /// How many lost the replica that they were talking to, and came again.
    again: usize,
}

/// A proxy comes anew and asks for its secrets, one after the other, until it is
/// told to stop. As Envoy does, it comes again where its connection breaks.
fn visitor(caller: Caller, stopped: mpsc::Receiver<()>) -> JoinHandle<Visits> {
    thread::spawn(move || {
        let mut visits = Visits::default();
        loop {
            let came = Instant::now();
            let mut tries = 0;
            wait::within(SERVED, "someone who came anew to be served", || {
                tries += 1;
                caller.fetch().map(drop)
            });
            visits.waited.push(came.elapsed());
            visits.again += usize::from(tries > 1);
            if stopped.recv_timeout(NEXT) != Err(RecvTimeoutError::Timeout) {
                return visits;
            }
        }
    })
}

/// Commits until it is told to stop; the ids of the commits, from number 1 on.
fn committer(path: PathBuf, stopped: mpsc::Receiver<()>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let repo = Repo::open(&path);
        let mut ids = Vec::new();
        loop {
            ids.push(commit(&repo, ids.len() + 1));
            if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                return ids;
            }
        }
    })
}

#[test]
fn two_hundred_kills_of_replicas_and_of_the_store_lose_nothing_and_repeat_nothing() {
    let mut chaos = Chaos::new(0x0057_1e4d);
    let (stop, stopped) = mpsc::channel();
    let committer = committer(chaos.site.repo.path().to_owned(), stopped);
    let token = chaos.daemon.token("dp-new-1", "demo");
    let caller = Caller::new(&chaos.daemon, "demo", "dp-new-1", &token);
    let (leave, left) = mpsc::channel();
    let visitor = visitor(caller, left);
    let started = Instant::now();
    for _ in 0..KILLS {
        chaos.kill();
        chaos.pause();
        chaos.check();
        assert!(!visitor.is_finished(), "{}", chaos.says("not served"));
    }
    let took = started.elapsed();
    leave.send(()).expect("someone who listens");
    let mut visits = visitor.join().expect("all who came were served");
    visits.waited.sort_unstable();
    stop.send(()).expect("a committer that listens");
    let ids = committer.join().expect("a committer that did not fail");
    chaos
        .daemon
        .wait_until_applied(ids.last().expect("a commit"));

    let (current, history) = chaos.stored();
    let mesh = current.meshes.values().next().expect("the mesh");
    let said = chaos.says("the history is wrong");
    assert_eq!(number_of(mesh), ids.len(), "it did not converge: {said}");
    let generations: Vec<u64> = history.iter().map(|it| it.generation.0).collect();
    let all: Vec<u64> = (1..=current.generation.0).collect();
    assert_eq!(generations, all, "{said}");
    // Each revision once, in the order of the commits.
    let places = history.iter().map(|entry| {
        let commit = entry.revision.as_ref().map(|it| it.commit.to_string());
        ids.iter().position(|id| Some(id) == commit.as_ref())
    });
    let applied: Vec<usize> = places.flatten().collect();
    let distinct: BTreeSet<usize> = applied.iter().copied().collect();
    println!(
        "{:?} replicas and stores were killed in {took:?}; {} of {} commits were heads that were \
         applied, in {} writes",
        chaos.killed,
        distinct.len(),
        ids.len(),
        history.len(),
    );
    let waited = |part: usize| visits.waited[(visits.waited.len() - 1) * part / 1000];
    println!(
        "{} came anew, {} of them twice or more; half were served in {:?}, 99 % in {:?}, all in {:?}",
        visits.waited.len(),
        visits.again,
        waited(500),
        waited(990),
        waited(1000),
    );
    assert!(
        visits.waited.len() > KILLS,
        "too few came to prove anything"
    );
    assert!(
        applied.is_sorted(),
        "an earlier one later: {applied:?} {said}"
    );
    assert_eq!(distinct.len(), applied.len(), "twice: {applied:?} {said}");
    assert!(distinct.len() > KILLS / 10, "too little to prove anything");
}
