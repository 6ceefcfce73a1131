//! What someone else wrote to custom resources is carried over to the ledger,
//! as a call of the API is: what Git owns is put back, what breaks a rule is
//! not taken, and its status says why.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::{Refused, Situation, Steward};
use crate::model::{Generation, Kind, Origin, ResourceKey};
use crate::store::kubernetes::form::{self, ObjectId, Seen};
use crate::store::kubernetes::ledger::read_head;
use crate::store::{NotAdopted, StoreError};

use super::status::accepted;

/// How the objects of a mesh differ from what was shown.
#[derive(Debug, Default)]
struct Differences {
    /// In the order in which it can be carried over.
    foreign: Vec<(ResourceKey, Foreign)>,
    /// What is put back instead.
    heal: Vec<ResourceKey>,
    /// What has no object, since another one is in its place, which says
    /// nothing about the resource.
    held: BTreeMap<ResourceKey, ObjectId>,
}

/// What an object differs in, that nobody but someone else can have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Foreign {
    /// It says something else, or is new.
    Written(ObjectId),
    /// It is gone.
    Deleted,
}

impl Steward {
    /// Carries over what is foreign in a mesh; whether that changed the ledger.
    pub(super) async fn adopt(&mut self, situation: &Situation) -> Result<bool, StoreError> {
        let Differences {
            foreign,
            heal,
            held,
        } = self.differences(situation);
        self.hold(situation, held);
        if !heal.is_empty() {
            self.heal(situation, &heal).await?;
        }
        for (key, what) in foreign {
            if !self.confirm(situation, &key, &what).await? {
                return Ok(true);
            }
            let adopted = match what {
                Foreign::Written(id) => self.take(situation, &key, &id).await?,
                Foreign::Deleted => self.let_go(situation, &key).await?,
            };
            if adopted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves these resources alone, and says so once.
    fn hold(&mut self, situation: &Situation, held: BTreeMap<ResourceKey, ObjectId>) {
        for (key, id) in &held {
            if self.held.get(key) == Some(id) {
                continue;
            }
            let owner = self.objects.get(id).map(|seen| &*seen.control_plane);
            let owner = owner.unwrap_or_default();
            warn!(
                resource = %key, object = %id.name, namespace = %id.namespace, owner,
                "another object is in the place of this resource's custom resource; the resource \
                 is kept, and the object left alone; delete or rename one of the two"
            );
        }
        self.held.retain(|key, _| key.mesh != situation.mesh);
        self.held.extend(held);
    }

    fn differences(&self, situation: &Situation) -> Differences {
        let home = self.store.cluster.namespace();
        let stored = situation.now.state.resources.keys();
        let stored = stored.filter(|key| key.kind != Kind::ProvidedCa);
        let all: BTreeSet<&ResourceKey> = stored
            .chain(self.objects.keys_of(&situation.mesh))
            .collect();
        let (mut written, mut deleted, mut heal) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = BTreeMap::new();
        for key in all {
            let (now, shown) = situation.digests(key);
            if now != shown {
                continue;
            }
            let stored = situation.now.state.resources.get(key);
            let is_gits = stored.is_some_and(|it| matches!(it.origin, Origin::Source { .. }));
            let seen = self.objects.of(key, stored.map(|it| &**it), home);
            // What Git owns is shown at another place, if there is one.
            if let (Some(stored), None) = (stored, seen)
                && let Some(other) = self.objects.in_the_way(stored, home)
                && !(is_gits && self.objects.free_place(stored, home).is_some())
            {
                held.insert(key.clone(), other.id.clone());
                continue;
            }
            match (stored, seen) {
                (_, Some(seen)) if seen.is_ending => {}
                (Some(stored), Some(seen)) if seen.says(stored) => {
                    if !seen.is_marked(stored, home) {
                        heal.push(key.clone());
                    }
                }
                (Some(_), _) if is_gits => heal.push(key.clone()),
                (_, Some(seen)) => {
                    if !self.is_refused(seen, situation.now.state.generation) {
                        written.push((key.clone(), Foreign::Written(seen.id.clone())));
                    }
                }
                (Some(_), None) => deleted.push((key.clone(), Foreign::Deleted)),
                (None, None) => {}
            }
        }
        // A mesh comes before its dependents, and goes after them.
        written.extend(deleted.into_iter().rev());
        Differences {
            foreign: written,
            heal,
            held,
        }
    }

    /// Looks again at the object, then at the ledger: what was seen may have
    /// been on its way. Whether it is still foreign.
    async fn confirm(
        &mut self,
        situation: &Situation,
        key: &ResourceKey,
        what: &Foreign,
    ) -> Result<bool, StoreError> {
        match what {
            Foreign::Written(id) => self.look_again(id).await?,
            Foreign::Deleted => {
                let home = self.store.cluster.namespace().to_owned();
                if let Some(stored) = situation.now.state.resources.get(key) {
                    for place in form::places(stored, &home) {
                        self.look_again(&place).await?;
                    }
                }
            }
        }
        let action = "look at the store";
        let head = read_head(&self.store.cluster, action).await?.head;
        let entry = head.meshes.get(&situation.mesh);
        let root = entry.map(|entry| &entry.root);
        let shown = entry.and_then(|entry| entry.shown.as_ref());
        let shown = shown.or_else(|| head.gone.get(&situation.mesh));
        let is_same = root == situation.now.root.as_ref() && shown == situation.shown.root.as_ref();
        let foreign = self.differences(situation).foreign;
        Ok(is_same && foreign.iter().any(|(other, it)| other == key && it == what))
    }

    /// Takes what someone wrote; whether the ledger is another now.
    async fn take(
        &mut self,
        situation: &Situation,
        key: &ResourceKey,
        id: &ObjectId,
    ) -> Result<bool, StoreError> {
        let Some(seen) = self.objects.get(id).cloned() else {
            return Ok(true);
        };
        let home = self.store.cluster.namespace();
        let stored = situation.now.state.resources.get(key);
        if stored.is_none() && seen.is_own && seen.control_plane == home {
            // A replica that was late made it, after it had gone from the ledger.
            self.store.cluster.hide(&seen).await?;
            self.objects.forget(id);
            return Ok(true);
        }
        let generation = situation.now.state.generation;
        let after = match &seen.content {
            Ok(_) => seen.adopted(stored.map(|it| &**it), home),
            Err(wrong) => {
                let wrong = wrong.clone();
                self.refuse(&seen, generation, &wrong).await?;
                return Ok(false);
            }
        };
        let Some(adopter) = self.store.adopter.get().cloned() else {
            return Ok(false);
        };
        // A Mesh decides whose its dependents are: one control plane takes it.
        if key.kind == Kind::Mesh && seen.control_plane.is_empty() {
            let Some(claimed) = self.store.cluster.claim(&seen).await? else {
                self.look_again(id).await?;
                return Ok(true);
            };
            self.objects.learn(claimed);
        }
        match adopter.adopt(key, after).await {
            Ok(()) => {
                info!(resource = %key, object = %id.name, "what someone wrote to a custom resource is taken over");
                self.refused.remove(id);
                Ok(true)
            }
            Err(NotAdopted::Refused(wrong)) => {
                self.refuse(&seen, generation, &wrong).await?;
                Ok(false)
            }
            Err(NotAdopted::Later(why)) => {
                warn!(resource = %key, why, "what someone wrote to a custom resource is not taken over yet");
                Ok(false)
            }
        }
    }

    /// Deletes what someone deleted; whether the ledger is another now. What
    /// may not go comes back.
    async fn let_go(
        &mut self,
        situation: &Situation,
        key: &ResourceKey,
    ) -> Result<bool, StoreError> {
        if !self.crds_are_the_same(key.kind).await? {
            // Not someone deleted it, but what it was kept as.
            return Ok(true);
        }
        let Some(adopter) = self.store.adopter.get().cloned() else {
            return Ok(false);
        };
        let why = match adopter.adopt(key, None).await {
            Ok(()) => {
                info!(resource = %key, "a resource goes with its custom resource");
                return Ok(true);
            }
            Err(NotAdopted::Refused(wrong)) => wrong.join("; "),
            Err(NotAdopted::Later(why)) => why,
        };
        warn!(resource = %key, why, "a custom resource that was deleted comes back");
        self.heal(situation, std::slice::from_ref(key)).await?;
        Ok(false)
    }

    /// Whether an object was refused as it is, in its mesh as that is.
    fn is_refused(&self, seen: &Seen, mesh: Generation) -> bool {
        let version_of_content = (seen.uid.clone(), seen.generation);
        let now = Refused {
            version_of_content,
            mesh,
        };
        self.refused.get(&seen.id) == Some(&now)
    }

    /// Says in its status why an object is not taken over.
    pub(super) async fn refuse(
        &mut self,
        seen: &Seen,
        mesh: Generation,
        wrong: &[String],
    ) -> Result<(), StoreError> {
        if self.is_refused(seen, mesh) {
            return Ok(());
        }
        let why = wrong.join("; ");
        warn!(object = %seen.id.name, namespace = %seen.id.namespace, kind = %seen.id.kind, why, "a custom resource is not taken over");
        let status = accepted(seen, "False", "Refused", &why);
        if let Some(status) = status {
            self.store.cluster.tell_status(&seen.id, &status).await?;
        }
        let version_of_content = (seen.uid.clone(), seen.generation);
        let refused = Refused {
            version_of_content,
            mesh,
        };
        self.refused.insert(seen.id.clone(), refused);
        Ok(())
    }
}
