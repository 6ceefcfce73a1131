//! Who reconciles, and who does when that one is gone.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::windlass;
use crate::support::{Cluster, Daemon, Site, http, wait};

/// How soon another replica has to have done what the dead one did not.
const LIMIT: Duration = Duration::from_secs(10);

const PERMISSION: &str = "type: TrafficPermission\nmesh: default\nname: new-one\n\
    sources: [{match: {service: web}}]\ndestinations: [{match: {service: echo}}]\n";

fn site(replicas: usize) -> Site {
    Site::from_examples().on(Some(Cluster::of(replicas)))
}

/// The number of the one that reconciles, and of another.
fn roles(daemon: &Daemon) -> (usize, usize) {
    let leader = wait::until("a replica that reconciles", || daemon.leader());
    (leader, 1 - leader)
}

fn names(status: &Value) -> Vec<(String, bool)> {
    let all = status["replicas"].as_array().expect("replicas").iter();
    let living = all.filter(|it| it["silentSince"].is_null());
    let of = |it: &Value| {
        (
            it["name"].as_str().unwrap_or_default().to_owned(),
            it["leads"] == true,
        )
    };
    living.map(of).collect()
}

#[expect(clippy::print_stdout, reason = "the time is a result of the test")]
fn tell(what: &str, took: Duration) {
    println!("{what} took {took:?}");
}

#[test]
fn another_replica_reconciles_within_ten_seconds_of_a_kill() {
    let site = site(2);
    let mut daemon = site.start();
    let (leader, follower) = roles(&daemon);
    let commit = site
        .repo
        .commit(&[("default/new.yaml", Some(PERMISSION))], "the next commit");
    daemon.kill_replica(leader);
    let killed = Instant::now();
    // The one that is dead may have applied it still.
    let next = PERMISSION.replace("new-one", "another-one");
    let next = site
        .repo
        .commit(&[("default/another.yaml", Some(&next))], "and one more");
    assert_ne!(commit, next);
    let revision = format!("main@sha1:{next}");
    wait::within(LIMIT, "the commit to be applied", || {
        let status = daemon.replicas()[follower].status()?;
        if status["sources"][0]["appliedRevision"] == revision.as_str() {
            Ok(())
        } else {
            Err(format!("{status:#}\n{}", daemon.log()))
        }
    });
    tell("a failover", killed.elapsed());
    daemon.restart_replica(&site, leader);
    daemon.wait_until_applied(&next);
    wait::until("both to be known", || {
        let known = daemon.replicas().iter().map(|it| Ok(names(&it.status()?)));
        let known = known.collect::<Result<Vec<_>, String>>()?;
        let wanted = [
            ("cp-replica-0", follower == 0),
            ("cp-replica-1", follower == 1),
        ];
        let wanted = wanted.map(|(name, leads)| (name.to_owned(), leads));
        if known.iter().all(|it| *it == wanted) {
            Ok(())
        } else {
            Err(format!("{known:?}\n{}", daemon.log()))
        }
    });
    let text = daemon
        .cli(&["status"])
        .output()
        .expect("the program runs")
        .stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains(": reconciles and serves"), "{text}");
    assert!(text.contains(": serves\n"), "{text}");
}

#[test]
fn one_that_stands_still_is_followed_by_another_and_changes_nothing_when_it_goes_on() {
    let site = site(2);
    let daemon = site.start();
    let (leader, follower) = roles(&daemon);
    let leads = |number: usize, wanted: bool| {
        let leads = daemon.replicas()[number].metric("windlass_leader")? == 1;
        (leads == wanted).then_some(()).ok_or_else(|| daemon.log())
    };
    daemon.replicas()[leader].signal(Signal::STOP);
    let stopped = Instant::now();
    wait::within(LIMIT, "another to reconcile", || leads(follower, true));
    tell("a take-over", stopped.elapsed());
    let commit = site
        .repo
        .commit(&[("default/new.yaml", Some(PERMISSION))], "the next commit");
    let applied = |number: usize| {
        let status = daemon.replicas()[number].status()?;
        let revision = format!("main@sha1:{commit}");
        let is_applied = status["sources"][0]["appliedRevision"] == revision.as_str();
        is_applied
            .then_some(status["meshes"][0]["generation"].clone())
            .ok_or_else(|| format!("{status:#}"))
    };
    let generation = wait::until("the commit to be applied", || applied(follower));
    daemon.replicas()[leader].signal(Signal::CONT);
    wait::until("the first to see that it no longer leads", || {
        leads(leader, false)
    });
    let seen = wait::until("the first to serve the commit", || applied(leader));
    assert_eq!(seen, generation, "nothing was written again");
    assert_eq!(leads(follower, true), Ok(()));
}

#[test]
fn a_replica_that_is_asked_to_stop_lets_another_reconcile_at_once() {
    let site = site(2);
    let mut daemon = site.start();
    let (leader, follower) = roles(&daemon);
    let asked = Instant::now();
    assert!(daemon.terminate_replica(leader).success());
    let commit = site
        .repo
        .commit(&[("default/new.yaml", Some(PERMISSION))], "the next commit");
    let revision = format!("main@sha1:{commit}");
    wait::within(LIMIT, "the commit to be applied", || {
        let status = daemon.replicas()[follower].status()?;
        if status["sources"][0]["appliedRevision"] == revision.as_str() && names(&status).len() == 1
        {
            Ok(())
        } else {
            Err(format!("{status:#}\n{}", daemon.log()))
        }
    });
    tell("a hand-over", asked.elapsed());
}

#[test]
fn any_replica_takes_calls_and_the_one_that_reconciles_hears_of_them() {
    let site = site(2);
    let daemon = site.start();
    let (leader, follower) = roles(&daemon);
    let api = |number: usize| daemon.replicas()[number].listeners().api.clone();
    let path = "/meshes/default/traffic-permissions/by-hand";
    let body = json!({"type": "TrafficPermission", "mesh": "default", "name": "by-hand",
        "sources": [{"match": {"service": "web"}}], "destinations": [{"match": {"service": "*"}}]});
    let answer = http::put(&api(follower), path, &body).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.body);
    let served = http::get(&api(follower), path).expect("an answer");
    assert_eq!(served.status, 200, "it is served where it was written");
    wait::until("the other one to serve it", || {
        http::get(&api(leader), path)?.ok()
    });

    let passes = || {
        let results = ["unchanged", "applied", "held_back"];
        let of = |it| format!("windlass_reconcile_total{{result=\"{it}\"}}");
        let count = |it| {
            daemon.replicas()[leader]
                .metric(&of(it))
                .unwrap_or_default()
        };
        results.map(count).iter().sum::<u64>()
    };
    let before = passes();
    let answer = http::post(&api(follower), "/sync", &Value::Null).expect("an answer");
    assert_eq!(answer.status, 202, "{}", answer.body);
    wait::until("a pass of the one that reconciles", || {
        (passes() > before)
            .then_some(())
            .ok_or_else(|| daemon.log())
    });
}

#[test]
fn a_second_replica_of_the_same_name_does_not_start() {
    let site = site(1);
    let daemon = site.start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = windlass()
        .args(["run", "--config"])
        .arg(site.config())
        .arg("--state-dir")
        .arg(folder.path())
        .envs(site.settings().iter().cloned())
        .env("WINDLASS_GENERAL_INSTANCE_ID", "cp-replica-0")
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("another replica called cp-replica-0 runs on this store"),
        "{text}"
    );
    assert!(daemon.status().is_ok());
}
