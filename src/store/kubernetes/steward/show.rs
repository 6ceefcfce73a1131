//! Custom resources are made to say what the ledger holds.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tracing::{debug, info};

use super::{Situation, Steward};
use crate::model::{Kind, MeshName, ResourceKey, StoredResource};
use crate::store::StoreError;
use crate::store::kubernetes::KubernetesStore;
use crate::store::kubernetes::blob::Blob;
use crate::store::kubernetes::cluster::{Fault, for_each};
use crate::store::kubernetes::form::{ObjectId, Seen};
use crate::store::kubernetes::ledger::{Head, read_head};
use crate::store::kubernetes::tree::Tree;

/// One request that brings an object in line.
enum Step {
    Show(Arc<StoredResource>, ObjectId, Option<Box<Seen>>),
    Hide(Box<Seen>),
}

/// What came of it.
enum Done {
    Shows(Box<Seen>),
    Hidden(ObjectId),
    /// The object is another than it was seen: it is looked at again.
    Outdated(ObjectId),
    Failed(StoreError),
}

impl Steward {
    /// Brings the objects of a mesh in line, and notes it in the head; whether
    /// there is more to do.
    pub(super) async fn show(&mut self, situation: &Situation) -> Result<bool, StoreError> {
        let steps = self.steps(situation);
        if !steps.is_empty() {
            debug!(mesh = %situation.mesh, objects = steps.len(), "custom resources are brought up to date");
        }
        self.carry_out(steps).await?;
        if !self.steps(situation).is_empty() {
            return Ok(true);
        }
        let (mesh, now, shown) = (&situation.mesh, &situation.now, &situation.shown);
        self.store.note_shown(mesh, now, shown).await?;
        Ok(false)
    }

    /// Puts back what someone made of these objects.
    pub(super) async fn heal(
        &mut self,
        situation: &Situation,
        keys: &[ResourceKey],
    ) -> Result<(), StoreError> {
        for key in keys {
            info!(resource = %key, "what someone made of a custom resource is put back");
        }
        let steps = keys.iter().filter_map(|key| self.step(situation, key));
        let steps = steps.collect();
        self.carry_out(steps).await
    }

    /// What differs between the ledger and the objects, of what the ledger has
    /// changed since they were shown.
    fn steps(&self, situation: &Situation) -> Vec<Step> {
        let all = (situation.now.state.resources.keys())
            .chain(situation.shown.state.resources.keys())
            .filter(|key| key.kind != Kind::ProvidedCa);
        let all: BTreeSet<&ResourceKey> = all.collect();
        let changed = all.into_iter().filter(|key| {
            let (now, shown) = situation.digests(key);
            now != shown || self.is_unmarked(situation, key)
        });
        changed
            .filter_map(|key| self.step(situation, key))
            .collect()
    }

    /// Whether an object says what it is to say, but not that it is Windlass's.
    fn is_unmarked(&self, situation: &Situation, key: &ResourceKey) -> bool {
        let home = self.store.cluster.namespace();
        let Some(stored) = situation.now.state.resources.get(key) else {
            return false;
        };
        let seen = self.objects.of(key, Some(stored), home);
        seen.is_some_and(|seen| seen.says(stored) && !seen.is_marked(stored, home))
    }

    /// The request that brings the object of a resource in line, if it is not.
    fn step(&self, situation: &Situation, key: &ResourceKey) -> Option<Step> {
        let home = self.store.cluster.namespace();
        let stored = situation.now.state.resources.get(key);
        let seen = self.objects.of(key, stored.map(|it| &**it), home);
        match (stored, seen) {
            (Some(stored), Some(seen)) => {
                let is_right = seen.says(stored) && seen.is_marked(stored, home);
                (!is_right && !seen.is_ending).then(|| {
                    let place = seen.id.clone();
                    Step::Show(Arc::clone(stored), place, Some(Box::new(seen.clone())))
                })
            }
            (Some(stored), None) => {
                let place = self.objects.free_place(stored, home)?;
                Some(Step::Show(Arc::clone(stored), place, None))
            }
            (None, Some(seen)) => (!seen.is_ending).then(|| Step::Hide(Box::new(seen.clone()))),
            (None, None) => None,
        }
    }

