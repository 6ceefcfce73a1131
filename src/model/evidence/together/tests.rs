use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Digest, Marks, Nack, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn record(replica: &str, connected: Option<i64>) -> ProxyEvidence {
    let id = DataplaneId {
        mesh: "demo".parse().unwrap(),
        name: "dp-1".parse().unwrap(),
    };
    ProxyEvidence {
        replica: Some(replica.into()),
        connected_since: connected.map(at),
        visit: 1,
        ..ProxyEvidence::none(id, at(0))
    }
}

fn proves(mut record: ProxyEvidence, part: Part, mark: u64, when: i64) -> ProxyEvidence {
    let at = at(when);
    record.asks.insert(part);
    record
        .acknowledged
        .insert(part, Acknowledgement { mark, at });
    record
}

fn whole(records: impl IntoIterator<Item = ProxyEvidence>) -> Arc<ProxyEvidence> {
    let records: Vec<_> = records.into_iter().map(Arc::new).collect();
    together(&records).unwrap()
}

#[test]
fn what_one_of_two_streams_has_not_proven_is_not_proven() {
    let a = proves(record("a", Some(1)), Part::Bundle, 7, 10);
    let b = proves(record("b", Some(2)), Part::Bundle, 5, 20);
    let known = whole([a.clone(), b]).acknowledged[&Part::Bundle];
    assert_eq!((known.mark, known.at), (5, at(20)));
    let mut silent = record("b", Some(2));
    silent.asks.insert(Part::Bundle);
    assert_eq!(whole([a.clone(), silent]).acknowledged, BTreeMap::new());
    // Who does not ask for it says nothing of it.
    let other = proves(record("b", Some(2)), Part::Leaf, 3, 20);
    let known = whole([a, other]);
    assert_eq!(known.acknowledged[&Part::Bundle].mark, 7);
    assert_eq!(known.acknowledged[&Part::Leaf].mark, 3);
    assert_eq!(known.asks, BTreeSet::from([Part::Bundle, Part::Leaf]));
}

#[test]
fn what_is_taken_over_says_no_more_than_what_the_proxy_may_hold() {
    let mut before = proves(record("a", None), Part::Bundle, 5, 10);
    before.left = Some(at(11));
    before.held_until = Some(at(99));
    let mut now = proves(record("b", Some(12)), Part::Bundle, 7, 12);
    assert_eq!(
        whole([before.clone(), now.clone()]).acknowledged[&Part::Bundle].mark,
        5,
        "nobody says that it came later"
    );
    now.follows.insert("a".into(), 1);
    let known = whole([before.clone(), now.clone()]);
    assert_eq!(known.acknowledged[&Part::Bundle].mark, 7);
    assert_eq!(known.held_until, Some(at(99)));
    assert_eq!(known.replica.as_deref(), Some("b"));
    // It is there again.
    before.visit = 2;
    let known = whole([before.clone(), now.clone()]);
    assert_eq!(known.acknowledged[&Part::Bundle].mark, 5);
    before.visit = 1;
    before.connected_since = Some(at(1));
    assert_eq!(whole([before, now]).acknowledged[&Part::Bundle].mark, 5);
}

#[test]
fn the_leaf_of_the_older_authority_counts() {
    let issuer = |name: &str| Some(crate::model::AuthorityId(Digest::of(name.as_bytes())));
    let mut a = proves(record("a", Some(1)), Part::Leaf, 1, 10);
    a.leaf_issuer = issuer("old");
    a.leaf_not_after = Some(at(50));
    let mut b = proves(record("b", Some(2)), Part::Leaf, 2, 10);
    b.leaf_issuer = issuer("new");
    b.leaf_not_after = Some(at(90));
    let known = whole([a, b]);
    assert_eq!(known.leaf_issuer, issuer("old"));
    assert_eq!(known.leaf_not_after, Some(at(90)));
}

#[test]
fn a_drain_that_is_not_told_is_the_long_one() {
    let mut short = record("a", Some(1));
    short.drain_seconds = Some(5);
    let known = whole([short.clone(), record("b", Some(2))]);
    assert_eq!(known.drain_seconds, None);
    let mut long = record("b", Some(2));
    long.drain_seconds = Some(3600);
    assert_eq!(whole([short, long]).drain_seconds, Some(3600));
}

