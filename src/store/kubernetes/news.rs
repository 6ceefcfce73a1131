//! News: watches on what the store keeps, by whomever it is written, and a
//! look now and then for what a watch has missed.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use tokio::time::sleep;

use super::KubernetesStore;
use super::cluster::Kept;
use super::follow::follow;
use super::ledger::read_head;
use super::names::{MANAGED_BY, MANAGER, PART, part};
use crate::store::News;

/// How often the head is looked at without being told.
const PULSE: Duration = Duration::from_secs(2);

impl KubernetesStore {
    /// Starts what runs as long as the store is open.
    pub(super) fn listen(&self) {
        let maps = [part::HEAD, part::EVIDENCE, part::SOURCE, part::SYNC].join(",");
        let watches = [
            tokio::spawn(self.clone().watch::<ConfigMap>(maps)),
            tokio::spawn(self.clone().watch::<Secret>(part::SECRET.to_owned())),
            tokio::spawn(self.clone().pulse()),
        ];
        let closed = self.cluster.closed().clone();
        tokio::spawn(async move {
            closed.cancelled().await;
            for watch in watches {
                watch.abort();
            }
        });
    }

    /// Follows the objects with one of these labels for ever.
    async fn watch<K: Kept>(self, parts: String) {
        let labels = format!("{MANAGED_BY}={MANAGER},{PART} in ({parts})");
        let config = watcher::Config::default().labels(&labels);
        let (client, namespace) = (self.cluster.client(), self.cluster.namespace());
        let api = Api::<PartialObjectMeta<K>>::namespaced(client, namespace);
        let (cluster, what) = (self.cluster.clone(), K::plural(&()).into_owned());
        let hear = |event| {
            self.hear(event);
            std::future::ready(true)
        };
        follow(cluster, what, api, config, |_| None, hear).await;
    }

    fn hear<K>(&self, event: Event<PartialObjectMeta<K>>) {
        match event {
            Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) => {
                self.tell(|news| count(news, &object.metadata));
            }
            // What is gone since the watch ended is in no event.
            Event::InitDone => self.tell(|news| {
                news.meshes += 1;
                news.evidence += 1;
                news.secrets += 1;
                news.sources += 1;
            }),
            Event::Init => {}
        }
    }

    /// Looks at the head now and then: so that it is known whether the store
    /// answers, and nothing is missed for long.
    async fn pulse(self) {
        let mut known = None;
        loop {
            sleep(PULSE / 2 + self.cluster.jitter(PULSE / 2)).await;
            if let Ok(read) = read_head(&self.cluster, "look at the store").await {
                let generation = read.head.generation;
                if known
                    .replace(generation)
                    .is_some_and(|known| known != generation)
                {
                    self.tell(|news| news.meshes += 1);
                }
            }
        }
    }
}

/// What kind of thing may have changed.
fn count(news: &mut News, meta: &ObjectMeta) {
    let labels = meta.labels.as_ref();
    let part = labels.and_then(|labels| labels.get(PART));
    match part.map(String::as_str) {
        Some(part::HEAD) => news.meshes += 1,
        Some(part::EVIDENCE) => news.evidence += 1,
        Some(part::SECRET) => news.secrets += 1,
        Some(part::SOURCE) => news.sources += 1,
        Some(part::SYNC) => news.sync += 1,
        _ => {}
    }
}