    /// Sends requests, a few at once, and learns from the answers. Dependents
    /// come after their mesh, and go before it.
    async fn carry_out(&mut self, steps: Vec<Step>) -> Result<(), StoreError> {
        let is_mesh = |step: &Step| match step {
            Step::Show(stored, ..) => stored.resource.kind() == Kind::Mesh,
            Step::Hide(seen) => seen.id.kind == Kind::Mesh,
        };
        let is_show = |step: &Step| matches!(step, Step::Show(..));
        let mut groups: [Vec<Step>; 3] = Default::default();
        for step in steps {
            let group = match (is_mesh(&step), is_show(&step)) {
                (true, true) => 0,
                (false, _) => 1,
                (true, false) => 2,
            };
            groups[group].push(step);
        }
        let mut failure = None;
        for group in groups {
            let done = for_each(group, |step| {
                let cluster = self.store.cluster.clone();
                async move {
                    Ok(match step {
                        Step::Show(stored, place, seen) => {
                            match cluster.show(&stored, &place, seen.as_deref()).await {
                                Ok(Some(now)) => Done::Shows(Box::new(now)),
                                Ok(None) => Done::Outdated(place),
                                Err(error) => Done::Failed(error),
                            }
                        }
                        Step::Hide(seen) => match cluster.hide(&seen).await {
                            Ok(true) => Done::Hidden(seen.id),
                            Ok(false) => Done::Outdated(seen.id),
                            Err(error) => Done::Failed(error),
                        },
                    })
                }
            });
            for done in done.await? {
                match done {
                    Done::Shows(seen) => self.objects.learn(*seen),
                    Done::Hidden(id) => self.objects.forget(&id),
                    Done::Outdated(id) => self.look_again(&id).await?,
                    Done::Failed(error) => failure = Some(error),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Looks at one object as it is now.
    pub(super) async fn look_again(&mut self, id: &ObjectId) -> Result<(), StoreError> {
        match self.store.cluster.look_at(id).await? {
            Some(seen) => self.objects.learn(seen),
            None => self.objects.forget(id),
        }
        Ok(())
    }
}

impl KubernetesStore {
    /// Notes in the head that the objects of a mesh show this tree.
    async fn note_shown(
        &self,
        mesh: &MeshName,
        tree: &Tree,
        before: &Tree,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "note what custom resources show";
        for _ in 0..super::super::MAX_CONFLICTS {
            let read = read_head(&self.cluster, ACTION).await?;
            let mut next = read.head.clone();
            if !note(&mut next, mesh, tree) {
                // The ledger has moved on: there is more to show.
                return Ok(());
            }
            match read.replace(&self.cluster, ACTION, &next).await {
                Ok(()) => {
                    let needed: HashSet<&Blob> = tree.blobs().collect();
                    let unneeded = before.blobs().filter(|blob| !needed.contains(blob));
                    self.clean_up(unneeded.cloned().collect(), Vec::new()).await;
                    return Ok(());
                }
                Err(Fault::Conflict) => {
                    let pause = std::time::Duration::from_millis(50);
                    tokio::time::sleep(self.cluster.jitter(pause)).await;
                }
                Err(fault) => return Err(fault.into_error(&self.cluster, ACTION)),
            }
        }
        Err(Fault::Conflict.into_error(&self.cluster, ACTION))
    }
}

/// Notes what is shown of a mesh; whether it is still what the ledger holds.
fn note(head: &mut Head, mesh: &MeshName, tree: &Tree) -> bool {
    match (head.meshes.get_mut(mesh), &tree.root) {
        (Some(entry), Some(root)) if entry.root == *root => {
            entry.shown = Some(root.clone());
            true
        }
        (None, None) => head.gone.remove(mesh).is_some(),
        _ => false,
    }
}
