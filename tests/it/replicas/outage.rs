//! The store is away, and what is known is served.

use crate::support::repo::Repo;
use crate::support::{Cluster, Daemon, Site, http, sds, wait};

fn ready(daemon: &Daemon, wanted: impl Fn(&str) -> bool) {
    for replica in daemon.replicas() {
        wait::until("what /ready says", || {
            let text = replica.ready()?;
            if wanted(&text) {
                Ok(())
            } else {
                Err(format!("{text}\n{}", daemon.log()))
            }
        });
    }
}

fn commit(repo: &Repo, name: &str) -> String {
    let text = format!(
        "type: TrafficPermission\nmesh: default\nname: {name}\n\
         sources: [{{match: {{service: web}}}}]\ndestinations: [{{match: {{service: echo}}}}]\n"
    );
    repo.commit(&[(&format!("default/{name}.yaml"), Some(&text))], name)
}

#[test]
fn replicas_that_lose_the_store_serve_on_and_say_so() {
    let cluster = Cluster::of(2);
    let store = cluster.postgres();
    let site = Site::from_examples().on(Some(cluster));
    let daemon = site.start();
    let before = sds::fetch(&daemon, "default", "dp-echo-1").expect("secrets");
    let up = |wanted: u64| {
        for replica in daemon.replicas() {
            wait::until("the metric of the store", || {
                let up = replica.metric("windlass_store_up")?;
                (up == wanted).then_some(()).ok_or(up.to_string())
            });
        }
    };
    let leaders = |wanted: u64| {
        wait::until("the metric of who reconciles", || {
            let replicas = daemon.replicas();
            let leading = replicas.iter().map(|it| it.metric("windlass_leader"));
            let sum: u64 = leading.sum::<Result<u64, String>>()?;
            (sum == wanted).then_some(()).ok_or(sum.to_string())
        });
    };
    ready(&daemon, |text| text == "OK\n");
    up(1);
    leaders(1);

    store.lock().expect("the store").kill();
    ready(&daemon, |text| {
        text.starts_with("OK\ndegraded: the store does not answer since ")
    });
    up(0);
    leaders(0);
    // Each of them, though the proxy is new to one.
    for _ in 0..2 {
        let secrets = sds::fetch(&daemon, "default", "dp-echo-1").expect("secrets");
        assert_eq!(secrets.bundle, before.bundle);
        sds::fetch(&daemon, "default", "dp-web-1").expect("secrets of another");
    }
    for replica in daemon.replicas() {
        let status = replica.status().expect("a status");
        assert_eq!(status["store"]["answers"], false, "{status:#}");
        assert!(status["store"]["lostSince"].is_string(), "{status:#}");
        assert_eq!(status["meshes"][0]["name"], "default");
    }
    let refused = http::post(&daemon.listeners().api, "/sync", &serde_json::Value::Null);
    assert_eq!(refused.expect("an answer").status, 503);
    let next = commit(&site.repo, "while-it-was-away");

    store.lock().expect("the store").restart();
    ready(&daemon, |text| text == "OK\n");
    up(1);
    daemon.wait_until_applied(&next);
    for replica in daemon.replicas() {
        let log = replica.log();
        let told = log
            .matches("the store does not answer; what was last known")
            .count();
        assert_eq!(told, 1, "once is enough:\n{log}");
    }
}
