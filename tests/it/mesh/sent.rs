//! What goes over the wire: only what changed, and only to whom it concerns.

use std::collections::BTreeMap;

use windlass::dataplane::bootstrap::Protocol;

use super::acceptance;
use super::network::{Network, mesh_document, own_address, permission};
use crate::support::daemon::Replica;
use crate::support::{Daemon, Envoy, Site, wait};

const TYPES: [&str; 4] = ["secret", "cluster", "endpoints", "listener"];

/// A counter of these together: any may have sent what a proxy got.
fn total(replicas: &[Replica], counter: &str) -> Result<u64, String> {
    replicas.iter().map(|it| it.metric(counter)).sum()
}

/// How many responses of each type these have sent, leaving out those they have not.
fn responses(replicas: &[Replica]) -> BTreeMap<&'static str, u64> {
    let sent = |kind| {
        let sample = format!("windlass_xds_responses_total{{type=\"{kind}\"}}");
        (kind, total(replicas, &sample).expect("a counter"))
    };
    let sent = TYPES.map(sent).into_iter();
    sent.filter(|(_, count)| *count > 0).collect()
}

/// How many responses of each type there are more than before.
fn more(daemon: &Daemon, before: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let since = |(kind, count): (&'static str, u64)| (kind, count - before.get(kind).unwrap_or(&0));
    let all = responses(daemon.replicas()).into_iter().map(since);
    all.filter(|(_, count)| *count > 0).collect()
}

/// Waits until every response has its answer.
fn settle(daemon: &Daemon) {
    wait::until("the answers", || {
        for replica in daemon.replicas() {
            let total = |what: &str| -> Result<u64, String> {
                let sample = |kind| format!("windlass_xds_{what}_total{{type=\"{kind}\"}}");
                TYPES.iter().map(|kind| replica.metric(&sample(kind))).sum()
            };
            let (acks, responses) = (total("acks")?, total("responses")?);
            let nacks = total("nacks")?;
            assert_eq!(nacks, 0, "{}", daemon.log());
            if acks < responses {
                return Err(format!("{acks} of {responses}"));
            }
        }
        Ok(())
    });
}

#[test]
pub(crate) fn a_change_is_sent_only_to_whom_it_concerns() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    settle(&network.daemon);

    let before = responses(network.daemon.replicas());
    let allowed = permission("demo", "web", "redis");
    network.commit(
        &[("demo/web-to-redis.yaml", Some(&allowed))],
        "web may call redis",
    );
    network.wait_until_reached("demo", "redis");
    settle(&network.daemon);
    assert_eq!(
        more(&network.daemon, &before),
        BTreeMap::from([("listener", 1)]),
        "the inbound of redis, and nothing else"
    );

    // One more place that offers redis: its endpoints, in the proxy of web.
    let updates = |network: &Network, service: &str| {
        let counter = format!("cluster.{service}.update_success");
        network.proxy("demo", "web").counter(&counter)
    };
    let before = responses(network.daemon.replicas());
    let (backend, redis) = (updates(&network, "backend"), updates(&network, "redis"));
    let another = format!(
        "type: Dataplane\nmesh: demo\nname: dp-redis-2\nnetworking:\n  address: {}\n  \
         inbound:\n    - {{port: 11050, tags: {{service: redis}}}}\n",
        network.host
    );
    network.commit(&[("demo/redis-2.yaml", Some(&another))], "another redis");
    wait::until("the endpoint", || {
        match network
            .proxy("demo", "web")
            .counter("cluster.redis.membership_total")?
        {
            2 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    settle(&network.daemon);
    assert_eq!(
        more(&network.daemon, &before),
        BTreeMap::from([("endpoints", 1)])
    );
    assert_eq!(updates(&network, "redis"), redis.map(|count| count + 1));
    assert_eq!(updates(&network, "backend"), backend);
}

#[test]
pub(crate) fn who_comes_back_over_delta_is_sent_only_a_new_leaf() {
    sent_after_a_restart(Protocol::Delta);
}

#[test]
pub(crate) fn who_comes_back_over_state_of_the_world_is_sent_only_a_new_leaf() {
    sent_after_a_restart(Protocol::StateOfTheWorld);
}

fn sent_after_a_restart(protocol: Protocol) {
    let pair = Pair::start(protocol);
    let (_, port) = pair
        .daemon
        .listeners()
        .xds
        .rsplit_once(':')
        .expect("a port");
    let site = pair.site.set("WINDLASS_XDS_PORT", port);
    pair.daemon.kill9();
    let daemon = site.start();
    assert_sent_only_leaves(daemon.replicas());
}

/// Two Envoys that call each other, with all they need.
pub(crate) struct Pair {
    pub(crate) site: Site,
    pub(crate) daemon: Daemon,
    _envoys: [Envoy; 2],
}

impl Pair {
    pub(crate) fn start(protocol: Protocol) -> Self {
        let host = own_address();
        let dataplane = |name: &str, port: u16, other: &str| {
            format!(
                "type: Dataplane\nmesh: demo\nname: {name}\nnetworking:\n  address: {host}\n  \
                 inbound:\n    - {{port: {port}, servicePort: 9, tags: {{service: {name}}}}}\n  \
                 outbound:\n    - {{address: {host}, port: {}, service: {other}}}\n    \
                 - {{address: {host}, port: {}, service: nobody}}\n",
                port + 100,
                port + 200,
            )
        };
        let site = Site::from_files(&[
            ("mesh.yaml", &mesh_document("demo", true)),
            ("one.yaml", &dataplane("one", 13001, "two")),
            ("two.yaml", &dataplane("two", 13002, "one")),
            ("allow.yaml", &permission("demo", "*", "*")),
        ]);
        let daemon = site.start();
        let mut envoys = ["one", "two"].map(|name| acceptance::start(&daemon, protocol, name));
        for envoy in &mut envoys {
            wait::until("listeners", || {
                envoy.assert_running();
                match envoy.counter("listener_manager.total_listeners_active")? {
                    3 => Ok(()),
                    _ => Err(envoy.log()),
                }
            });
        }
        settle(&daemon);
        site.wait_until_trust_is_stored(2);
        Self {
            site,
            daemon,
            _envoys: envoys,
        }
    }
}

/// Waits until both have come back to these, which were started since they had
/// gone, and checks that they were sent nothing that they had.
pub(crate) fn assert_sent_only_leaves(replicas: &[Replica]) {
    let log = || replicas.iter().map(Replica::log).collect::<String>();
    // Each of both proves that it has the bundle, clusters, endpoints and listeners.
    for kind in TYPES {
        let sample = format!("windlass_xds_acks_total{{type=\"{kind}\"}}");
        let least = if kind == "secret" { 4 } else { 2 };
        wait::until(&format!("the proxies to be back with {kind}"), || {
            let acks = total(replicas, &sample)?;
            if acks >= least {
                Ok(())
            } else {
                Err(format!("{acks}: {:?}\n{}", responses(replicas), log()))
            }
        });
    }
    // Keys of leaves live in memory, so there are new ones.
    let leaves = BTreeMap::from([("secret", 2)]);
    assert_eq!(responses(replicas), leaves, "{}", log());
}
