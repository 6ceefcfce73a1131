//! The API server restarts, watches expire, others write at the same time.

use std::sync::Arc;

use windlass::model::{Generation, Kind};
use windlass::store::kubernetes::KubernetesStore;
use windlass::store::{Reach, Store};

use super::{AsItIs, PATIENCE, Site, eventually};
use crate::store_contract::kubernetes::NAMESPACE;
use crate::store_contract::samples::{change, key, mesh, permission, put, sealed, write};
use crate::support::gap::Gap;
use crate::support::kubernetes::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_comes_after_the_server_was_restarted_and_its_versions_forgotten() {
    let site = Site::new().await;
    let other = site.another().await;
    let leads = site.lead().await;
    change(&other, "demo", vec![put(mesh("demo"))])
        .await
        .unwrap();
    let mut reach = site.store.reach();
    site.cluster.kill9();
    let lost = reach.wait_for(|reach| matches!(reach, Reach::Lost { .. }));
    let lost = tokio::time::timeout(PATIENCE, lost).await;
    lost.expect("it is noticed").unwrap();
    assert!(site.store.load().await.is_err());
    site.cluster.compact();
    site.cluster.start();
    let back = reach.wait_for(|reach| *reach == Reach::Answers);
    tokio::time::timeout(PATIENCE, back)
        .await
        .expect("it is noticed")
        .unwrap();

    // Perhaps it was away for too long.
    drop(leads);
    let _leads = site.lead().await;
    let mut news = site.store.news();
    for number in 0..2 {
        let before = news.borrow_and_update().meshes;
        let name = format!("p-{number}");
        change(&other, "demo", vec![put(permission("demo", &name))])
            .await
            .unwrap();
        let told = news.wait_for(|news| news.meshes > before);
        tokio::time::timeout(PATIENCE, told)
            .await
            .expect("news")
            .unwrap();
        eventually("it is shown", async || {
            site.get(&["trafficpermission", &name, "-n", "windlass-system"])
        })
        .await;
    }
    // What someone applies is seen, too.
    let applied = windlass::manifest::to_kubernetes(&permission("demo", "applied"));
    let mut applied = applied.to_string();
    applied = applied.replacen("\"metadata\":{", "\"metadata\":{\"namespace\":\"prod\",", 1);
    site.cluster.apply(&applied).unwrap();
    let applied = key("demo", Kind::TrafficPermission, "applied");
    eventually("it is taken over", async || {
        let current = other.load().await.unwrap();
        current.meshes["demo"].resources.get(&applied).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_has_expired_begins_anew_and_misses_nothing() {
    // With its cache, the server may well know what etcd has forgotten.
    let cluster = Cluster::take_with(&["--watch-cache=false"]);
    let site = Site::in_cluster(cluster).await;
    let (client, gap) = Gap::before(site.cluster.client().await);
    let store = Arc::new(KubernetesStore::new(client, NAMESPACE, "the other side"));
    store.adopt_with(Arc::new(AsItIs(Arc::clone(&store))));
    let _leads = store.lead("a").await.unwrap();
    let other = site.another().await;
    let all = vec![
        put(mesh("demo")),
        put(permission("demo", "kept")),
        put(permission("demo", "gone")),
    ];
    change(&other, "demo", all).await.unwrap();
    let shown = ["trafficpermission", "-n", NAMESPACE];
    eventually("they are shown", async || {
        let all = site.get(&shown)?;
        (all["items"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let secret = sealed("secret");
    other.put_secret_if_absent("gone", &secret).await.unwrap();
    let mut news = store.news();
    let told = news.wait_for(|news| news.secrets > 1);
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.expect("news of the secret").unwrap();

    gap.cut();
    let deletion = ["delete", "trafficpermission", "gone", "-n", NAMESPACE];
    site.cluster.run(&deletion);
    let applied = windlass::manifest::to_kubernetes(&permission("demo", "applied"));
    let mut applied = applied.to_string();
    applied = applied.replacen("\"metadata\":{", "\"metadata\":{\"namespace\":\"prod\",", 1);
    site.cluster.apply(&applied).unwrap();
    other.delete_secret("gone").await.unwrap();
    site.cluster.compact();
    let before = *news.borrow_and_update();
    assert_eq!(gap.expired(), [""; 0]);
    gap.mend();

    eventually("all watches have expired", async || {
        let all = [
            "configmaps",
            "dataplanes",
            "meshes",
            "secrets",
            "trafficpermissions",
        ];
        (gap.expired() == all).then_some(())
    })
    .await;
    let told = news.wait_for(|news| news.secrets > before.secrets);
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.expect("news of a secret that is gone").unwrap();
    eventually("what was written and deleted is taken over", async || {
        let current = other.load().await.unwrap();
        let mesh = &current.meshes["demo"];
        let names = mesh.resources.keys().map(|key| key.name.as_str());
        names.eq(["demo", "applied", "kept"]).then_some(())
    })
    .await;
    // The watches that began anew tell what happens next.
    site.cluster
        .run(&["delete", "trafficpermission", "kept", "-n", NAMESPACE]);
    eventually("the next deletion is taken over", async || {
        let current = other.load().await.unwrap();
        let kept = key("demo", Kind::TrafficPermission, "kept");
        (!current.meshes["demo"].resources.contains_key(&kept)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_writers_everyone_has_his_turn() {
    const WRITERS: u32 = 6;
    const WRITES: u32 = 8;
    let site = Site::new().await;
    let _leads = site.lead().await;
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let store = Arc::new(site.another().await);
        writers.push(tokio::spawn(async move {
            let name = format!("mesh-{number}");
            let mut expected = Generation(0);
            for round in 0..WRITES {
                let operations = vec![
                    put(mesh(&name)),
                    put(permission(&name, &format!("{name}-{round}"))),
                ];
                let written = store.write(&write(&name, expected, operations)).await;
                expected = written.unwrap().generation;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let current = site.store.load().await.unwrap();
    assert_eq!(current.generation, Generation(u64::from(WRITERS * WRITES)));
    let counts = current.meshes.values().map(|mesh| mesh.resources.len());
    assert!(counts.eq(std::iter::repeat_n(WRITES as usize + 1, WRITERS as usize)));
    eventually("all of it is shown", async || {
        let all = site.get(&["meshes,trafficpermissions", "-A"])?;
        let count = (WRITERS * (WRITES + 1)) as usize;
        (all["items"].as_array()?.len() == count).then_some(())
    })
    .await;
    // Whoever has changed nothing has adopted nothing.
    assert_eq!(site.store.load().await.unwrap(), current);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_leads_soon_after_the_leader_is_gone() {
    let site = Site::new().await;
    let client = site.cluster.client().await;
    // Dies without a word once it leads.
    let mortal = crate::support::dying::dying(client, 2, false);
    let mortal = windlass::store::kubernetes::KubernetesStore::new(mortal, "windlass-system", "a");
    let leads = mortal.lead("a").await.unwrap();
    let start = std::time::Instant::now();
    let next = site.store.lead("b").await.unwrap();
    let took = start.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
    assert!(leads.is_lost(), "both lead");
    assert!(!next.is_lost());
}
