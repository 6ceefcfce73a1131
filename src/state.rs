//! What is served: an immutable snapshot of the store with the keys that sign.
//!
//! The reconciler publishes, everyone else holds a [`Watch`].

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::ca::Signer;
use crate::model::{AuthorityId, Current};

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
