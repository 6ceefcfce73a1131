//! What is served: an immutable snapshot of the store with the keys that sign.
//!
//! The reconciler publishes through the one [`Publisher`], everyone else
//! holds a [`Watch`].

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::error;

use crate::ca::{CaError, Signer};
use crate::model::{Authority, AuthorityId, Current, MeshName, MeshState};
use crate::store::encryption::{Vault, VaultError};
use crate::store::{Changes, Store, StoreError};
use crate::telemetry;

/// One snapshot of all that is served.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// What the store holds.
    pub current: Arc<Current>,
    /// The active authority of every mesh that has one, ready to sign.
    pub signers: BTreeMap<AuthorityId, Arc<Signer>>,
}

/// Sees every snapshot that is published.
pub type Watch = watch::Receiver<Arc<Serving>>;

/// Why an authority cannot sign.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// The store did not give its key.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no key for it.
    #[error("the store holds no key for authority {0}")]
    NoKey(AuthorityId),
    /// The key could not be opened.
    #[error("the key of the authority cannot be opened")]
    Sealed(#[from] VaultError),
    /// The key is not usable.
    #[error(transparent)]
    Key(#[from] CaError),
}

/// The one writer of what is served.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    sender: watch::Sender<Arc<Serving>>,
}

impl Publisher {
    /// A publisher that serves nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Self {
        Self {
            store,
            vault,
            sender: watch::Sender::new(Arc::default()),
        }
    }

    /// Sees every snapshot from now on.
    #[must_use]
    pub fn subscribe(&self) -> Watch {
        self.sender.subscribe()
    }

    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Arc<Serving> {
        Arc::clone(&self.sender.borrow())
    }

    /// Serves `current` from now on, and returns whether every active authority
    /// can sign. The mesh of one that cannot is logged; it keeps its trust
    /// bundle and gets no new leaves.
    pub async fn publish(&self, current: Arc<Current>) -> bool {
        let before = self.serving();
        let mut signers = BTreeMap::new();
        let mut complete = true;
        for mesh in current.meshes.values() {
            let Some(active) = mesh.active_authority() else {
                continue;
            };
            if let Some(signer) = before.signers.get(&active.id) {
                signers.insert(active.id, Arc::clone(signer));
                continue;
            }
            match self.signer(active).await {
                Ok(signer) => {
                    signers.insert(active.id, Arc::new(signer));
                }
                Err(reason) => {
                    complete = false;
                    let error = telemetry::chain(&reason).to_string();
                    error!(mesh = %mesh.name, authority = %active.id, error, "no new certificates");
                }
            }
        }
        self.sender
            .send_replace(Arc::new(Serving { current, signers }));
        complete
    }

    /// Whether an authority could sign; the log says why not.
    pub async fn can_sign(&self, authority: &Authority) -> bool {
        match self.signer(authority).await {
            Ok(_) => true,
            Err(reason) => {
                let error = telemetry::chain(&reason).to_string();
                error!(authority = %authority.id, error, "it cannot sign");
                false
            }
        }
    }

    async fn signer(&self, authority: &Authority) -> Result<Signer, Unusable> {
        let sealed = self.store.authority_key(&authority.id).await?;
        let key = self
            .vault
            .unseal(&sealed.ok_or(Unusable::NoKey(authority.id))?)?;
        Ok(Signer::new(authority, &key)?)
    }
}

/// `current` with what changed in the store since.
#[must_use]
pub fn merge(current: &Current, changes: &Changes) -> Current {
    let mut meshes: BTreeMap<MeshName, Arc<MeshState>> = changes
        .existing
        .iter()
        .filter_map(|name| Some((name.clone(), Arc::clone(current.meshes.get(name)?))))
        .collect();
    meshes.extend(
        changes
            .meshes
            .iter()
            .map(|mesh| (mesh.name.clone(), Arc::clone(mesh))),
    );
    Current {
        generation: changes.generation,
        meshes,
    }
}
