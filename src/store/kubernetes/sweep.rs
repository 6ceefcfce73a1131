//! Sweeping: objects of the ledger that nothing refers to, since who wrote them
//! was interrupted, go once they are older than any write takes.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::time::Instant;
use tracing::info;

use super::KubernetesStore;
use super::cluster::for_each;
use super::ledger::read_head;
use super::names::part;
use super::write::{DRAFT_LIFETIME, delete_secrets};
use crate::store::StoreError;

/// How often.
const EVERY: Duration = Duration::from_mins(2);

/// When objects were first seen that nothing refers to.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    last: Option<Instant>,
    loose: HashMap<String, Instant>,
}

impl Sweep {
    /// Sweeps, if it is time to.
    pub(super) async fn sweep(&mut self, store: &KubernetesStore) -> Result<(), StoreError> {
        const ACTION: &str = "sweep up the ledger";
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < EVERY)
        {
            return Ok(());
        }
        let cluster = &store.cluster;
        // The objects first: what is referred to by then is not loose.
        let pages = cluster.list_metadata::<ConfigMap>(ACTION, part::LEDGER);
        let pages = pages.await?;
        let keys = cluster.list_metadata::<Secret>(ACTION, part::AUTHORITY_KEY);
        let keys = keys.await?;
        let head = read_head(cluster, ACTION).await?.head;
        let Some((needed, needed_keys)) = store.reachable(&head).await? else {
            return Ok(());
        };
        self.last = Some(now);
        let name = |meta: kube::api::ObjectMeta| meta.name.unwrap_or_default();
        let pages = pages.into_iter().map(|object| name(object.metadata));
        let pages: Vec<String> = pages.filter(|name| !needed.contains(name)).collect();
        let keys = keys.into_iter().map(|object| name(object.metadata));
        let keys: Vec<String> = keys.filter(|name| !needed_keys.contains(name)).collect();
        let is_loose = |name: &String| pages.contains(name) || keys.contains(name);
        self.loose.retain(|name, _| is_loose(name));
        for name in pages.iter().chain(&keys) {
            self.loose.entry(name.clone()).or_insert(now);
        }
        // A draft may be committed until it is that old.
        let is_old = |name: &&String| {
            let since = self.loose.get(*name);
            since.is_some_and(|since| now.duration_since(*since) > DRAFT_LIFETIME * 2)
        };
        let pages: Vec<String> = pages.iter().filter(is_old).cloned().collect();
        let keys: Vec<String> = keys.iter().filter(is_old).cloned().collect();
        if !pages.is_empty() || !keys.is_empty() {
            let objects = pages.len() + keys.len();
            info!(objects, "what interrupted writes have left is deleted");
        }
        delete_secrets(cluster, keys).await?;
        for_each(pages, |name| {
            let cluster = cluster.clone();
            async move { cluster.delete::<ConfigMap>(ACTION, &name).await }
        })
        .await?;
        store.sweep_evidence().await
    }
}
