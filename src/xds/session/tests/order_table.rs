//! Make before break, across the types of a stream.

use super::aggregate::*;

/// A proxy with a cluster, its endpoints and a listener that uses it.
fn settled_whole() -> Whole {
    let mut proxy = Whole::new("c:a1 e:a1 l:a1");
    assert_eq!(proxy.wants(CDS, &[]), ["send c:a1"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1"]);
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a1"]);
    assert_eq!(proxy.acks(EDS), ["ack e:a1"]);
    assert_eq!(proxy.wants(LDS, &[]), ["send l:a1"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a1"]);
    proxy
}

fn settled_parts() -> Parts {
    let mut proxy = Parts::new("c:a1 e:a1 l:a1");
    assert_eq!(proxy.wants(CDS, &[]), ["send c:a1"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1"]);
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a1"]);
    assert_eq!(proxy.acks(EDS), ["ack e:a1"]);
    assert_eq!(proxy.wants(LDS, &[]), ["send l:a1"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a1"]);
    proxy
}

#[test]
fn clusters_endpoints_listeners_in_this_order() {
    let both = "c:a1 c:b1 e:a1 e:b1 l:a2";
    let mut whole = settled_whole();
    assert_eq!(whole.sees(both), ["send c:a1 c:b1", "await"]);
    assert_eq!(whole.acks(CDS), ["ack c:a1 c:b1", "await"]);
    assert_eq!(whole.wants(EDS, &["a", "b"]), ["send e:b1", "await"]);
    assert_eq!(whole.acks(EDS), ["ack e:b1", "send l:a2"]);
    assert_eq!(whole.acks(LDS), ["ack l:a2"]);

    let mut parts = settled_parts();
    assert_eq!(parts.sees(both), ["send c:b1", "await"]);
    assert_eq!(parts.acks(CDS), ["ack c:b1", "await"]);
    assert_eq!(parts.wants(EDS, &["b"]), ["send e:b1", "await"]);
    assert_eq!(parts.acks(EDS), ["ack e:b1", "send l:a2"]);
    assert_eq!(parts.acks(LDS), ["ack l:a2"]);
}

#[test]
fn endpoints_wait_for_no_cluster_for_envoy_answers_once_it_has_them() {
    let mut whole = settled_whole();
    whole.sees("c:a1 c:b1 e:a1 e:b1 l:a2");
    assert_eq!(whole.wants(EDS, &["a", "b"]), ["send e:b1", "await"]);
    assert_eq!(whole.acks(EDS), ["ack e:b1", "await"]);
    assert_eq!(whole.acks(CDS), ["ack c:a1 c:b1", "send l:a2"]);

    let mut parts = settled_parts();
    parts.sees("c:a1 c:b1 e:a1 e:b1 l:a1");
    let more = "c:a1 c:b1 c:c1 e:a1 e:b1 e:c1 l:a2";
    assert_eq!(parts.sees(more), ["await"], "it has not said anything yet");
    assert_eq!(parts.wants(EDS, &["b"]), ["send e:b1", "await"]);
    assert_eq!(parts.acks(EDS), ["ack e:b1", "await"]);
    assert_eq!(parts.acks(CDS), ["ack c:b1", "send c:c1", "await"]);
}

#[test]
fn a_listener_waits_no_longer_than_its_patience() {
    let mut proxy = settled_parts();
    proxy.sees("c:a1 c:b1 e:a1 e:b1 l:a2");
    assert_eq!(proxy.acks(CDS), ["ack c:b1", "await"]);
    assert_eq!(proxy.talk.is_silent(), ["send l:a2"], "nobody asks for `b`");
    assert_eq!(proxy.acks(LDS), ["ack l:a2"]);
    assert_eq!(proxy.sees("c:a1 c:b1 e:a1 e:b1 l:a3"), ["send l:a3"]);

    let mut proxy = settled_parts();
    proxy.sees("c:a1 c:b1 e:a1 l:a2");
    assert_eq!(proxy.talk.is_silent(), ["send l:a2"], "no answer at all");
}

#[test]
fn a_cluster_without_endpoints_to_ask_for_holds_nothing_up() {
    let mut proxy = settled_parts();
    proxy.sees("c:a1 c:b1 e:a1 l:a2");
    assert_eq!(proxy.acks(CDS), ["ack c:b1", "send l:a2"]);
}

#[test]
fn a_rejected_cluster_holds_no_listener_back() {
    let mut whole = settled_whole();
    whole.sees("c:a1 c:b1 e:a1 e:b1 l:a2");
    assert_eq!(whole.nacks(CDS), ["nack c:a1 c:b1: bad", "send l:a2"]);
    let mut parts = settled_parts();
    parts.sees("c:a1 c:b1 e:a1 e:b1 l:a2");
    assert_eq!(parts.nacks(CDS), ["nack c:b1: bad", "send l:a2"]);
}

#[test]
fn rejected_endpoints_hold_no_listener_back() {
    let mut proxy = settled_parts();
    assert_eq!(proxy.sees("c:a1 e:a2 l:a2"), ["send e:a2", "await"]);
    assert_eq!(proxy.nacks(EDS), ["nack e:a2: bad", "send l:a2"]);
}

#[test]
fn a_cluster_goes_after_the_listener_that_used_it() {
    let mut whole = Whole::new("c:a1 c:b1 l:a1");
    whole.wants(CDS, &[]);
    whole.acks(CDS);
    whole.wants(LDS, &[]);
    whole.acks(LDS);
    assert_eq!(whole.sees("c:a1 l:a2"), ["send l:a2"]);
    assert_eq!(whole.acks(LDS), ["ack l:a2", "send c:a1"]);
    assert_eq!(whole.acks(CDS), ["ack c:a1"]);

    let mut parts = settled_parts();
    assert_eq!(parts.sees("l:a2"), ["send l:a2"]);
    assert_eq!(parts.acks(LDS), ["ack l:a2", "send -a"]);
    assert_eq!(parts.talk.last_of(CDS).removed.len(), 1);
    assert_eq!(parts.drops(EDS, &["a"]).len(), 0);
    assert_eq!(parts.acks(CDS), ["ack "]);
}

#[test]
fn endpoints_that_are_still_asked_for_go_after_their_cluster() {
    let mut proxy = settled_parts();
    proxy.sees("l:a2");
    proxy.acks(LDS);
    assert_eq!(proxy.acks(CDS), ["ack ", "send -a"]);
    assert_eq!(proxy.talk.last_of(EDS).removed.len(), 1);
}

#[test]
fn a_cluster_that_has_vanished_stays_in_the_state_until_its_listener_is_replaced() {
    let mut proxy = Whole::new("c:a1 c:b1 l:a1");
    proxy.wants(CDS, &[]);
    proxy.acks(CDS);
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    assert_eq!(proxy.sees("c:c1 l:a2"), ["send c:c1 c:a1 c:b1", "await"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1 c:b1 c:c1", "send l:a2"]);
    assert_eq!(proxy.nacks(LDS), ["nack l:a2: bad"], "nothing goes");
    assert_eq!(proxy.sees("c:c1 l:a3"), ["send l:a3"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a3", "send c:c1"]);
}

#[test]
fn a_rejected_listener_keeps_the_clusters_of_delta() {
    let mut proxy = settled_parts();
    proxy.sees("l:a2");
    assert_eq!(proxy.nacks(LDS), ["nack l:a2: bad"]);
    assert!(proxy.talk.is_silent().is_empty());
    assert_eq!(proxy.sees("l:a3"), ["send l:a3"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a3", "send -a"]);
}

#[test]
fn a_rejected_removal_of_a_listener_keeps_the_clusters_too() {
    let mut proxy = settled_parts();
    assert_eq!(proxy.sees(""), ["send -a"]);
    assert_eq!(proxy.talk.last_of(LDS).removed.len(), 1);
    assert_eq!(proxy.nacks(LDS), ["nack : bad"]);
    assert!(proxy.talk.is_silent().is_empty());
}

#[test]
fn a_cluster_that_comes_back_before_it_went_is_no_news() {
    let mut proxy = settled_whole();
    assert_eq!(proxy.sees("e:a1 l:a2"), ["send l:a2"]);
    assert!(proxy.sees("c:a1 e:a1 l:a2").is_empty());
    assert_eq!(proxy.acks(LDS), ["ack l:a2"]);
}

#[test]
fn a_changed_cluster_gets_its_endpoints_again_for_it_is_a_new_one_to_envoy() {
    let mut whole = settled_whole();
    let sent = ["send c:a2", "send e:a1"];
    assert_eq!(whole.sees("c:a2 e:a1 l:a1"), sent);
    assert_eq!(whole.acks(CDS), ["ack c:a2"]);
    assert_eq!(whole.acks(EDS), ["ack e:a1"]);
    let mut parts = settled_parts();
    let sent = ["send c:a2", "send e:a1", "await"];
    assert_eq!(parts.sees("c:a2 e:a1 l:a2"), sent);
    assert_eq!(parts.acks(CDS), ["ack c:a2", "await"]);
    assert_eq!(parts.acks(EDS), ["ack e:a1", "send l:a2"]);
}

#[test]
fn secrets_wait_for_nothing_and_hold_nothing_up() {
    let mut proxy = settled_whole();
    proxy.sees("ca1 id1 c:a1 c:b1 e:a1 l:a2");
    let both = ["mesh_ca", "identity_cert"];
    assert_eq!(proxy.wants(SDS, &both), ["send ca1", "await"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1 c:b1", "send l:a2", "await"]);
    assert_eq!(proxy.nacks(SDS), ["nack ca1: bad", "send id1"]);
}

#[test]
fn what_comes_with_a_listener_is_asked_for_in_any_order() {
    let mut proxy = Whole::new("c:a1 e:a1 l:a1");
    assert_eq!(proxy.wants(LDS, &[]), ["send l:a1"]);
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a1"]);
    assert_eq!(proxy.wants(CDS, &[]), ["send c:a1", "await"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a1", "await"]);
    assert_eq!(
        proxy.acks(EDS),
        ["ack ", "send e:a1"],
        "it is a new cluster"
    );
    assert_eq!(proxy.acks(EDS), ["ack e:a1"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1"]);
}
