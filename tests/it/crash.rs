//! kill -9 at any moment loses nothing and tears nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use windlass::model::{AuthorityId, AuthorityState, Current, Dataplane, MeshName, MeshState};
use windlass::store::Store;
use windlass::store::sqlite::SqliteStore;

use crate::support::repo::Repo;
use crate::support::{Daemon, MeshCa, Site};

const KILLS: usize = 50;

/// How fast commits come: about as fast as one is applied.
const PACE: Duration = Duration::from_millis(15);

/// The meshes; every commit changes each of them in many places.
const MESHES: [&str; 3] = ["plain", "toggled", "swapped"];

/// The files of commit `number`. All that it says of a mesh carries the number,
/// so that a mesh out of two commits shows.
fn files(number: usize, provided_ca: &str) -> Vec<(String, String)> {
    let mut files = vec![("swapped/ca.yaml".to_owned(), provided_ca.to_owned())];
    for mesh in MESHES {
        let mtls = match mesh {
            "toggled" => format!(
                "{{enabled: {}, ca: {{builtin: {{}}}}}}",
                number.is_multiple_of(2)
            ),
            // The CA changes as it may: while mTLS is off.
            "swapped" if number.is_multiple_of(2) => {
                "{enabled: false, ca: {provided: {}}}".to_owned()
            }
            "swapped" => "{enabled: false, ca: {builtin: {}}}".to_owned(),
            _ => "{enabled: true}".to_owned(),
        };
        files.push((
            format!("{mesh}/mesh.yaml"),
            format!("type: Mesh\nname: {mesh}\nmtls: {mtls}\n"),
        ));
        let mut resources = format!(
            "type: TrafficPermission\nmesh: {mesh}\nname: numbered\n\
             sources: [{{match: {{service: s{number}}}}}]\n\
             destinations: [{{match: {{service: '*'}}}}]\n"
        );
        // Some stay and change, one goes and one comes.
        let names = (0..8).map(|index| format!("dp-{index}"));
        for name in names.chain([format!("dp-only-{number}")]) {
            let _ = write!(
                resources,
                "---\ntype: Dataplane\nmesh: {mesh}\nname: {name}\nnetworking:\n  \
                 address: 127.0.0.1\n  inbound: [{{port: 8080, tags: {{service: s{number}}}}}]\n"
            );
        }
        files.push((format!("{mesh}/resources.yaml"), resources));
    }
    files
}

fn commit(repo: &Repo, number: usize, provided_ca: &str) -> String {
    let files = files(number, provided_ca);
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(name, content)| (name.as_str(), Some(content.as_str())))
        .collect();
    repo.commit(&files, &format!("commit {number}"))
}

/// What the store holds once the daemon is gone, checked to be sound.
fn load(site: &Site) -> Current {
    let path = site.state_dir().join("windlass.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = SqliteStore::open(&path).await.expect("a store that opens");
        let current = store.load().await.expect("a store that is whole");
        for authority in current
            .meshes
            .values()
            .flat_map(|mesh| mesh.authorities.values())
        {
            let key = store
                .authority_key(&authority.id)
                .await
                .expect("a readable store");
            let revoked = matches!(authority.state, AuthorityState::Revoked { .. });
            assert_eq!(key.is_none(), revoked, "the key of {authority:?}");
        }
        store.close().await;
        current
    })
}

/// Checks that all of the mesh is of one commit, and returns which.
fn number_of(mesh: &MeshState) -> usize {
    let mut numbers: BTreeSet<String> = mesh
        .dataplanes()
        .filter_map(Dataplane::service)
        .map(|service| service.to_string())
        .collect();
    numbers.extend(
        mesh.permissions()
            .flat_map(|permission| &permission.sources)
            .map(|source| format!("{source:?}"))
            .map(|text| {
                text.chars()
                    .filter(char::is_ascii_digit)
                    .collect::<String>()
            })
            .map(|digits| format!("s{digits}")),
    );
    assert_eq!(numbers.len(), 1, "{} is torn: {numbers:?}", mesh.name);
    let number = numbers
        .first()
        .and_then(|service| service.strip_prefix('s'));
    let number = number
        .expect("a numbered service")
        .parse()
        .expect("a number");
    let names: Vec<String> = mesh
        .dataplanes()
        .map(|dataplane| dataplane.name.to_string())
        .collect();
    assert_eq!(names.len(), 9, "{}: {names:?}", mesh.name);
    assert!(
        names.contains(&format!("dp-only-{number}")),
        "{}: {names:?}",
        mesh.name
    );
    let actives = mesh
        .authorities
        .values()
        .filter(|authority| authority.state.is_trusted());
    assert!(actives.count() <= 1, "{} has too many roots", mesh.name);
    number
}

/// The root that signs in each mesh that keeps its own.
fn roots(current: &Current) -> BTreeMap<MeshName, AuthorityId> {
    let kept = current
        .meshes
        .values()
        .filter(|mesh| mesh.name.to_string() != "swapped");
    kept.filter_map(|mesh| Some((mesh.name.clone(), mesh.active_authority()?.id)))
        .collect()
}

#[test]
fn fifty_kills_while_commits_are_applied_leave_the_store_whole_and_it_converges() {
    let provided_ca = MeshCa::for_mesh("swapped").document("swapped", "root");
    let first = files(0, &provided_ca);
    let first: Vec<(&str, &str)> = first
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect();
    let site = Site::from_files(&first);

    // How long a start takes here, until all is applied.
    let start = Instant::now();
    site.start().kill9();
    let whole_start = start.elapsed();
    let before = load(&site);
    assert_eq!(before.meshes.len(), MESHES.len());
    let roots_before = roots(&before);
    assert!(roots_before.contains_key("plain"));

    let (stop, stopped) = mpsc::channel::<()>();
    let path = site.repo.path().to_owned();
    let committer = thread::spawn(move || {
        let repo = Repo::open(&path);
        let mut number = 0;
        loop {
            number += 1;
            let id = commit(&repo, number, &provided_ca);
            if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                return (number, id);
            }
        }
    });

    let mut rng = rand::rngs::StdRng::seed_from_u64(0x0057_1e4d);
    let mut seen = BTreeSet::new();
    for _ in 0..KILLS {
        let moment = rng.random_range(Duration::ZERO..whole_start * 2);
        let daemon = Daemon::spawn(&site);
        // Nothing is awaited here: any moment will do.
        thread::park_timeout(moment);
        daemon.kill9();
        let current = load(&site);
        seen.extend(current.meshes.values().map(|mesh| number_of(mesh)));
        assert_eq!(current.meshes.len(), MESHES.len());
        assert_eq!(roots(&current), roots_before, "a crash made another root");
    }
    assert!(
        seen.len() > KILLS / 5,
        "too little was applied to prove anything: {seen:?}"
    );

    stop.send(()).expect("a committer that listens");
    let (last, id) = committer.join().expect("a committer that did not fail");
    let daemon = site.start();
    daemon.wait_until_applied(&id);
    assert!(daemon.terminate().success());
    let after = load(&site);
    for mesh in after.meshes.values() {
        assert_eq!(number_of(mesh), last, "{} did not converge", mesh.name);
    }
    assert_eq!(roots(&after), roots_before);
}
