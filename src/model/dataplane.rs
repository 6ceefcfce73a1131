//! The Dataplane resource.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{DataplaneId, MeshName, ResourceName, ServiceName};

/// A proxy and the service instances behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataplane {
    /// The mesh that the dataplane belongs to.
    pub mesh: MeshName,
    /// The dataplane's name inside the mesh.
    pub name: ResourceName,
    /// The namespace of the Kubernetes form, kept for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ResourceName>,
    /// Where the proxy listens.
    pub networking: Networking,
}

/// Where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networking {
    /// The address that other proxies reach this one at.
    pub address: IpAddr,
    /// What the proxy stands in front of.
    #[serde(flatten)]
    pub role: Role,
    /// The services that the proxy reaches for its workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<Outbound>,
}

/// What a proxy stands in front of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Service instances, one inbound each; never empty.
    Inbound(Vec<Inbound>),
    /// A gateway, which has outbounds only.
    Gateway(Gateway),
}

/// Tags by name. Of an inbound or a gateway they hold `service`, a valid service name.
pub type Tags = BTreeMap<String, String>;

/// One service instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inbound {
    /// The port that the proxy listens on.
    pub port: NonZeroU16,
    /// The port that the service listens on; the same as `port` where not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_port: Option<NonZeroU16>,
    /// All tags, `service` among them.
    pub tags: Tags,
}

/// A gateway's tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// All tags, `service` among them.
    pub tags: Tags,
}

/// One service that the workload reaches through the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// The address that the proxy listens on; 127.0.0.1 where not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port that the proxy listens on.
    pub port: NonZeroU16,
    /// The service that connections go to.
    pub service: ServiceName,
}

impl Dataplane {
    /// The dataplane's identity.
    #[must_use]
    pub fn id(&self) -> DataplaneId {
        DataplaneId {
            mesh: self.mesh.clone(),
            name: self.name.clone(),
        }
    }

    /// Every service that the dataplane offers, sorted.
    #[must_use]
    pub fn services(&self) -> BTreeSet<ServiceName> {
        let tags: Vec<&Tags> = match &self.networking.role {
            Role::Inbound(inbounds) => inbounds.iter().map(|inbound| &inbound.tags).collect(),
            Role::Gateway(gateway) => vec![&gateway.tags],
        };
        tags.iter()
            .filter_map(|tags| tags.get("service")?.parse().ok())
            .collect()
    }

    /// The service that the dataplane's leaf names: the first of its sorted
    /// `service` tags.
    #[must_use]
    pub fn service(&self) -> Option<ServiceName> {
        self.services().into_iter().next()
    }
}
