//! What is noted for people, and how it gets to the store.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::xds::evidence::record::MAX_VERSION;
use crate::xds::fixtures::store_of_web as store;
use crate::xds::resource::ResourceType;

const TYPES: [ResourceType; 3] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
];

fn restored(replica: &str) -> Arc<EvidenceBoard> {
    Arc::new(EvidenceBoard::restore(
        kept(Evidence::new()),
        replica,
        DAY,
        at(0),
    ))
}

async fn stored(store: &MemoryStore) -> Arc<ProxyEvidence> {
    let evidence = store.evidence().await.unwrap();
    evidence[&dataplane("web")].clone()
}

#[test]
fn a_connection_names_its_replica_and_the_end_of_its_token() {
    let board = restored("cp-0");
    let web = dataplane("web");
    let stream = board.connect(web.clone(), at(50), at(1));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.replica.as_deref(), Some("cp-0"));
    assert_eq!(evidence.token_expires_at, Some(at(50)));
    let renewed = board.connect(web.clone(), at(90), at(40));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.token_expires_at, Some(at(90)));
    assert_eq!(evidence.connected_since, Some(at(1)));
    board.forget(&web);
    drop((stream, renewed));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.replica.as_deref(), Some("cp-0"), "it was the last");
    assert_eq!(evidence.token_expires_at, Some(at(90)));

    let other = Arc::new(EvidenceBoard::restore(
        kept(board.snapshot()),
        "cp-1",
        DAY,
        at(99),
    ));
    assert_eq!(other.of(&web).unwrap().replica.as_deref(), Some("cp-0"));
    let _stream = connect(&other, web.clone(), at(100));
    assert_eq!(other.of(&web).unwrap().replica.as_deref(), Some("cp-1"));
}

#[test]
fn a_version_is_noted_and_a_rejection_is_forgiven_by_the_same_type_alone() {
    let board = board();
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    stream.accepted(&ca("a"), at(2));
    stream.acknowledged(ResourceType::Cluster, "c1", at(3));
    stream.refused(ResourceType::Listener, "no such filter", at(4));
    let evidence = board.of(&web).unwrap();
    let nack = evidence.last_nack.as_ref().unwrap();
    assert_eq!(
        (&*nack.resource, &*nack.message),
        ("listener", "no such filter")
    );
    assert_eq!(nack.at, at(4));
    assert_eq!(
        evidence.bundle,
        Some(bundle("a").id),
        "that is another matter"
    );

    stream.acknowledged(ResourceType::Cluster, "c2", at(5));
    stream.accepted(&ca("b"), at(5));
    assert!(board.of(&web).unwrap().last_nack.is_some());
    stream.acknowledged(ResourceType::Listener, "l2", at(6));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.last_nack, None);
    assert!(evidence.refused.is_empty());
    assert_eq!(evidence.seen, at(6));
    let versions: Vec<_> = (evidence.versions.iter())
        .map(|(name, version)| (&**name, &**version))
        .collect();
    let secret = ca("b").version.to_string();
    let expected = [("cluster", "c2"), ("listener", "l2"), ("mesh_ca", &*secret)];
    assert_eq!(versions, expected);
}

#[test]
fn a_refused_type_holds_no_secret_back() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    stream.refused(ResourceType::Listener, "no", at(2));
    assert_eq!(stream.distrusted(), ["listener".to_owned()].into());
    assert!(stream.untried(&Snapshot::new([ca("a")])).is_empty());
    let mended = stream.mended();
    assert!(stream.accepted(&ca("a"), at(3)));
    assert!(!mended.has_changed().unwrap());
}

#[test]
fn versions_and_words_are_bounded() {
    let board = board();
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    stream.acknowledged(ResourceType::Cluster, &"ü".repeat(10_000), at(2));
    stream.refused(ResourceType::Cluster, &"ü".repeat(10_000), at(2));
    let evidence = board.of(&web).unwrap();
    assert_eq!(evidence.versions["cluster"].len(), MAX_VERSION);
    assert_eq!(
        evidence.last_nack.as_ref().unwrap().message.len(),
        MAX_MESSAGE
    );
}

#[test]
fn versions_alone_wake_nobody_but_rejections_and_their_end_do() {
    let board = board();
    let stream = connect(&board, dataplane("web"), at(1));
    let mut changes = board.subscribe();
    let mut announced = || {
        let is_new = changes.has_changed().unwrap();
        changes.mark_unchanged();
        is_new
    };
    stream.acknowledged(ResourceType::Cluster, "c1", at(2));
    assert!(!announced());
    stream.refused(ResourceType::Cluster, "no", at(3));
    assert!(announced());
    stream.acknowledged(ResourceType::Cluster, "c1", at(4));
    assert!(announced());
    stream.acknowledged(ResourceType::Cluster, "c2", at(5));
    assert!(!announced());
}

