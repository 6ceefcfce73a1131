//! What is known of each proxy, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    AuthorityId, BundleId, Dataplane, MeshState, Nack, ProxyEvidence, ResourceName, Timestamp,
};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA};
use crate::xds::snapshot::TrustBundle;

/// What is known of one dataplane's proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Insight {
    /// The dataplane.
    pub name: ResourceName,
    /// Since when it is connected; absent while it is not.
    pub connected_since: Option<Timestamp>,
    /// The instance of the control plane that it is connected to, or was last.
    pub replica: Option<Arc<str>>,
    /// When it was last heard of; absent if never.
    pub last_seen: Option<Timestamp>,
    /// The trust bundle that it holds.
    pub bundle: Option<BundleId>,
    /// The authority of its leaf.
    pub leaf_authority: Option<AuthorityId>,
    /// When its leaf ends.
    pub leaf_expires_at: Option<Timestamp>,
    /// When the token ends with which it connected last.
    pub token_expires_at: Option<Timestamp>,
    /// The versions that it accepted last, by secret and by other type.
    pub versions: BTreeMap<String, String>,
    /// The secrets that it does not hold as they are now, and the secrets and
    /// types of which it rejected the last response.
    pub out_of_sync: BTreeSet<String>,
    /// Its last rejection, until it accepts something good.
    pub last_nack: Option<Nack>,
}

impl Insight {
    /// What is known of the proxies of a mesh, in the order of their names.
    pub(super) fn of_mesh<'a>(
        mesh: &'a MeshState,
        evidence: impl Fn(&Dataplane) -> Option<&'a Arc<ProxyEvidence>>,
    ) -> Vec<Self> {
        let wanted = Wanted::of(mesh);
        mesh.dataplanes()
            .map(|dataplane| match evidence(dataplane) {
                Some(proxy) => Self::of(proxy, &wanted),
                None => Self::none(dataplane.name.clone()),
            })
            .collect()
    }

    fn of(proxy: &ProxyEvidence, wanted: &Wanted) -> Self {
        Self {
            name: proxy.dataplane.name.clone(),
            connected_since: proxy.connected_since,
            replica: proxy.replica.clone(),
            last_seen: Some(proxy.seen),
            bundle: proxy.bundle,
            leaf_authority: proxy.leaf_issuer,
            leaf_expires_at: proxy.leaf_not_after,
            token_expires_at: proxy.token_expires_at,
            versions: proxy.versions.clone(),
            out_of_sync: out_of_sync(proxy, wanted),
            last_nack: proxy.last_nack.clone(),
        }
    }

    /// What is known of a proxy that never came.
    fn none(name: ResourceName) -> Self {
        Self {
            name,
            connected_since: None,
            replica: None,
            last_seen: None,
            bundle: None,
            leaf_authority: None,
            leaf_expires_at: None,
            token_expires_at: None,
            versions: BTreeMap::new(),
            out_of_sync: BTreeSet::new(),
            last_nack: None,
        }
    }
}

/// What every proxy of a mesh should hold now. Without mTLS it needs neither,
/// and may keep what it has.
struct Wanted {
    bundle: Option<BundleId>,
    issuer: Option<AuthorityId>,
}

impl Wanted {
    fn of(mesh: &MeshState) -> Self {
        if !mesh.mesh().is_some_and(|mesh| mesh.mtls.enabled) {
            return Self {
                bundle: None,
                issuer: None,
            };
        }
        Self {
            bundle: TrustBundle::of(mesh).map(|bundle| bundle.id),
            issuer: mesh.active_authority().map(|authority| authority.id),
        }
    }
}

fn out_of_sync(proxy: &ProxyEvidence, wanted: &Wanted) -> BTreeSet<String> {
    let lacks_bundle = wanted.bundle.is_some() && wanted.bundle != proxy.bundle;
    let lacks_leaf = wanted.issuer.is_some() && wanted.issuer != proxy.leaf_issuer;
    let secrets = [(lacks_bundle, MESH_CA), (lacks_leaf, IDENTITY_CERT)];
    let lacking = secrets.into_iter().filter(|(is_lacking, _)| *is_lacking);
    let rejected = proxy.rejected.keys().chain(&proxy.refused).cloned();
    lacking
        .map(|(_, name)| name.to_owned())
        .chain(rejected)
        .collect()
}