prop_compose! {
    fn any_record()(
        replica in 0..4_u8,
        connected in proptest::option::of(0..5_i64),
        visit in 1..4_u64,
        follows in proptest::collection::btree_map(0..4_u8, 1..4_u64, 0..3),
        seen in 0..5_i64,
        parts in proptest::collection::btree_map(0..4_usize, (proptest::option::of(0..4_u64), 0..9_i64), 0..4),
        offered in 0..4_u64,
        held in proptest::option::of(0..99_i64),
        leaf in proptest::option::of((0..3_u8, 0..99_i64)),
        drain in proptest::option::of(0..900_u32),
        rejected in proptest::collection::vec(0..4_u8, 0..3),
        doubted in any::<bool>(),
        nack in proptest::option::of(0..9_i64),
    ) -> ProxyEvidence {
        let name = |number: u8| -> Arc<str> { format!("cp-{number}").into() };
        let mut it = record("", connected);
        it.replica = Some(name(replica));
        it.visit = visit;
        it.follows = follows.into_iter().filter(|(by, _)| *by != replica)
            .map(|(by, visit)| (name(by), visit)).collect();
        it.seen = at(seen);
        it.left = connected.is_none().then(|| at(seen));
        for (index, (mark, when)) in parts {
            let part = Part::ALL[index];
            it.asks.insert(part);
            if let Some(mark) = mark {
                it.acknowledged.insert(part, Acknowledgement { mark, at: at(when) });
            }
        }
        it.offered = Marks { bundle: offered, leaf: offered, inbounds: offered, outbounds: offered };
        it.held_until = held.map(at);
        if let Some((issuer, end)) = leaf {
            it.leaf_issuer = Some(crate::model::AuthorityId(Digest::of(&[issuer])));
            it.leaf_not_after = Some(at(end));
        }
        it.drain_seconds = drain;
        let mut rejected: Vec<_> = rejected.into_iter().map(|it| Digest::of(&[it])).collect();
        rejected.sort_unstable();
        rejected.dedup();
        if !rejected.is_empty() {
            it.rejected.insert("mesh_ca".to_owned(), rejected);
        }
        if doubted {
            it.doubted.insert("mesh_ca".to_owned());
        }
        it.last_nack = nack.map(|when| Nack {
            at: at(when), resource: "mesh_ca".to_owned(), message: String::new(),
        });
        it
    }
}

/// Records of different replicas, as stores keep them.
fn any_records() -> impl Strategy<Value = Vec<Arc<ProxyEvidence>>> {
    proptest::collection::vec(any_record(), 1..5).prop_map(|records| {
        let by_replica: BTreeMap<_, _> = (records.into_iter())
            .map(|it| (it.replica.clone(), Arc::new(it)))
            .collect();
        by_replica.into_values().collect()
    })
}

proptest! {
    #[test]
    fn their_order_and_how_often_each_is_told_do_not_matter(records in any_records(), turn in 0..4_usize) {
        let known = together(&records);
        let mut other = records.clone();
        other.rotate_left(turn % records.len());
        prop_assert_eq!(&together(&other), &known);
        other.reverse();
        prop_assert_eq!(&together(&other), &known);
        if records.len() > 1 {
            other.extend(records);
            prop_assert_eq!(&together(&other), &known);
        }
    }

    #[test]
    fn no_more_is_proven_than_by_each_that_counts_and_no_holder_is_lost(records in any_records()) {
        let known = together(&records).unwrap();
        let holds = |it: &ProxyEvidence| it.held_until.max(it.leaf_not_after);
        for it in &records {
            prop_assert!(holds(&known) >= holds(it));
            prop_assert!(it.connected_since.is_none() || known.connected_since.is_some());
            if records.iter().any(|by| by.replaces(it)) {
                continue;
            }
            prop_assert!(known.asks.is_superset(&it.asks));
            prop_assert!(known.doubted.is_superset(&it.doubted));
            for (secret, versions) in &it.rejected {
                prop_assert!(versions.iter().all(|it| known.rejected[secret].contains(it)));
            }
            for part in &it.asks {
                let (proven, by_it) = (known.acknowledged.get(part), it.acknowledged.get(part));
                prop_assert!(proven.map(|it| it.mark) <= by_it.map(|it| it.mark));
                prop_assert!(proven.is_none_or(|proven| by_it.is_some_and(|it| proven.at >= it.at)));
            }
            if it.connected_since.is_some() {
                let marks = Part::ALL.map(|part| (known.offered.of(part), it.offered.of(part)));
                prop_assert!(marks.iter().all(|(known, it)| known <= it));
            }
        }
    }
}
