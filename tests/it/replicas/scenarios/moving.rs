//! A proxy comes to another replica, which need not have heard of all yet.

use serde_json::Value;
use windlass::dataplane::bootstrap::Protocol;

use crate::mesh::sent::{Pair, assert_sent_only_leaves};
use crate::support::daemon::{Replica, mesh};
use crate::support::{Cluster, DpRun, Site, wait};

#[test]
fn who_comes_to_another_replica_over_delta_is_sent_only_a_new_leaf() {
    Cluster::of(2).run(|| sent_by_another(Protocol::Delta));
}

#[test]
fn who_comes_to_another_replica_over_state_of_the_world_is_sent_only_a_new_leaf() {
    Cluster::of(2).run(|| sent_by_another(Protocol::StateOfTheWorld));
}

/// Waits until that replica alone has both proxies, and both have what it gave them.
fn wait_until_there(replica: &Replica, name: &str) {
    let is_there = |it: &Value| {
        it["replica"] == name
            && it["connectedSince"].is_string()
            && it["outOfSync"] == serde_json::json!([])
    };
    wait::until("both proxies", || {
        let status = replica.status()?;
        let insights = mesh(&status, "demo")["dataplanes"]["insights"].clone();
        let all = insights.as_array().into_iter().flatten();
        if all.filter(|it| is_there(it)).count() == 2 {
            Ok(())
        } else {
            Err(format!("{insights:#}\n{}", replica.log()))
        }
    });
}

fn sent_by_another(protocol: Protocol) {
    let mut pair = Pair::start(protocol);
    let (site, daemon) = (&pair.site, &mut pair.daemon);
    daemon.kill_replica(0);
    wait_until_there(&daemon.replicas()[1], "cp-replica-1");
    site.wait_until_trust_is_stored(2);
    daemon.restart_replica(site, 0);
    daemon.wait_until_ready();
    daemon.kill_replica(1);
    assert_sent_only_leaves(&daemon.replicas()[..1]);
}

#[test]
fn a_dataplane_that_one_replica_registered_is_let_in_by_any() {
    let site = Site::from_examples().on(Some(Cluster::of(2)));
    let daemon = site.start();
    for number in 0..10 {
        let name = format!("dp-new-{number}");
        let run = DpRun::new(&daemon, "default", &name).with_script("exit 0");
        let file = run.dir().join("dataplane.yaml");
        let document = format!(
            "type: Dataplane\nmesh: default\nname: {name}\nnetworking:\n  address: 127.9.9.9\n  \
             inbound: [{{port: {}, tags: {{service: new}}}}]\n",
            8000 + number
        );
        std::fs::write(&file, document).expect("a file");
        let file = file.to_str().expect("UTF-8").to_owned();
        let mut run = run.with(&["--dataplane-file", &file]).spawn();
        assert!(run.wait().success(), "{}", run.log());
    }
}
