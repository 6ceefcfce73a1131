//! What a new stream makes of what the proxy says that it holds of the types
//! that are no secrets.

use super::aggregate::*;

#[test]
fn the_version_of_the_whole_is_believed() {
    for (kind, names, words) in [
        (CDS, &[] as &[&str], "c:a1 c:b1"),
        (LDS, &["*"], "l:b1 l:a1"),
        (LDS, &["a", "b"], "l:a1 l:b1"),
        (EDS, &["a", "b"], "e:b1 e:a1"),
    ] {
        let mut proxy = Whole::new(words);
        proxy.wants(kind, names);
        proxy.acks(kind);
        let version = proxy.talk.last_of(kind).version.clone();
        assert_eq!(version, super::aggregate::version(kind, words));
        let mut again = Whole::new(words);
        if kind == EDS {
            again.wants(CDS, &[]);
            again.acks(CDS);
        }
        let holds = again.returns(kind, names, &version);
        assert_eq!(holds.len(), 1);
        assert!(holds[0].starts_with("holds "), "{holds:?}");
        assert!(again.talk.events().is_empty());
    }
}

#[test]
fn another_version_of_the_whole_is_not() {
    for (kind, names, words, old) in [
        (CDS, &[] as &[&str], "c:a1 c:b1", "c:a1"),
        (CDS, &["a"], "c:a1", "c:a1 c:b1"),
        (EDS, &["a"], "e:a2", "e:a1"),
    ] {
        let mut proxy = Whole::new(words);
        let sent = proxy.returns(kind, names, &version(kind, old));
        assert_eq!(sent, [format!("send {words}")]);
    }
    let mut proxy = Whole::new("l:a1");
    assert_eq!(proxy.returns(LDS, &[], "nonsense"), ["send l:a1"]);
}

#[test]
fn the_empty_state_has_a_version_too() {
    let mut proxy = Whole::new("");
    proxy.wants(LDS, &[]);
    let version = proxy.talk.last_of(LDS).version.clone();
    let mut again = Whole::new("");
    assert_eq!(again.returns(LDS, &[], &version), ["holds "]);
}

#[test]
fn the_version_grows_with_what_was_accepted() {
    let mut proxy = Whole::new("e:a1");
    proxy.wants(EDS, &["a", "b"]);
    proxy.acks(EDS);
    proxy.sees("e:a1 e:b1");
    let version_of_both = proxy.talk.last_of(EDS).version.clone();
    assert_eq!(version_of_both, version(EDS, "e:a1 e:b1"));
    proxy.nacks(EDS);
    proxy.sees("e:a2 e:b1");
    let without = proxy.talk.last_of(EDS).version.clone();
    assert_eq!(
        without,
        version(EDS, "e:a2"),
        "no claim to what was rejected"
    );
}

#[test]
fn a_version_of_an_earlier_stream_is_for_the_first_request_only() {
    let mut proxy = Whole::new("e:a1 e:b1");
    let held = version(EDS, "e:a1");
    proxy.wants(CDS, &[]);
    proxy.acks(CDS);
    assert_eq!(proxy.returns(EDS, &["a"], &held), ["holds e:a1"]);
    assert_eq!(proxy.wants(EDS, &["a", "b"]), ["send e:b1"]);
}

#[test]
fn delta_believes_each_version_by_itself() {
    let mut proxy = Parts::new("e:a1 e:b2 e:c1");
    proxy.wants(CDS, &[]);
    proxy.acks(CDS);
    let events = proxy.returns(EDS, &["a", "b", "c", "x"], "e:a1 e:b1 e:y1");
    assert_eq!(events, ["holds e:a1", "send e:b2 e:c1 -x"]);
    proxy.acks(EDS);
    assert!(proxy.talk.events().is_empty());
}

#[test]
fn a_delta_wildcard_believes_and_takes_back_what_is_gone() {
    let mut proxy = Parts::new("l:a1 l:b2 l:c1");
    let events = proxy.returns(LDS, &[], "l:a1 l:b1 l:x1");
    assert_eq!(events, ["holds l:a1", "send l:b2 l:c1 -x"]);
    let mut proxy = Parts::new("l:a1");
    assert_eq!(proxy.returns(LDS, &["*"], "l:a1"), ["holds l:a1"]);
    let mut proxy = Parts::new("");
    assert_eq!(proxy.returns(LDS, &[], "l:a1"), ["send -a"]);
}

