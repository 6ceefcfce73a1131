//! What the replica that reconciles does for the store.

use tokio_util::sync::CancellationToken;

use super::KubernetesStore;

impl KubernetesStore {
    /// Takes care of the store until leadership is lost or released.
    pub(super) fn take_care(&self, lost: CancellationToken, released: CancellationToken) {
        let _ = (lost, released);
    }
}
