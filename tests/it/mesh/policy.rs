//! Who may call whom.

use std::time::Duration;

use super::network::{Network, permission};
use crate::support::echo::Talk;

/// How long a proxy may take to let go of connections: its drain time and some more.
const DRAIN: Duration = Duration::from_secs(20);

#[test]
pub(crate) fn web_reaches_backend_and_redis_only_while_a_commit_allows_it() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    network.wait_until_denied("demo", "redis");

    let allowed = permission("demo", "web", "redis");
    network.commit(
        &[("demo/web-to-redis.yaml", Some(&allowed))],
        "web may call redis",
    );
    network.wait_until_reached("demo", "redis");
    let redis = Talk::open(&network.outbound(0, "redis")).expect("a connection to redis");
    let mut backend = Talk::open(&network.outbound(0, "backend")).expect("a connection");

    // The revert ends what it no longer allows, and nothing else.
    network.commit(&[("demo/web-to-redis.yaml", None)], "it may not");
    redis
        .wait_until_closed(DRAIN)
        .expect("the connection to redis is ended");
    network.wait_until_denied("demo", "redis");
    assert_eq!(
        backend.say("still here?").as_deref(),
        Ok("backend of demo: still here?")
    );
    network.wait_until_reached("demo", "backend");
}

#[test]
pub(crate) fn a_permission_with_a_star_is_for_every_service_of_the_mesh() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_denied("demo", "redis");
    let anyone = permission("demo", "*", "redis");
    network.commit(
        &[("demo/any-to-redis.yaml", Some(&anyone))],
        "anyone may call redis",
    );
    network.wait_until_reached("demo", "redis");
    let anywhere = permission("demo", "web", "*");
    network.commit(
        &[
            ("demo/any-to-redis.yaml", None),
            ("demo/web-to-backend.yaml", None),
            ("demo/web-to-any.yaml", Some(&anywhere)),
        ],
        "web may call anyone",
    );
    network.wait_until_reached("demo", "redis");
    network.wait_until_reached("demo", "backend");
}

#[test]
pub(crate) fn two_meshes_with_the_same_service_names_do_not_mix() {
    let mut network = Network::of(&["demo", "other"]);
    network.start_proxies("demo");
    network.start_proxies("other");
    network.wait_until_reached("demo", "backend");
    let address = network.outbound(1, "backend");
    let mut talk = Talk::open(&address).expect("the backend of the other mesh");
    assert_eq!(talk.greeting, "this is backend of other");
    assert_eq!(talk.say("hello").as_deref(), Ok("backend of other: hello"));

    // What one mesh allows, the other does not.
    let allowed = permission("other", "web", "redis");
    network.commit(
        &[("other/web-to-redis.yaml", Some(&allowed))],
        "in the other mesh",
    );
    let mut talk = crate::support::wait::until("redis of the other mesh", || {
        Talk::open(&network.outbound(1, "redis"))
    });
    assert_eq!(talk.say("hello").as_deref(), Ok("redis of other: hello"));
    network.wait_until_denied("demo", "redis");
}
