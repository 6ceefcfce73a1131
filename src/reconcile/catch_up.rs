//! Commits that came at once, taken one by one where the order matters.
//!
//! A change of CA is refused until one commit disables mTLS and a later one
//! changes the CA. Pushed together, only the last of them is the head; so the
//! meshes that are refused there are taken through the commits in between.

use std::collections::BTreeSet;

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
        let between = self.commits_between(&applied, head)?;
        if between.is_empty() {
            return Ok(verdict);
        }
        let refused = verdict.ca_change_forbidden.clone();
        let unfinished: BTreeSet<MeshName> = verdict.meshes.keys().cloned().collect();
        info!(
            commits = between.len(),
            meshes = refused.len(),
            "taking commits one by one"
        );
        for revision in between {
            self.gather(revision.clone()).await?;
            self.scope = Scope::Meshes(refused.clone());
            self.reconcile_loaded(&revision).await?;
        }
        self.gather(head.clone()).await?;
        self.scope = Scope::Meshes(unfinished);
        let mut last = self.reconcile_loaded(head).await?;
        last.applied.extend(verdict.applied);
        self.caught_up = Some(head.clone());
        Ok(last)
    }

    /// The commits after `applied` and before `head`, oldest first.
    fn commits_between(
        &self,
        applied: &Revision,
        head: &Revision,
    ) -> Result<Vec<Revision>, Failure> {
        let gathering = self.gathering.as_ref().ok_or(Failure::Interrupted)?;
        let path =
            gathering
                .repository
                .first_parent_path(&applied.commit, &head.commit, MAX_COMMITS)?;
        let commits = path.unwrap_or_default();
        Ok(commits
            .into_iter()
            .filter(|commit| *commit != head.commit)
            .map(|commit| Revision {
                branch: head.branch.clone(),
                commit,
            })
            .collect())
    }
}
