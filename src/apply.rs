//! Carries plans out; decides nothing.
//!
//! Every step of a mesh becomes operations of one [`MeshWrite`], so a mesh is
//! applied whole or not at all.

use std::collections::BTreeMap;

use crate::ca::{self, CaError};
use crate::model::{
    AuthorityId, AuthorityState, Desired, Evidence, Generation, HistoryEntry, MeshName, MeshState,
    Origin, Posture, PrivateKey, Resource, ResourceKey, Revision, StoredResource, Timestamp,
};
use crate::outlook::{self, Recorded};
use crate::plan::{Action, AuthorityRef, MeshPlan};
use crate::store::encryption::{Vault, VaultError};
use crate::store::{MeshWrite, Operation, Store, WriteError, Written};

/// The keys of provided authorities that were opened, by certificate.
pub type OpenedKeys = BTreeMap<AuthorityId, PrivateKey>;

/// What applying needs beside the plan.
#[derive(Debug)]
pub struct Applier<'a> {
    /// Where it is written.
    pub store: &'a dyn Store,
    /// What seals keys before they are written.
    pub vault: &'a Vault,
    /// The keys of the authorities that the plan stages.
    pub keys: &'a OpenedKeys,
    /// What proxies have acknowledged, for the history.
    pub evidence: &'a Evidence,
    /// The present.
    pub now: Timestamp,
}

/// A mesh that was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The plan was made against another state than the one that is given.
    #[error("the plan of mesh {mesh} is stale: it names {what} that is not there")]
    Stale {
        /// The mesh.
        mesh: MeshName,
        /// What is not there.
        what: String,
    },
    /// The key of an authority that is to be staged was not opened.
    #[error("the key of authority {id} was not opened")]
    NoKey {
        /// The authority.
        id: AuthorityId,
    },
    /// An authority could not be made.
    #[error("failed to make an authority of mesh {mesh}")]
    Authority {
        /// The mesh.
        mesh: MeshName,
        /// Why.
        source: CaError,
    },
    /// A key could not be sealed.
    #[error("failed to seal the key of an authority of mesh {mesh}")]
    Seal {
        /// The mesh.
        mesh: MeshName,
        /// Why.
        source: VaultError,
    },
    /// The key of the authority that is to sign cannot be used.
    #[error(
        "authority {id} of mesh {mesh} cannot sign: its stored key cannot be opened; check \
         `store.encryption.identityFile`, or change back to the authority that signs"
    )]
    CannotSign {
        /// The mesh.
        mesh: MeshName,
        /// The authority.
        id: AuthorityId,
    },
    /// The store did not take it.
    #[error("failed to write mesh {mesh}")]
    Write {
        /// The mesh.
        mesh: MeshName,
        /// Why.
        source: WriteError,
    },
}

impl Applier<'_> {
    /// Carries out what is due of the plan of one mesh in one transaction.
    ///
    /// # Errors
    ///
    /// Fails, with nothing written, when the store has changed since the plan
    /// was made, refuses the write or does not answer, or a key is missing.
    pub async fn apply(
        &self,
        plan: &MeshPlan,
        current: &MeshState,
        desired: &Desired,
    ) -> Result<Written, ApplyError> {
        let mut translation = Translation {
            applier: self,
            plan,
            current,
            desired,
            made: None,
        };
        let mut operations = Vec::new();
        let (rules, transition) = (&plan.progress.rules, &plan.progress.transition);
        if *rules != current.progress.rules || *transition != current.progress.transition {
            let transition = transition.clone().map(Box::new);
            operations.push(Operation::Note(rules.clone(), transition));
        }
        for step in &plan.steps[..plan.due] {
            translation.step(&step.action, &mut operations)?;
        }
        let write = MeshWrite {
            mesh: plan.mesh.clone(),
            expected: plan.generation,
            operations,
            history: Some(self.history(plan, current, desired.revision.clone())),
        };
        self.store
            .write(&write)
            .await
            .map_err(|source| ApplyError::Write {
                mesh: plan.mesh.clone(),
                source,
            })
    }

    fn history(
        &self,
        plan: &MeshPlan,
        current: &MeshState,
        revision: Option<Revision>,
    ) -> HistoryEntry {
        let Recorded { gates, ended } = outlook::recorded(current, plan, self.evidence, self.now);
        HistoryEntry {
            at: self.now,
            // The store knows which it will be.
            generation: Generation(0),
            mesh: plan.mesh.clone(),
            revision,
            steps: plan.steps[..plan.due]
                .iter()
                .map(|step| step.action.to_string())
                .collect(),
            gates,
            ended,
        }
    }
}

/// Turns the steps of one mesh into operations.
struct Translation<'a> {
    applier: &'a Applier<'a>,
    plan: &'a MeshPlan,
    current: &'a MeshState,
    desired: &'a Desired,
    /// The builtin authority that this plan makes.
    made: Option<AuthorityId>,
}

