//! The TrafficPermission resource.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MeshName, ResourceName, ServiceName};

/// Which services may open connections to which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficPermission {
    /// The mesh that the permission belongs to.
    pub mesh: MeshName,
    /// The permission's name inside the mesh.
    pub name: ResourceName,
    /// The namespace of the Kubernetes form, kept for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ResourceName>,
    /// Who may connect; never empty.
    pub sources: Vec<Selector>,
    /// To whom; never empty.
    pub destinations: Vec<Selector>,
}

/// Selects services by the one tag `service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "SelectorForm", into = "SelectorForm")]
pub struct Selector {
    /// The services that match.
    pub service: ServiceMatch,
}

/// The value of a selector's `service` tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServiceMatch {
    /// `*`: every service of the mesh.
    Any,
    /// The one service of that name.
    Exactly(ServiceName),
}

impl ServiceMatch {
    /// Whether `service` is among the services that match.
    #[must_use]
    pub fn matches(&self, service: &ServiceName) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(name) => name == service,
        }
    }
}

impl fmt::Display for ServiceMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("*"),
            Self::Exactly(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl TryFrom<String> for ServiceMatch {
    type Error = super::InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" {
            Ok(Self::Any)
        } else {
            text.parse().map(Self::Exactly)
        }
    }
}

impl From<ServiceMatch> for String {
    fn from(service: ServiceMatch) -> Self {
        service.to_string()
    }
}

/// The resource's own shape: `{match: {service: …}}`.
#[derive(Clone, Serialize, Deserialize)]
struct SelectorForm {
    r#match: MatchForm,
}

#[derive(Clone, Serialize, Deserialize)]
struct MatchForm {
    service: ServiceMatch,
}

impl From<SelectorForm> for Selector {
    fn from(form: SelectorForm) -> Self {
        Self {
            service: form.r#match.service,
        }
    }
}

impl From<Selector> for SelectorForm {
    fn from(selector: Selector) -> Self {
        Self {
            r#match: MatchForm {
                service: selector.service,
            },
        }
    }
}

impl TrafficPermission {
    /// Whether this permission lets `source` connect to `destination`.
    #[must_use]
    pub fn allows(&self, source: &ServiceName, destination: &ServiceName) -> bool {
        self.sources.iter().any(|s| s.service.matches(source))
            && self
                .destinations
                .iter()
                .any(|d| d.service.matches(destination))
    }
}
