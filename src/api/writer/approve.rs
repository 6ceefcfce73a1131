//! Going on without proxies that a transition waits for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use super::{MAX_CONFLICTS, NotWritten, Writer};
use crate::clock;
use crate::model::{
    Generation, HistoryEntry, MeshName, MeshState, Phase, ResourceName, Transition,
};
use crate::outlook::Outlook;
use crate::plan::Circumstances;
use crate::store::{MeshWrite, Operation, WriteError};

/// Why nothing was approved.
#[derive(Debug, thiserror::Error)]
pub(in crate::api) enum NotApproved {
    #[error("there is no such mesh")]
    NoMesh,
    #[error("no transition runs in mesh {mesh}")]
    NoTransition { mesh: MeshName },
    #[error("not all of them are awaited")]
    NotAwaited {
        mesh: MeshName,
        /// Those that are not, with their places in the request.
        names: Vec<(usize, ResourceName)>,
        /// Those that are, as `<mesh>/<name>`.
        awaited: Vec<String>,
        /// The phase that the mesh is held before, where it is.
        held: Option<Phase>,
    },
    #[error(transparent)]
    Write(#[from] NotWritten),
}

impl Writer {
    /// Notes that the transition of a mesh goes on without these dataplanes,
    /// until its end. Returns the phase that it is held before, if it is: no
    /// approval changes that.
    pub(in crate::api) async fn approve(
        self: &Arc<Self>,
        mesh: MeshName,
        names: Vec<ResourceName>,
    ) -> Result<Option<Phase>, NotApproved> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let writer = Arc::clone(self);
        // A client that leaves does not leave a write unannounced.
        let write = tokio::spawn(async move {
            let written = writer.try_approve(&mesh, &names).await;
            drop(turn);
            written
        });
        let (held, generation) = write.await.map_err(|_| NotWritten::Interrupted)??;
        self.until_served(generation).await;
        Ok(held)
    }

    async fn try_approve(
        &self,
        mesh: &MeshName,
        names: &[ResourceName],
    ) -> Result<(Option<Phase>, Generation), NotApproved> {
        for _ in 0..MAX_CONFLICTS {
            let current = self.current().await.map_err(NotWritten::from)?;
            let state = current.meshes.get(mesh).ok_or(NotApproved::NoMesh)?;
            let (transition, held) = self.approved(state, names)?;
            if Some(&transition) == state.progress.transition.as_ref() {
                return Ok((held, current.generation));
            }
            let list: Vec<String> = names.iter().map(|name| format!("{mesh}/{name}")).collect();
            let write = MeshWrite {
                mesh: mesh.clone(),
                expected: state.generation,
                operations: vec![Operation::Note(
                    state.progress.rules.clone(),
                    Some(Box::new(transition)),
                )],
                history: Some(HistoryEntry {
                    at: clock::now(),
                    // The store knows which it will be.
                    generation: Generation(0),
                    mesh: mesh.clone(),
                    revision: None,
                    steps: vec![format!("approved going on without {}", list.join(", "))],
                    gates: Vec::new(),
                    ended: None,
                }),
            };
            let written = match self.parts.store.write(&write).await {
                Ok(written) => written,
                Err(WriteError::Conflict { .. }) => continue,
                Err(WriteError::Refused { source, .. }) => {
                    return Err(NotWritten::NotAdmitted(source).into());
                }
                Err(WriteError::Store(source)) => return Err(NotWritten::Store(source).into()),
            };
            let generation = written.generation;
            info!(%mesh, %generation, dataplanes = names.len(), "a transition goes on without dataplanes");
            return Ok((held, generation));
        }
        Err(NotWritten::Contended.into())
    }

    /// The transition with the approval of these names, all of which are
    /// awaited now or approved already.
    fn approved(
        &self,
        state: &MeshState,
        names: &[ResourceName],
    ) -> Result<(Transition, Option<Phase>), NotApproved> {
        let evidence = (self.parts.evidence)();
        let given = Circumstances {
            evidence: &evidence,
            issuing: self.parts.issuing,
            now: clock::now(),
        };
        let mesh = state.name.clone();
        let Some(outlook) = Outlook::running(state, given) else {
            return Err(NotApproved::NoTransition { mesh });
        };
        let waits = outlook.waiting.as_ref().filter(|waits| waits.held);
        let held = waits.map(|waits| waits.before);
        let awaited = outlook.awaited();
        let known: BTreeSet<&ResourceName> = awaited
            .iter()
            .map(|it| &it.dataplane.name)
            .chain(&outlook.transition.approved)
            .collect();
        let names_and_places = names.iter().cloned().enumerate();
        let unknown: Vec<_> = names_and_places
            .filter(|(_, name)| !known.contains(name))
            .collect();
        if !unknown.is_empty() {
            return Err(NotApproved::NotAwaited {
                mesh,
                names: unknown,
                awaited: awaited.iter().map(|it| it.dataplane.to_string()).collect(),
                held,
            });
        }
        let mut transition = outlook.transition;
        transition.approved.extend(names.iter().cloned());
        Ok((transition, held))
    }
}
