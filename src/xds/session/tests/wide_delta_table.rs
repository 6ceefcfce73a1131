//! Incremental discovery of the types that are no secrets.

use super::aggregate::*;

#[test]
fn a_first_request_without_names_or_with_a_star_is_a_wildcard() {
    for names in [&[] as &[&str], &["*"]] {
        let mut proxy = Parts::new("c:a1 c:b1");
        assert_eq!(proxy.wants(CDS, names), ["send c:a1 c:b1"]);
        assert_eq!(proxy.acks(CDS), ["ack c:a1 c:b1"]);
        assert!(proxy.acks(CDS).is_empty());
    }
}

#[test]
fn a_wildcard_is_answered_also_when_there_is_nothing_and_only_once() {
    let mut proxy = Parts::new("");
    assert_eq!(proxy.wants(LDS, &[]), ["send no listener"]);
    assert_eq!(proxy.acks(LDS), ["ack "]);
    assert!(proxy.wants(LDS, &[]).is_empty());
    assert!(proxy.wants(LDS, &["*"]).is_empty(), "it has that");
}

#[test]
fn only_what_changed_comes_and_what_is_gone_is_named() {
    let mut proxy = Parts::new("l:a1 l:b1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    for (words, sent) in [
        ("l:a2 l:b1", "send l:a2"),
        ("l:a2 l:b1 l:c1", "send l:c1"),
        ("l:a3 l:c1", "send l:a3 -b"),
        ("", "send -a -c"),
        ("l:a3", "send l:a3"),
    ] {
        assert_eq!(proxy.sees(words), [sent]);
        assert_eq!(proxy.acks(LDS).len(), 1);
        assert!(proxy.sees(words).is_empty());
    }
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_gone_and_sent_once_it_exists() {
    for (kind, words) in [(CDS, "c:a1"), (EDS, "e:a1"), (LDS, "l:a1")] {
        let mut proxy = Parts::new("");
        assert_eq!(proxy.wants(kind, &["a"]), ["send -a"]);
        proxy.acks(kind);
        assert!(proxy.talk.events().is_empty());
        assert_eq!(proxy.sees(words), [format!("send {words}")]);
        proxy.acks(kind);
        assert!(proxy.sees(words).is_empty());
    }
    let mut proxy = Parts::new("");
    assert_eq!(proxy.wants(RDS, &["a"]), ["send -a"], "there are no routes");
    assert!(
        proxy.wants(SDS, &["mesh_ca"]).is_empty(),
        "no word of secrets"
    );
}

#[test]
fn names_are_added_dropped_and_taken_back() {
    let mut proxy = Parts::new("e:a1 e:b1");
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a1"]);
    proxy.acks(EDS);
    assert_eq!(proxy.wants(EDS, &["b"]), ["send e:b1"]);
    proxy.acks(EDS);
    assert!(proxy.drops(EDS, &["a"]).is_empty());
    assert_eq!(proxy.sees("e:a2 e:b2"), ["send e:b2"]);
    proxy.acks(EDS);
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a2"]);
    proxy.acks(EDS);
    assert_eq!(proxy.wants(EDS, &["a"]), ["send e:a2"], "it lost it");
}

#[test]
fn endpoints_and_routes_have_no_wildcard() {
    for kind in [EDS, RDS] {
        for names in [&[] as &[&str], &["*"]] {
            let mut proxy = Parts::new("e:a1");
            assert!(proxy.wants(kind, names).is_empty());
        }
    }
}

#[test]
fn after_the_star_is_dropped_names_beside_it_stay() {
    let mut proxy = Parts::new("l:a1 l:b1");
    assert_eq!(proxy.wants(LDS, &["*", "a"]), ["send l:a1 l:b1"]);
    proxy.acks(LDS);
    assert!(proxy.drops(LDS, &["*"]).is_empty());
    assert_eq!(proxy.sees("l:a2 l:b2"), ["send l:a2"]);
    proxy.acks(LDS);
    assert_eq!(proxy.wants(LDS, &["*"]), ["send l:b2"], "it has the other");
}

#[test]
fn the_wildcard_without_a_name_is_dropped_by_the_star_too() {
    let mut proxy = Parts::new("l:a1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    assert!(proxy.drops(LDS, &["*"]).is_empty());
    assert!(proxy.sees("l:a2").is_empty());
}

#[test]
fn a_name_dropped_beside_a_wildcard_is_answered_with_its_state() {
    let mut proxy = Parts::new("l:a1");
    assert_eq!(proxy.wants(LDS, &["*", "a", "x"]), ["send l:a1 -x"]);
    proxy.acks(LDS);
    assert_eq!(proxy.drops(LDS, &["a", "x"]), ["send l:a1 -x"]);
    proxy.acks(LDS);
    assert_eq!(proxy.sees("l:a2"), ["send l:a2"], "the wildcard has it");
}

#[test]
fn a_rejected_version_is_not_repeated_and_a_good_one_is_sent() {
    let mut proxy = Parts::new("l:a1");
    proxy.wants(LDS, &[]);
    assert_eq!(proxy.nacks(LDS), ["nack l:a1: bad"]);
    assert!(proxy.nacks(LDS).is_empty());
    assert!(proxy.sees("l:a1").is_empty());
    assert_eq!(proxy.sees("l:a1 l:b1"), ["send l:b1"]);
    proxy.acks(LDS);
    assert_eq!(proxy.sees("l:a2 l:b1"), ["send l:a2"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a2"]);
}

#[test]
fn what_was_rejected_in_company_goes_along_with_the_next() {
    let mut proxy = Parts::new("l:a1 l:b1");
    proxy.wants(LDS, &[]);
    proxy.nacks(LDS);
    assert!(proxy.sees("l:a1 l:b1").is_empty());
    assert_eq!(proxy.sees("l:a1 l:b2"), ["send l:b2 l:a1"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a1 l:b2"]);
}

#[test]
fn a_response_waits_for_the_answer_to_the_one_before() {
    let mut proxy = Parts::new("l:a1");
    proxy.wants(LDS, &[]);
    assert_eq!(proxy.sees("l:a2 l:b1"), ["await"]);
    assert_eq!(proxy.sees("l:a3"), ["await"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a1", "send l:a3"]);
}

#[test]
fn a_late_answer_counts_where_the_resource_was_not_superseded() {
    let mut proxy = Parts::new("l:a1 l:b1");
    proxy.wants(LDS, &[]);
    let first = proxy.talk.last_of(LDS).clone();
    assert_eq!(proxy.sees("l:a2 l:b1"), ["await"]);
    assert_eq!(proxy.talk.is_silent(), ["send l:a2"]);
    assert_eq!(proxy.answers_to(&first, Answer::Ack), ["ack l:b1"]);
    assert_eq!(proxy.acks(LDS), ["ack l:a2"]);
}

#[test]
fn a_large_batch_is_split_and_removals_come_with_the_last() {
    let big = "0".repeat(400_000);
    let mut proxy = Parts::new("l:x1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    let words: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|it| format!("l:{it}{big}"))
        .into();
    proxy.sees(&words.join(" "));
    while !proxy.acks(LDS).is_empty() {}
    let sent = proxy.talk.sent[1..].iter();
    let sent: Vec<_> = sent
        .map(|it| (it.resources.len(), it.removed.len()))
        .collect();
    assert_eq!(sent, [(2, 0), (2, 0), (1, 1)]);
}

#[test]
fn secrets_keep_a_response_each_beside_the_other_types() {
    let mut proxy = Parts::new("ca1 id1 c:a1 l:a1");
    assert_eq!(proxy.wants(CDS, &[]), ["send c:a1"]);
    let secrets = proxy.wants(SDS, &["mesh_ca", "identity_cert"]);
    assert_eq!(secrets, ["send ca1", "send id1"], "they wait for nothing");
    assert_eq!(proxy.wants(LDS, &[]), ["await"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1", "send l:a1"], "nor does it");
}
