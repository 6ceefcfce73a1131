//! State of the world of the types that are no secrets.

use super::aggregate::*;

#[test]
fn a_wildcard_gets_all_there_is_in_one_response_and_the_ack_gets_none() {
    let mut proxy = Whole::new("c:a1 c:b1");
    assert_eq!(proxy.wants(CDS, &[]), ["send c:a1 c:b1"]);
    assert_eq!(proxy.acks(CDS), ["ack c:a1 c:b1"]);
    assert!(proxy.acks(CDS).is_empty(), "a repeated ACK is no news");
    assert!(proxy.talk.events().is_empty());
}

#[test]
fn the_first_request_is_answered_also_when_there_is_nothing() {
    for kind in [CDS, LDS] {
        for names in [&[] as &[&str], &["*"], &["a"]] {
            let mut proxy = Whole::new("");
            assert_eq!(proxy.wants(kind, names), [format!("send no {kind}")]);
            assert_eq!(proxy.acks(kind), ["ack "]);
            assert!(proxy.talk.events().is_empty());
        }
    }
}

#[test]
fn what_changes_comes_or_goes_is_told_in_the_state_as_a_whole() {
    let mut proxy = Whole::new("l:a1 l:b1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    for (words, sent) in [
        ("l:a2 l:b1", "send l:a2 l:b1"),
        ("l:a2 l:b1 l:c1", "send l:a2 l:b1 l:c1"),
        ("l:a2 l:c1", "send l:a2 l:c1"),
        ("", "send no listener"),
        ("l:a2", "send l:a2"),
    ] {
        assert_eq!(proxy.sees(words), [sent]);
        proxy.acks(LDS);
        assert!(proxy.sees(words).is_empty());
    }
}