#[tokio::test]
async fn versions_wait_for_a_whole_flush_and_go_with_evidence() {
    let (board, store) = (board(), store().await);
    let stream = connect(&board, dataplane("web"), at(1));
    board.flush_evidence(&store).await.unwrap();
    assert_eq!(stored(&store).await.connected_since, Some(at(1)));

    stream.acknowledged(ResourceType::Cluster, "c1", at(2));
    board.flush_evidence(&store).await.unwrap();
    assert!(stored(&store).await.versions.is_empty(), "it may wait");
    board.flush(&store).await.unwrap();
    assert_eq!(stored(&store).await.versions["cluster"], "c1");

    // Nothing is written for an acknowledgement that says nothing new.
    stream.acknowledged(ResourceType::Cluster, "c1", at(9));
    board.flush(&store).await.unwrap();
    assert_eq!(stored(&store).await.seen, at(2));

    stream.acknowledged(ResourceType::Cluster, "c2", at(10));
    stream.accepted(&ca("a"), at(11));
    board.flush_evidence(&store).await.unwrap();
    assert_eq!(stored(&store).await.versions["cluster"], "c2");
}

#[test]
fn whoever_has_a_snapshot_keeps_what_it_was() {
    let board = board();
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    let before = board.snapshot();
    let again = board.snapshot();
    assert!(
        Arc::ptr_eq(&before[&web], &again[&web]),
        "nothing is copied"
    );
    stream.accepted(&ca("a"), at(2));
    assert_eq!(before[&web].bundle, None);
    assert!(board.snapshot()[&web].bundle.is_some());
}

#[test]
fn evidence_of_an_earlier_version_reads_and_is_written_as_it_was() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let at = "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap();
    let earlier = serde_json::json!({
        "dataplane": {"mesh": "demo", "name": "web"},
        "connectedSince": at, "seen": at,
        "bundle": digest, "trusts": [digest], "leafIssuer": digest, "leafNotAfter": at,
        "lastNack": {"at": at, "resource": "mesh_ca", "message": "no"},
        "rejected": {"mesh_ca": [digest]},
    });
    let evidence: ProxyEvidence = serde_json::from_value(earlier.clone()).unwrap();
    assert_eq!(
        (&evidence.replica, evidence.token_expires_at),
        (&None, None)
    );
    assert!(evidence.versions.is_empty() && evidence.refused.is_empty());
    assert_eq!(evidence.rejected["mesh_ca"].len(), 1);
    assert_eq!(serde_json::to_value(&evidence).unwrap(), earlier);
}

#[derive(Debug, Clone)]
enum Answer {
    Acknowledged(ResourceType, u8),
    Refused(ResourceType),
    Accepted(u8),
    Rejected(u8),
    Flushed { all: bool },
}

fn answer() -> impl Strategy<Value = Answer> {
    let kind = || prop::sample::select(&TYPES[..]);
    prop_oneof![
        (kind(), 0..3_u8).prop_map(|(kind, version)| Answer::Acknowledged(kind, version)),
        kind().prop_map(Answer::Refused),
        (0..3_u8).prop_map(Answer::Accepted),
        (0..3_u8).prop_map(Answer::Rejected),
        any::<bool>().prop_map(|all| Answer::Flushed { all }),
    ]
}

/// Answers on one stream; what is known must follow from them.
async fn follow(answers: Vec<Answer>) {
    let (board, store) = (board(), store().await);
    let web = dataplane("web");
    let stream = connect(&board, web.clone(), at(1));
    let mut refused = BTreeSet::new();
    let mut versions = BTreeMap::new();
    for (second, answer) in (2..).zip(answers) {
        let now = at(second);
        match answer {
            Answer::Acknowledged(kind, version) => {
                stream.acknowledged(kind, &version.to_string(), now);
                refused.remove(kind.name());
                versions.insert(kind.name(), version.to_string());
            }
            Answer::Refused(kind) => {
                stream.refused(kind, "no", now);
                refused.insert(kind.name());
            }
            Answer::Accepted(content) => {
                stream.accepted(&ca(&content.to_string()), now);
            }
            Answer::Rejected(content) => {
                stream.rejected(&ca(&content.to_string()), "no", now);
            }
            Answer::Flushed { all: true } => board.flush(&store).await.unwrap(),
            Answer::Flushed { all: false } => {
                board.flush_evidence(&store).await.unwrap();
                let (kept, known) = (stored(&store).await, board.of(&web).unwrap());
                let rest = ProxyEvidence {
                    seen: kept.seen,
                    versions: kept.versions.clone(),
                    ..(*known).clone()
                };
                assert_eq!(*kept, rest, "only versions may wait");
            }
        }
        let known = board.of(&web).unwrap();
        assert!(known.refused.iter().eq(refused.iter()));
        for (name, version) in &versions {
            assert_eq!(known.versions[*name], *version);
        }
        if let Some(nack) = &known.last_nack {
            let is_open = known.refused.contains(&nack.resource)
                || known.rejected.contains_key(&nack.resource);
            assert!(is_open, "{nack:?} was healed");
        }
    }
    board.flush(&store).await.unwrap();
    let (kept, known) = (stored(&store).await, board.of(&web).unwrap());
    let known = ProxyEvidence {
        seen: kept.seen,
        ..(*known).clone()
    };
    assert_eq!(*kept, known);
}

proptest! {
    #[test]
    fn the_board_tells_the_last_answers_and_the_store_gets_them(
        answers in prop::collection::vec(answer(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follow(answers));
    }
}
