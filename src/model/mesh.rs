//! The Mesh resource.

use serde::{Deserialize, Serialize};

use super::{HumanDuration, MeshName, ResourceName};

/// A service mesh and its mTLS policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// The mesh's name, which is also its SPIFFE trust domain.
    pub name: MeshName,
    /// Mutual TLS; disabled where the resource does not mention it.
    #[serde(default)]
    pub mtls: Mtls,
}

/// The mTLS policy of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mtls {
    /// Whether proxies must use mTLS.
    pub enabled: bool,
    /// Which CA signs; builtin where the resource does not say.
    #[serde(default)]
    pub ca: CaSpec,
    /// How changes of mTLS or CA are carried out, where the mesh says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionSettings>,
}

/// Which CA a mesh uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CaSpec {
    /// A root that Windlass makes, one per mesh.
    Builtin {
        /// Which of the roots that Windlass makes for the mesh, counted from 1:
        /// this one or a later one. Raising it makes a new one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ordinal: Option<u32>,
    },
    /// A root that the user gives as a ProvidedCa.
    Provided {
        /// Which ProvidedCa, where the mesh has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<ResourceName>,
    },
}

impl CaSpec {
    /// The field's name: `builtin` or `provided`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Builtin { .. } => "builtin",
            Self::Provided { .. } => "provided",
        }
    }
}

impl Default for CaSpec {
    fn default() -> Self {
        Self::Builtin { ordinal: None }
    }
}

/// The `transition` block of a mesh or of `windlass.yaml`; what is not set
/// falls back to the repository's policy, then to the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionSettings {
    /// How a change of CA is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How long a gate waits before the transition is stalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_timeout: Option<HumanDuration>,
    /// What a gate does about proxies that are known but not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// The phase to stop before until the field is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Phase>,
}

impl TransitionSettings {
    /// These settings, completed by those of `fallback`.
    #[must_use]
    pub fn or(&self, fallback: &Self) -> Self {
        Self {
            strategy: self.strategy.or(fallback.strategy),
            ack_timeout: self.ack_timeout.or(fallback.ack_timeout),
            offline: self.offline.or(fallback.offline),
            hold: self.hold.or(fallback.hold),
        }
    }
}

/// How a change of CA is carried out while mTLS is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// Both roots are trusted until every proxy has a leaf of the new one.
    Rolling,
    /// mTLS off, CA changed, mTLS on.
    DisableFirst,
    /// Refused.
    Forbid,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Rolling => "rolling",
            Self::DisableFirst => "disableFirst",
            Self::Forbid => "forbid",
        })
    }
}

/// What a gate does about proxies that are known but not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offline {
    /// The gate waits for them.
    Block,
    /// The gate passes them over.
    Ignore,
}

/// A phase of a transition: five of a change of CA, then those in which mTLS
/// is enabled and disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The new authority is stored; nobody trusts it yet.
    Stage,
    /// Both roots are in the trust bundle.
    Propagate,
    /// The new authority signs.
    Activate,
    /// The old root leaves the trust bundle.
    Retire,
    /// The old key is destroyed.
    Done,
    /// Proxies are given their certificates and whom to trust.
    Identify,
    /// Inbounds accept plaintext and mTLS.
    Permit,
    /// Outbounds open mTLS.
    Encrypt,
    /// Inbounds accept mTLS only.
    Require,
    /// Outbounds open plaintext.
    Decrypt,
    /// Inbounds accept plaintext only.
    Disarm,
    /// Proxies are given no secrets any more.
    Forget,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 12] = [
        Self::Stage,
        Self::Propagate,
        Self::Activate,
        Self::Retire,
        Self::Done,
        Self::Identify,
        Self::Permit,
        Self::Encrypt,
        Self::Require,
        Self::Decrypt,
        Self::Disarm,
        Self::Forget,
    ];

    /// Whether the posture of the mesh changes in it.
    #[must_use]
    pub fn is_of_posture(self) -> bool {
        self >= Self::Identify
    }

    /// The phase's name, as in a mesh's `hold` and in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Propagate => "propagate",
            Self::Activate => "activate",
            Self::Retire => "retire",
            Self::Done => "done",
            Self::Identify => "identify",
            Self::Permit => "permit",
            Self::Encrypt => "encrypt",
            Self::Require => "require",
            Self::Decrypt => "decrypt",
            Self::Disarm => "disarm",
            Self::Forget => "forget",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
