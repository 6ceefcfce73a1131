//! Commits that came at once, taken one by one where the order matters.
//!
//! A change of CA is refused until one commit disables mTLS and a later one
//! changes the CA. Pushed together, only the last of them is the head; so the
//! meshes that are refused there are taken through the commits in between: each
//! through those after the one that it stands at, and never through one that it
//! has behind it.

use std::collections::{BTreeMap, BTreeSet};

use tracing::info;

use super::verdict::{Failure, Verdict};
use super::{Reconciler, Scope};
use crate::model::{MeshName, Revision};

/// The most commits that are taken one by one.
const MAX_COMMITS: usize = 100;

impl Reconciler {
    /// Takes the refused meshes of `verdict` through the commits between the
    /// last applied revision and `head`, and judges `head` again.
    pub(super) async fn catch_up(
        &mut self,
        head: &Revision,
        verdict: Verdict,
    ) -> Result<Verdict, Failure> {
        if self.caught_up.as_ref() == Some(head) {
            return Ok(verdict);
        }
        let Some(applied) = self.applied.clone() else {
            return Ok(verdict);
        };
        let unfinished: BTreeSet<MeshName> = verdict.meshes.keys().cloned().collect();
        let walked = self
            .walk(&applied, head, &verdict.ca_change_forbidden)
            .await;
        // Whatever was looked at in between, these have not reached the head.
        self.scope.add(unfinished);
        if !walked? {
            return Ok(verdict);
        }
        self.gather(head.clone()).await?;
        let mut last = self.reconcile_loaded(head).await?;
        last.applied.extend(verdict.applied);
        self.caught_up = Some(head.clone());
        Ok(last)
    }

    /// Takes `meshes` through the commits before `head` that they have before
    /// them; whether any other commit was loaded for it.
    async fn walk(
        &mut self,
        applied: &Revision,
        head: &Revision,
        meshes: &BTreeSet<MeshName>,
    ) -> Result<bool, Failure> {
        let past = self.past(applied, head)?;
        if past.is_empty() {
            return Ok(false);
        }
        let places = self.places(meshes, &past).await?;
        for (index, revision) in past.iter().enumerate() {
            let behind: BTreeSet<MeshName> = places
                .iter()
                .filter(|(_, place)| **place < index)
                .map(|(mesh, _)| mesh.clone())
                .collect();
            if behind.is_empty() {
                continue;
            }
            info!(%revision, meshes = behind.len(), "taking one commit of several");
            self.gather(revision.clone()).await?;
            self.scope = Scope::Meshes(behind);
            self.reconcile_loaded(revision).await?;
        }
        Ok(true)
    }

    /// Where each of the meshes stands in `past`: at the last commit that wants what is stored.
    /// One that stands nowhere is not in it; another way than `past` led to it.
    async fn places(
        &mut self,
        meshes: &BTreeSet<MeshName>,
        past: &[Revision],
    ) -> Result<BTreeMap<MeshName, usize>, Failure> {
        let mut places = BTreeMap::new();
        for (index, revision) in past.iter().enumerate().rev() {
            let sought: BTreeSet<MeshName> = meshes
                .iter()
                .filter(|mesh| !places.contains_key(*mesh))
                .cloned()
                .collect();
            if sought.is_empty() {
                break;
            }
            self.gather(revision.clone()).await?;
            let gathering = self.gathering.as_ref().ok_or(Failure::Interrupted)?;
            if gathering.state.holds_back_commit() {
                continue;
            }
            let desired = gathering.state.desired();
            self.scope = Scope::Meshes(sought.clone());
            let plan = self.plan(&desired);
            if !plan.blocked.is_empty() {
                continue;
            }
            let differs = |mesh: &MeshName| {
                let mut plans = plan.meshes.iter();
                plans.any(|plan| {
                    plan.mesh == *mesh && (plan.is_blocked() || !plan.changes.is_empty())
                })
            };
            let found = sought.into_iter().filter(|mesh| !differs(mesh));
            places.extend(found.map(|mesh| (mesh, index)));
        }
        Ok(places)
    }

    /// The commits from `applied` up to the one before `head`, oldest first;
    /// nothing where there is none between the two.
    fn past(&self, applied: &Revision, head: &Revision) -> Result<Vec<Revision>, Failure> {
        let gathering = self.gathering.as_ref().ok_or(Failure::Interrupted)?;
        let path =
            gathering
                .repository
                .first_parent_path(&applied.commit, &head.commit, MAX_COMMITS)?;
        let Some(path) = path else {
            return Ok(Vec::new());
        };
        let between = path
            .into_iter()
            .filter(|commit| *commit != head.commit && *commit != applied.commit)
            .map(|commit| Revision {
                branch: head.branch.clone(),
                commit,
            });
        let past: Vec<_> = [applied.clone()].into_iter().chain(between).collect();
        Ok(if past.len() > 1 { past } else { Vec::new() })
    }
}
