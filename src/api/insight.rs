//! What is known of each proxy, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{
    AuthorityId, BundleId, Dataplane, MeshState, Nack, Part, ProxyEvidence, ResourceName, Timestamp,
};
use crate::xds::resource::{IDENTITY_CERT, MESH_CA, ResourceType};

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
    /// What it asks for: whether it has acknowledged that as it is now.
    #[serde(default)]
    pub parts: BTreeMap<Part, PartInsight>,
    /// The secrets and types that it asks for and has not acknowledged as they
    /// are now, and those of which it rejected the last response.
    pub out_of_sync: BTreeSet<String>,
    /// Its last rejection, until it accepts something good.
    pub last_nack: Option<Nack>,
}

/// What is known of one part that a proxy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartInsight {
    /// Whether it has acknowledged the part as it is for the mesh now.
    pub current: bool,
    /// When it acknowledged what it has of it; absent if never.
    pub acknowledged_at: Option<Timestamp>,
}

impl Insight {
    /// What is known of the proxies of a mesh, in the order of their names.
    pub(super) fn of_mesh<'a>(
        mesh: &'a MeshState,
        evidence: impl Fn(&Dataplane) -> Option<&'a Arc<ProxyEvidence>>,
    ) -> Vec<Self> {
        mesh.dataplanes()
            .map(|dataplane| match evidence(dataplane) {
                Some(proxy) => Self::of(proxy, mesh),
                None => Self::none(dataplane.name.clone()),
            })
            .collect()
    }

    fn of(proxy: &ProxyEvidence, mesh: &MeshState) -> Self {
        let parts = parts(proxy, mesh);
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
            out_of_sync: out_of_sync(proxy, &parts),
            parts,
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
            parts: BTreeMap::new(),
            out_of_sync: BTreeSet::new(),
            last_nack: None,
        }
    }
}

/// The parts that a proxy asks for or has acknowledged, against those of its mesh.
fn parts(proxy: &ProxyEvidence, mesh: &MeshState) -> BTreeMap<Part, PartInsight> {
    let progress = &mesh.progress;
    let is_given = |part: &Part| {
        let is_secret = matches!(part, Part::Bundle | Part::Leaf);
        !is_secret || progress.posture.has_identities()
    };
    let parts = Part::ALL.into_iter().filter(is_given);
    parts
        .filter_map(|part| {
            let known = proxy.acknowledged.get(&part);
            let asks = proxy.asks.contains(&part);
            let insight = PartInsight {
                current: proxy.has_acknowledged(part, progress.marks.of(part)),
                acknowledged_at: known.map(|known| known.at),
            };
            asks.then_some((part, insight))
        })
        .collect()
}

fn out_of_sync(proxy: &ProxyEvidence, parts: &BTreeMap<Part, PartInsight>) -> BTreeSet<String> {
    let lacking = parts.iter().filter(|(_, part)| !part.current);
    let rejected = proxy.rejected.keys().chain(&proxy.refused).cloned();
    lacking
        .map(|(part, _)| wire_name(*part).to_owned())
        .chain(rejected)
        .collect()
}

/// What a proxy calls the part.
fn wire_name(part: Part) -> &'static str {
    match part {
        Part::Bundle => MESH_CA,
        Part::Leaf => IDENTITY_CERT,
        Part::Inbounds => ResourceType::Listener.name(),
        Part::Outbounds => ResourceType::Cluster.name(),
    }
}