#[test]
fn what_a_named_subscription_held_and_is_gone_is_taken_back() {
    let mut proxy = Parts::new("");
    assert_eq!(proxy.returns(LDS, &["a"], "l:a1"), ["send -a"]);
}

#[test]
fn a_rejected_response_is_sent_to_the_next_stream() {
    let mut proxy = Parts::new("l:a1");
    proxy.wants(LDS, &[]);
    proxy.nacks(LDS);
    let mut again = Parts::new("l:a1");
    assert_eq!(again.returns(LDS, &[], ""), ["send l:a1"]);
}

#[test]
fn after_a_reconnect_a_cluster_is_taken_away_behind_the_listeners() {
    let mut proxy = Parts::new("c:a1 l:a2");
    let events = proxy.returns(CDS, &[], "c:a1 c:b1");
    assert_eq!(events, ["holds c:a1", "await"], "listeners may follow");
    assert_eq!(proxy.returns(LDS, &[], "l:a1"), ["send l:a2"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a2", "send -b"]);
}

#[test]
fn a_stream_without_listeners_keeps_a_cluster_for_a_moment_only() {
    let mut proxy = Parts::new("");
    assert_eq!(
        proxy.returns(CDS, &[], "c:b1"),
        ["send no cluster", "await"]
    );
    proxy.acks(CDS);
    assert_eq!(proxy.talk.is_silent(), ["send -b"]);
}

#[test]
fn endpoints_that_are_claimed_behind_a_cluster_that_was_sent_are_not_believed() {
    let words = "c:a2 c:b1 e:a1 e:b1";
    let mut parts = Parts::new(words);
    let events = parts.returns(CDS, &[], "c:a1 c:b1");
    assert_eq!(events, ["holds c:b1", "send c:a2"]);
    assert!(parts.talk.is_silent().is_empty());
    let events = parts.returns(EDS, &["a", "b"], "e:a1 e:b1");
    assert_eq!(events, ["holds e:b1", "send e:a1"]);

    let mut whole = Whole::new(words);
    let sent = whole.returns(CDS, &[], &version(CDS, "c:a1 c:b1"));
    assert_eq!(sent, ["send c:a2 c:b1"]);
    assert!(whole.talk.is_silent().is_empty());
    let sent = whole.returns(EDS, &["a", "b"], &version(EDS, words));
    assert_eq!(sent, ["send e:a1 e:b1"]);
}

#[test]
fn who_asks_for_endpoints_first_has_clusters_that_lack_them() {
    let words = "c:a2 c:b1 e:a1 e:b1 l:a2";
    let mut parts = Parts::new(words);
    let events = parts.returns(EDS, &["a"], "e:a1");
    assert_eq!(events, ["send e:a1"]);
    assert_eq!(parts.returns(LDS, &[], "l:a1"), ["await"]);
    assert_eq!(parts.acks(EDS), ["ack e:a1", "await"]);
    let events = parts.returns(CDS, &[], "c:a2");
    assert_eq!(events, ["holds c:a2", "send c:b1", "await"]);
    assert_eq!(parts.wants(EDS, &["b"]), ["send e:b1", "await"]);
    parts.acks(EDS);
    assert_eq!(parts.acks(CDS), ["ack c:b1", "send l:a2"]);

    let mut whole = Whole::new(words);
    let sent = whole.returns(EDS, &["a"], &version(EDS, "e:a1"));
    assert_eq!(sent, ["send e:a1"]);
    assert_eq!(whole.returns(LDS, &[], &version(LDS, "l:a1")), ["await"]);
    assert_eq!(whole.talk.is_silent(), ["send l:a2"], "not for ever");
}

#[test]
fn who_comes_back_with_everything_waits_for_nothing() {
    let words = "c:a1 e:a1 l:a1";
    let mut parts = Parts::new(words);
    assert_eq!(parts.returns(CDS, &[], words), ["holds c:a1"]);
    assert_eq!(parts.returns(EDS, &["a"], words), ["holds e:a1"]);
    assert_eq!(parts.returns(LDS, &[], words), ["holds l:a1"]);
    assert_eq!(parts.sees("c:a1 e:a1 l:a2"), ["send l:a2"]);
}