#[test]
fn a_change_of_another_type_is_not_told() {
    let mut proxy = Whole::new("c:a1 e:a1 l:a1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    assert!(proxy.sees("c:a2 e:a2 l:a1 ca1").is_empty());
}

#[test]
fn named_listeners_are_those_and_missing_ones_are_left_out_until_they_exist() {
    let mut proxy = Whole::new("l:a1 l:b1");
    assert_eq!(proxy.wants(LDS, &["a", "x"]), ["send l:a1"]);
    proxy.acks(LDS);
    assert!(proxy.sees("l:a1 l:b2").is_empty());
    assert_eq!(proxy.sees("l:a1 l:b2 l:x1"), ["send l:a1 l:x1"]);
    proxy.acks(LDS);
    assert_eq!(proxy.wants(LDS, &["a", "x", "y"]), ["send l:a1 l:x1"]);
}

#[test]
fn once_named_no_names_are_none() {
    let mut proxy = Whole::new("l:a1 l:b1");
    proxy.wants(LDS, &["a"]);
    proxy.acks(LDS);
    assert!(proxy.wants(LDS, &[]).is_empty());
    assert!(proxy.sees("l:a2 l:b2").is_empty());
    assert_eq!(proxy.wants(LDS, &["a"]), ["send l:a2"]);
}

#[test]
fn a_wildcard_that_names_becomes_those_names_and_a_star_makes_it_one_again() {
    let mut proxy = Whole::new("l:a1 l:b1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    assert!(proxy.wants(LDS, &["a"]).is_empty(), "it has that");
    assert!(proxy.sees("l:a1 l:b2").is_empty());
    assert_eq!(proxy.wants(LDS, &["*", "a"]), ["send l:a1 l:b2"]);
    proxy.acks(LDS);
    assert_eq!(proxy.sees("l:a1 l:b3"), ["send l:a1 l:b3"]);
}

#[test]
fn endpoints_come_by_name_and_only_what_is_due() {
    let mut proxy = Whole::new("e:a1 e:b1");
    assert!(proxy.wants(EDS, &["x"]).is_empty());
    assert_eq!(proxy.wants(EDS, &["a", "b", "x"]), ["send e:a1 e:b1"]);
    proxy.acks(EDS);
    assert_eq!(proxy.sees("e:a1 e:b2"), ["send e:b2"]);
    proxy.acks(EDS);
    assert_eq!(proxy.sees("e:a1 e:b2 e:x1"), ["send e:x1"]);
    proxy.acks(EDS);
    assert!(proxy.sees("e:a1").is_empty(), "they are not taken back");
}

#[test]
fn endpoints_and_routes_have_no_wildcard() {
    for kind in [EDS, RDS] {
        for names in [&[] as &[&str], &["*"]] {
            let mut proxy = Whole::new("e:a1");
            assert!(proxy.wants(kind, names).is_empty());
        }
    }
}

#[test]
fn dropped_endpoints_that_come_back_are_sent_again() {
    let mut proxy = Whole::new("e:a1 e:b1");
    proxy.wants(EDS, &["a", "b"]);
    proxy.acks(EDS);
    assert!(proxy.wants(EDS, &["a"]).is_empty());
    assert!(proxy.sees("e:a1 e:b2").is_empty());
    assert_eq!(proxy.wants(EDS, &["a", "b"]), ["send e:b2"]);
}

#[test]
fn only_the_newest_of_several_changes_is_sent_and_stale_nonces_are_ignored() {
    let mut proxy = Whole::new("l:a1");
    proxy.wants(LDS, &[]);
    let first = proxy.talk.last_of(LDS).clone();
    assert_eq!(proxy.sees("l:a2"), ["await"]);
    assert_eq!(proxy.sees("l:a3"), ["await"]);
    assert_eq!(proxy.talk.is_silent(), ["send l:a3"]);
    assert!(proxy.answers_to(&first, Answer::Ack).is_empty());
    assert!(proxy.answers_to(&first, Answer::Nack).is_empty());
    assert_eq!(proxy.acks(LDS), ["ack l:a3"]);
}

#[test]
fn a_nonce_of_one_type_answers_no_other() {
    let mut proxy = Whole::new("c:a1 l:a1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    proxy.wants(CDS, &[]);
    let mut crossed = proxy.talk.last_of(CDS).clone();
    crossed.kind = LDS;
    assert!(proxy.answers_to(&crossed, Answer::Nack).is_empty());
    assert_eq!(proxy.acks(CDS), ["ack c:a1"]);
    let nonces: Vec<_> = proxy.talk.sent.iter().map(|it| &it.nonce).collect();
    assert_eq!(nonces, ["1", "2"]);
}

#[test]
fn a_rejected_state_is_not_repeated_and_a_good_one_is_sent() {
    for (kind, bad, good) in [
        (CDS, "c:a1 c:b1", "c:a1 c:b2"),
        (EDS, "e:a1 e:b1", "e:a1 e:b2"),
        (LDS, "l:a1 l:b1", "l:a1 l:b2"),
    ] {
        let mut proxy = Whole::new(bad);
        assert_eq!(proxy.wants(kind, &["a", "b"]), [format!("send {bad}")]);
        assert_eq!(proxy.nacks(kind), [format!("nack {bad}: bad")]);
        assert!(proxy.nacks(kind).is_empty(), "the first answer counts");
        assert!(proxy.sees(bad).is_empty());
        let mut next = proxy.sees(good).concat();
        if kind == EDS {
            // What changed comes first.
            next = next.replace("e:b2 e:a1", "e:a1 e:b2");
        }
        assert_eq!(next, format!("send {good}"), "also what was not at fault");
        assert_eq!(proxy.acks(kind).len(), 1);
        assert!(proxy.sees(good).is_empty());
    }
}

#[test]
fn back_to_what_was_before_a_rejection_is_a_change() {
    let mut proxy = Whole::new("l:a1");
    proxy.wants(LDS, &[]);
    proxy.acks(LDS);
    proxy.sees("l:a2");
    proxy.nacks(LDS);
    assert_eq!(proxy.sees("l:a1"), ["send l:a1"]);
}

#[test]
fn endpoints_are_split_at_a_megabyte_and_a_whole_state_is_not() {
    let many: Vec<String> = (0..30)
        .map(|index| format!("{index:05}") + &"0".repeat(100_000))
        .collect();
    for (kind, letter, responses) in [(EDS, 'e', 3), (LDS, 'l', 1)] {
        let name = |index: usize| format!("{}x", char::from(b'a' + u8::try_from(index).unwrap()));
        let words = many.iter().enumerate();
        let words: Vec<_> = words
            .map(|(i, it)| format!("{letter}:{}{it}", name(i)))
            .collect();
        let names: Vec<_> = (0..many.len()).map(name).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut proxy = Whole::new(&words.join(" "));
        proxy.wants(kind, &names);
        while !proxy.acks(kind).is_empty() {}
        assert_eq!(proxy.talk.sent.len(), responses);
        let sent = proxy.talk.sent.iter().map(|it| it.resources.len());
        assert_eq!(sent.sum::<usize>(), many.len());
    }
}
