use super::keep::{GATHER, HURRY, INSIGHT, Keeper};
use super::*;
use tokio::time::Instant;

use crate::store::memory::MemoryStore;
use crate::xds::fixtures::{at, bundle, dataplane, store_of_web};
use crate::xds::resource::{Resource, ResourceType};

fn keeper<'a>(evidence: &'a EvidenceBoard, store: &'a MemoryStore) -> Keeper<'a> {
    Keeper {
        evidence,
        store,
        shared: None,
    }
}

/// How long it takes until the store has what is asked for.
async fn until(
    store: &MemoryStore,
    is_there: impl Fn(&crate::model::ProxyEvidence) -> bool,
) -> Duration {
    let began = Instant::now();
    loop {
        let evidence = store.evidence().await.unwrap();
        if evidence
            .get(&dataplane("web"))
            .is_some_and(|proxy| is_there(proxy))
        {
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_mins(1));
    }
}

#[tokio::test(start_paused = true)]
async fn evidence_is_written_soon_and_versions_alone_within_seconds() {
    let store = store_of_web().await;
    let board = Arc::new(EvidenceBoard::default());
    let work = async {
        let stream = board.connect(dataplane("web"), at(1000), at(1));
        assert!(until(&store, |proxy| proxy.connected_since.is_some()).await < 2 * GATHER);
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let version = number.to_string();
            stream.acknowledged(ResourceType::Cluster, &version, at(2));
            let waited = until(&store, |proxy| {
                proxy.versions.get("cluster") == Some(&version)
            });
            slowest = slowest.max(waited.await);
        }
        assert!(
            (GATHER * 5..=INSIGHT + 2 * GATHER).contains(&slowest),
            "{slowest:?}"
        );

        stream.acknowledged(ResourceType::Listener, "1", at(3));
        stream.accepted(&Resource::mesh_ca(bundle("a")), at(3));
        assert!(until(&store, |proxy| proxy.bundle.is_some()).await < 2 * GATHER);
        stream.refused(ResourceType::Listener, "no", at(4));
        assert!(until(&store, |proxy| !proxy.refused.is_empty()).await < 2 * GATHER);
        stream.acknowledged(ResourceType::Listener, "2", at(5));
        assert!(until(&store, |proxy| proxy.last_nack.is_none()).await < 2 * GATHER);
    };
    let keeper = keeper(&board, &store);
    tokio::select! {
        () = work => {}
        never = keeper.evidence() => match never {},
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_record_does_not_wait_for_the_gathering() {
    let store = store_of_web().await;
    let board = Arc::new(EvidenceBoard::default());
    let work = async {
        let began = Instant::now();
        let mut streams = Vec::new();
        for name in ["web", "unknown"] {
            // The store keeps no evidence of who is unknown to it.
            let stream = board.connect(dataplane(name), at(1000), at(1));
            let mut written = stream.written();
            while stream.on_record().is_none() {
                written.changed().await.unwrap();
            }
            streams.push(stream);
        }
        assert!(began.elapsed() <= 4 * HURRY, "{:?}", began.elapsed());
        let stored = store.evidence().await.unwrap();
        assert!(stored[&dataplane("web")].connected_since.is_some());
    };
    let keeper = keeper(&board, &store);
    tokio::select! {
        () = work => {}
        never = keeper.evidence() => match never {},
    }
}