impl Translation<'_> {
    fn step(&mut self, action: &Action, out: &mut Vec<Operation>) -> Result<(), ApplyError> {
        let applier = self.applier;
        match action {
            Action::CreateAuthority { ordinal } => {
                let (authority, key) = ca::create_builtin(&self.plan.mesh, *ordinal, applier.now)
                    .map_err(|source| self.authority_error(source))?;
                self.made = Some(authority.id);
                let sealed = applier
                    .vault
                    .seal(&key)
                    .map_err(|source| self.seal_error(source))?;
                out.push(Operation::AddAuthority(authority, sealed));
            }
            Action::StageAuthority { name, certificate } => {
                let key = ResourceKey {
                    mesh: self.plan.mesh.clone(),
                    kind: crate::model::Kind::ProvidedCa,
                    name: name.clone(),
                };
                let Resource::ProvidedCa(ca) = self.wanted(&key)? else {
                    return Err(self.stale(&key));
                };
                let authority = ca::provided(ca).map_err(|source| self.authority_error(source))?;
                let id = certificate.id;
                let private = applier.keys.get(&id).ok_or(ApplyError::NoKey { id })?;
                let sealed = applier
                    .vault
                    .seal(private)
                    .map_err(|source| self.seal_error(source))?;
                // The planner stages a known authority only where it is or becomes revoked: it
                // starts a new life.
                if self.current.authorities.contains_key(&id) {
                    out.push(Operation::ForgetAuthority(id));
                }
                out.push(Operation::AddAuthority(authority, sealed));
            }
            Action::PrepareAuthority(authority) => {
                self.move_authority(authority, AuthorityState::Prepared, out)?;
            }
            Action::ActivateAuthority { authority, .. } => {
                self.move_authority(authority, AuthorityState::Active, out)?;
            }
            Action::RetireAuthority(authority) => {
                let since = applier.now;
                self.move_authority(authority, AuthorityState::Retiring { since }, out)?;
            }
            Action::RevokeAuthority(authority) => {
                let at = applier.now;
                self.move_authority(authority, AuthorityState::Revoked { at }, out)?;
            }
            Action::DrainConnections => out.push(Operation::Drain),
            Action::WithdrawAuthority(authority) => {
                self.move_authority(authority, AuthorityState::Staged, out)?;
            }
            Action::Secure { to, .. } => out.push(Operation::Secure(*to)),
            Action::Confirm => {}
            Action::CreateMesh => {
                let key = ResourceKey::mesh(&self.plan.mesh);
                let Resource::Mesh(mesh) = self.wanted(&key)? else {
                    return Err(self.stale(&key));
                };
                if mesh.mtls.enabled {
                    out.push(Operation::Secure(Posture::Strict));
                }
                out.push(self.put(&key)?);
            }
            Action::UpdateMesh | Action::ChangeCa | Action::EnableMtls | Action::DisableMtls => {
                out.push(self.put(&ResourceKey::mesh(&self.plan.mesh))?);
            }
            Action::WriteResources(keys) | Action::RecordOrigin(keys) => {
                for key in keys {
                    out.push(self.put(key)?);
                }
            }
            Action::DeleteResources(keys) => {
                out.extend(keys.iter().cloned().map(Operation::DeleteResource));
            }
            Action::DeleteMesh => {
                out.push(Operation::DeleteResource(ResourceKey::mesh(
                    &self.plan.mesh,
                )));
            }
        }
        Ok(())
    }

    fn move_authority(
        &self,
        authority: &AuthorityRef,
        state: AuthorityState,
        out: &mut Vec<Operation>,
    ) -> Result<(), ApplyError> {
        let id = match authority {
            AuthorityRef::Provided { id, .. } => *id,
            AuthorityRef::Builtin(_) => {
                let mut stored = self.current.authorities.values();
                stored
                    .find(|stored| authority.names(stored))
                    .map(|stored| stored.id)
                    .or(self.made)
                    .ok_or_else(|| ApplyError::Stale {
                        mesh: self.plan.mesh.clone(),
                        what: authority.to_string(),
                    })?
            }
        };
        out.push(Operation::MoveAuthority(id, state));
        Ok(())
    }

    fn put(&self, key: &ResourceKey) -> Result<Operation, ApplyError> {
        let wanted = self
            .desired
            .meshes
            .get(&key.mesh)
            .and_then(|mesh| mesh.resources.get(key))
            .ok_or_else(|| self.stale(key))?;
        let origin = match &self.desired.revision {
            None => Origin::Api {},
            Some(revision) => Origin::Source {
                source: self.desired.source.clone(),
                file: wanted.location.file.clone(),
                revision: revision.clone(),
            },
        };
        Ok(Operation::PutResource(StoredResource {
            resource: without_key(&wanted.resource),
            digest: wanted.digest,
            origin,
        }))
    }

    fn wanted(&self, key: &ResourceKey) -> Result<&Resource, ApplyError> {
        self.desired
            .meshes
            .get(&key.mesh)
            .and_then(|mesh| mesh.resources.get(key))
            .map(|wanted| &wanted.resource)
            .ok_or_else(|| self.stale(key))
    }

    fn stale(&self, key: &ResourceKey) -> ApplyError {
        ApplyError::Stale {
            mesh: self.plan.mesh.clone(),
            what: key.to_string(),
        }
    }

    fn authority_error(&self, source: CaError) -> ApplyError {
        ApplyError::Authority {
            mesh: self.plan.mesh.clone(),
            source,
        }
    }

    fn seal_error(&self, source: VaultError) -> ApplyError {
        ApplyError::Seal {
            mesh: self.plan.mesh.clone(),
            source,
        }
    }
}

/// A stored ProvidedCa has no key: the authority's is kept apart.
fn without_key(resource: &Resource) -> Resource {
    match resource {
        Resource::ProvidedCa(ca) => Resource::ProvidedCa(crate::model::ProvidedCa {
            key: String::new(),
            ..ca.clone()
        }),
        other => other.clone(),
    }
}
