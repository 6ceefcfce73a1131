//! What `kubectl get` shows beside a resource's own fields: how a mesh stands,
//! which dataplanes are online, and why something is not taken over.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Steward;
use crate::clock;
use crate::model::{DataplaneId, Evidence, Kind, MeshState, ResourceKey};
use crate::store::StoreError;
use crate::store::kubernetes::cluster::for_each;
use crate::store::kubernetes::form::{ObjectId, Seen};
use crate::store::kubernetes::ledger::Head;
use crate::store::kubernetes::tree::Tree;

/// How often proxies are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// The most objects whose status is written in one go. The rest follows: this
/// is for people, and must not keep the API server from its work.
const MOST: usize = 100;

/// When statuses were written last.
#[derive(Debug, Default)]
pub(super) struct Board {
    last: Option<(Instant, crate::model::Generation)>,
}

impl Steward {
    /// Writes the statuses that are not what they should be.
    pub(super) async fn tell_status(&mut self, head: &Head) -> Result<(), StoreError> {
        let now = Instant::now();
        let is_fresh = |(at, generation): (Instant, _)| {
            generation == head.generation && now.duration_since(at) < EVERY
        };
        if self.status.last.is_some_and(is_fresh) {
            return Ok(());
        }
        let Some(evidence) = self.store.evidence_of(head).await? else {
            return Ok(());
        };
        let Some(trees) = self.store.trees(head).await? else {
            return Ok(());
        };
        self.status.last = Some((now, head.generation));
        let mut wrong: Vec<Wrong> = Vec::new();
        for tree in &trees {
            let home = self.store.cluster.namespace();
            if self.objects.other_owner(&tree.state.name, home).is_some() {
                continue;
            }
            self.compare(&tree.state, &evidence, &mut wrong);
        }
        let strangers = self.strangers(&trees);
        // What is as expected can wait.
        wrong.sort_by_key(|it| it.only_accepted);
        wrong.truncate(MOST);
        for_each(wrong, |Wrong { id, status, .. }| {
            let cluster = self.store.cluster.clone();
            async move { cluster.tell_status(&id, &status).await }
        })
        .await?;
        for (stranger, why) in strangers {
            let none = crate::model::Generation(0);
            self.refuse(&stranger, none, &why).await?;
        }
        Ok(())
    }

    /// Objects that are no resource: since nothing says which, or since
    /// another object is the same one.
    fn strangers(&self, trees: &[Arc<Tree>]) -> Vec<(Seen, Vec<String>)> {
        let home = self.store.cluster.namespace();
        let mut strangers = Vec::new();
        for seen in self.objects.all() {
            if seen.is_of_another(home) {
                continue;
            }
            let Some(key) = &seen.key else {
                let why = seen.content.clone().err().unwrap_or_default();
                strangers.push((seen.clone(), why));
                continue;
            };
            if self.objects.other_owner(&key.mesh, home).is_some() {
                continue;
            }
            let mesh = trees.iter().find(|tree| tree.state.name == key.mesh);
            let stored = mesh.and_then(|tree| tree.state.resources.get(key));
            let first = self.objects.of(key, stored.map(|it| &**it), home);
            if let Some(first) = first.filter(|first| first.id != seen.id) {
                let why = format!(
                    "name: the object {}/{} is that resource of mesh {} already",
                    first.id.namespace, first.id.name, key.mesh
                );
                strangers.push((seen.clone(), vec![why]));
            }
        }
        strangers
    }

    /// Finds the statuses of a mesh that are wrong.
    fn compare(&self, mesh: &MeshState, evidence: &Evidence, wrong: &mut Vec<Wrong>) {
        let home = self.store.cluster.namespace();
        let mut compare = |key: &ResourceKey, mut wanted: Value| {
            let stored = mesh.resources.get(key);
            let Some(seen) = self.objects.of(key, stored.map(|it| &**it), home) else {
                return;
            };
            let fields = wanted.as_object().into_iter().flatten();
            let differs = fields.clone().any(|(name, value)| {
                seen.status.get(name) != Some(value)
                    && !(value.is_null() && seen.status.get(name).is_none())
            });
            let is_refused = condition(seen).is_some_and(|it| it["status"] != json!("True"));
            let is_stored = stored.is_some_and(|stored| seen.says(stored));
            let accepted = accepted(seen, "True", "Stored", "the store holds what it says");
            let accepted = accepted.filter(|_| is_stored);
            if let Some(status) = &accepted {
                wanted["conditions"] = status["conditions"].clone();
            }
            if differs || accepted.is_some() {
                wrong.push(Wrong {
                    id: seen.id.clone(),
                    status: wanted,
                    only_accepted: !differs && !is_refused,
                });
            }
        };
        let (mut known, mut online) = (0_usize, 0_usize);
        for dataplane in mesh.dataplanes() {
            let id = DataplaneId {
                mesh: mesh.name.clone(),
                name: dataplane.name.clone(),
            };
            known += 1;
            let record = evidence.get(&id);
            let since = record.and_then(|record| record.connected_since);
            online += usize::from(since.is_some());
            if let Some(record) = record {
                let key = ResourceKey {
                    mesh: id.mesh,
                    kind: Kind::Dataplane,
                    name: id.name,
                };
                let replica = since.and(record.replica.as_deref());
                compare(&key, json!({"online": since.is_some(), "replica": replica}));
            }
        }
        for key in mesh.resources.keys() {
            let id = || DataplaneId {
                mesh: key.mesh.clone(),
                name: key.name.clone(),
            };
            match key.kind {
                Kind::TrafficPermission => compare(key, json!({})),
                Kind::Dataplane if !evidence.contains_key(&id()) => compare(key, json!({})),
                _ => {}
            }
        }
        if let Some(resource) = mesh.mesh() {
            let phase = mesh.progress.transition.as_ref().map(|it| it.phase);
            let status = json!({
                "posture": mesh.progress.posture,
                "ca": resource.mtls.ca.kind(),
                "phase": phase,
                "generation": mesh.generation,
                "dataplanes": {"known": known, "online": online},
            });
            compare(&ResourceKey::mesh(&mesh.name), status);
        }
    }
}

/// A status that is not what it should be.
struct Wrong {
    id: ObjectId,
    /// What it should be.
    status: Value,
    /// Whether all that it lacks is that the store holds what its object says.
    only_accepted: bool,
}

fn condition(seen: &Seen) -> Option<&Value> {
    let conditions = seen.status.get("conditions")?.as_array()?;
    conditions.iter().find(|it| it["type"] == json!("Accepted"))
}

/// The status with this condition; `None` where it has it.
pub(super) fn accepted(seen: &Seen, status: &str, reason: &str, message: &str) -> Option<Value> {
    let same = |it: &Value| {
        it["status"] == json!(status)
            && it["message"] == json!(message)
            && it["observedGeneration"] == json!(seen.generation)
    };
    let before = condition(seen);
    if before.is_some_and(same) {
        return None;
    }
    let since = before
        .filter(|it| it["status"] == json!(status))
        .map_or_else(
            || json!(clock::now()),
            |it| it["lastTransitionTime"].clone(),
        );
    Some(json!({"conditions": [{
        "type": "Accepted",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": seen.generation,
        "lastTransitionTime": since,
    }]}))
}
