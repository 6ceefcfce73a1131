//! Steps and reasons in words.

use std::fmt;
use std::time::Duration;

use super::{Action, AuthorityRef, Blocked, MeshPlan, Plan, Reissue, Risk, Step, Verdict, Window};
use crate::ca::CertificateInfo;
use crate::model::{DataplaneId, HumanDuration, Posture, ResourceKey, count};

/// The most names that a sentence lists.
const MAX_NAMES: usize = 5;

/// How much of an authority's id is told: `sha256:` and 48 bits.
const SHORT_ID: usize = "sha256:".len() + 12;

impl Action {
    /// The kind of the step, as in the plan's JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateAuthority { .. } => "createAuthority",
            Self::StageAuthority { .. } => "stageAuthority",
            Self::PrepareAuthority(_) => "prepareAuthority",
            Self::ActivateAuthority { .. } => "activateAuthority",
            Self::RetireAuthority(_) => "retireAuthority",
            Self::DrainConnections => "drainConnections",
            Self::WithdrawAuthority(_) => "withdrawAuthority",
            Self::RevokeAuthority(_) => "revokeAuthority",
            Self::Secure { from, to, .. } => match (from < to, to) {
                (true, Posture::Identified) => "giveIdentities",
                (true, Posture::Encrypting) => "openMtls",
                (true, Posture::Strict) => "requireMtls",
                (true, _) | (false, Posture::Encrypting) => "acceptBoth",
                (false, Posture::Permissive) => "openPlaintext",
                (false, Posture::Identified) => "acceptPlaintext",
                (false, _) => "withdrawIdentities",
            },
            Self::Confirm => "confirm",
            Self::CreateMesh => "createMesh",
            Self::UpdateMesh => "updateMesh",
            Self::ChangeCa => "changeCa",
            Self::EnableMtls => "enableMtls",
            Self::DisableMtls => "disableMtls",
            Self::WriteResources(_) => "writeResources",
            Self::RecordOrigin(_) => "recordOrigin",
            Self::DeleteResources(_) => "deleteResources",
            Self::DeleteMesh => "deleteMesh",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateAuthority { ordinal } => {
                write!(
                    f,
                    "create builtin authority {ordinal}: a new root, trusted by nobody yet"
                )
            }
            Self::StageAuthority { name, certificate } => {
                write!(
                    f,
                    "stage provided authority {name}: {}",
                    Described(certificate)
                )
            }
            Self::PrepareAuthority(authority) => {
                write!(f, "add {authority} to the trust bundle")
            }
            Self::ActivateAuthority {
                authority,
                certificate,
                reissue,
            } => {
                write!(f, "sign leaves with {authority}")?;
                if let Some(certificate) = certificate {
                    write!(f, ": {}", Described(certificate))?;
                }
                write!(f, "{reissue}")
            }
            Self::RetireAuthority(authority) => write!(f, "stop signing with {authority}"),
            Self::DrainConnections => f.write_str(
                "end connections that an earlier authority authenticated: those that outlive the \
                 proxies' drain time are closed, and have to be opened again",
            ),
            Self::WithdrawAuthority(authority) => {
                write!(f, "drop {authority} from the trust bundle")
            }
            Self::RevokeAuthority(authority) => write!(f, "destroy the key of {authority}"),
            Self::Secure { from, to, reissue } => {
                f.write_str(match (from < to, to) {
                    (true, Posture::Identified) => {
                        "give proxies their certificates and whom to trust"
                    }
                    (true, Posture::Encrypting) => {
                        "outbounds open mTLS: what no permission allows is denied from here on"
                    }
                    (true, Posture::Strict) => {
                        "inbounds accept mTLS only: who is no proxy of the mesh is refused"
                    }
                    (true, _) => "inbounds accept plaintext and mTLS",
                    (false, Posture::Encrypting) => {
                        "inbounds accept plaintext, from anyone, and mTLS"
                    }
                    (false, Posture::Permissive) => "outbounds open plaintext",
                    (false, Posture::Identified) => "inbounds accept plaintext only",
                    (false, _) => "give proxies no certificates any more",
                })?;
                write!(f, "{reissue}")
            }
            Self::Confirm => f.write_str("see that the last step has reached every proxy"),
            Self::CreateMesh => f.write_str("create the mesh"),
            Self::UpdateMesh => f.write_str("update the mesh"),
            Self::ChangeCa => f.write_str("change the CA"),
            Self::EnableMtls => f.write_str("enable mTLS"),
            Self::DisableMtls => {
                f.write_str("disable mTLS: traffic becomes plaintext, and all of it is permitted")
            }
            Self::WriteResources(resources) => {
                f.write_str("write ")?;
                list(f, resources)
            }
            Self::RecordOrigin(resources) => {
                f.write_str("note where these come from now: ")?;
                list(f, resources)
            }
            Self::DeleteResources(resources) => {
                f.write_str("delete ")?;
                list(f, resources)
            }
            Self::DeleteMesh => f.write_str("delete the mesh, its authorities and their keys"),
        }
    }
}

impl fmt::Display for AuthorityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(ordinal) => write!(f, "builtin authority {ordinal}"),
            Self::Provided { name, id } => {
                let id = id.to_string();
                // Enough to tell roots of one name apart: the step that stages or activates one
                // has all of it.
                let short = id.get(..SHORT_ID).unwrap_or(&id);
                write!(f, "provided authority {name} ({short}…)")
            }
        }
    }
}

impl fmt::Display for Reissue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataplanes, rate } = self;
        if dataplanes.is_empty() {
            return Ok(());
        }
        let new = if dataplanes.len() == 1 {
            "new leaf"
        } else {
            "new leaves"
        };
        write!(
            f,
            "; {} {new}, within about {} at {rate} a second, for ",
            dataplanes.len(),
            HumanDuration(Duration::from_secs(self.seconds()))
        )?;
        list(f, dataplanes)
    }
}

impl Step {
    /// What has to happen before it, in words; `None` where nothing has to.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let hold = self
            .phase
            .filter(|_| self.held)
            .map(|phase| format!("`hold: {phase}` to be removed"));
        match (hold, self.waits_for) {
            (Some(hold), Some(gate)) => Some(format!("{hold}, and {gate}")),
            (hold, gate) => hold.or_else(|| gate.map(|gate| gate.to_string())),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.opens, self.since) {
            (Some(step), _) => write!(f, "from step {step}")?,
            (None, Some(since)) => write!(f, "since {since}")?,
            (None, None) => f.write_str("as before")?,
        }
        match self.closes {
            Some(step) => write!(f, " until step {step} has reached every proxy")?,
            None => f.write_str(" on")?,
        }
        f.write_str(", traffic may be plaintext, and no permission keeps anyone out")
    }
}

/// What a reviewer needs to know of a certificate.
struct Described<'a>(&'a CertificateInfo);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CertificateInfo {
            id,
            spki,
            subject,
            not_before,
            not_after,
            ..
        } = self.0;
        let subject = if subject.is_empty() {
            "(empty)"
        } else {
            subject
        };
        write!(
            f,
            "fingerprint {id}, SPKI {spki}, subject {subject}, valid from {not_before} to {not_after}"
        )
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().take(MAX_NAMES).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    match items.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}

pub(super) struct List<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, self.0)
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("the revision has errors"),
            Self::CaChangeForbidden => f.write_str(super::CA_CHANGE_FORBIDDEN),
            Self::RootTooShort { ends, needs, .. } => write!(
                f,
                "certificate ends on {ends}, which is too soon to sign leaves: it must live on \
                 for {needs}, a leaf and a rotation to the next root"
            ),
            Self::EmptySource { resources } => write!(
                f,
                "the source holds no resource, and an empty source deletes nothing \
                 ({} in the store)",
                count(*resources, "resource")
            ),
            Self::BudgetExceeded { limit, wanted } => write!(
                f,
                "the revision deletes {}, more than the {limit} that \
                 `deletion.maxResources` allows",
                count(*wanted, "resource")
            ),
            Self::NeedsApproval { resources } => write!(
                f,
                "`deletion.requireApproval` keeps these from being deleted: {}",
                List::<ResourceKey>(resources)
            ),
            Self::DataplanesConnected { dataplanes } => write!(
                f,
                "the mesh is not deleted while dataplanes are connected: {}",
                List::<DataplaneId>(dataplanes)
            ),
            Self::OwnedByOthers { resources } => write!(
                f,
                "these belong to the API or to another source: {}",
                List::<ResourceKey>(resources)
            ),
            Self::Drifted { resources } => write!(
                f,
                "these were changed in the store, and `drift: report` leaves them: {}",
                List::<ResourceKey>(resources)
            ),
        }
    }
}

impl Blocked {
    /// The reason in one word, as in a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::CaChangeForbidden => "CaChangeForbidden",
            Self::RootTooShort { .. } => "RootTooShort",
            Self::EmptySource { .. } => "EmptySource",
            Self::BudgetExceeded { .. } => "BudgetExceeded",
            Self::NeedsApproval { .. } => "NeedsApproval",
            Self::DataplanesConnected { .. } => "DataplanesConnected",
            Self::OwnedByOthers { .. } => "OwnedByOthers",
            Self::Drifted { .. } => "Drifted",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Disruptive => "disruptive",
            Self::Plaintext => "plaintext",
            Self::Destructive => "destructive",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl MeshPlan {
    /// The id of one of its steps, `<mesh>/<number>`.
    #[must_use]
    pub fn step_id(&self, step: &Step) -> String {
        format!("{}/{}", self.mesh, step.number)
    }

    /// Whether the steps may be executed.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }
}

impl Plan {
    /// Whether a safety rule (not an error of the revision) keeps something
    /// from being done.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let meshes = self.meshes.iter().flat_map(|mesh| &mesh.blocked);
        self.blocked
            .iter()
            .chain(meshes)
            .any(|blocked| *blocked != Blocked::Invalid)
    }

    /// Whether the revision differs from what is stored, as far as it is valid.
    /// A transition that runs anyway is no difference, nor is where resources
    /// come from.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let differs = |mesh: &MeshPlan| !mesh.changes.is_empty() || mesh.rules_before.is_some();
        self.is_blocked() || self.meshes.iter().any(differs)
    }

    /// How many steps of a mesh are done at once, in one write; the others
    /// follow. Nothing is known of the proxies of a revision: whatever waits
    /// for them follows.
    #[must_use]
    pub fn due(&self, mesh: &MeshPlan) -> usize {
        let waits = |step: &Step| step.held || step.waits_for.is_some();
        match mesh.steps.iter().position(waits) {
            Some(first) if self.base.is_some() => mesh.due.min(first),
            _ => mesh.due,
        }
    }

    /// How many resources are created, updated and deleted.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for mesh in &self.meshes {
            summary.steps += mesh.steps.len();
            for change in &mesh.changes {
                match (&change.before, &change.after) {
                    (None, _) => summary.create += 1,
                    (Some(_), Some(_)) => summary.update += 1,
                    (Some(_), None) => summary.delete += 1,
                }
            }
        }
        summary
    }
}

/// The counts of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Resources that are created.
    pub create: usize,
    /// Resources that are updated.
    pub update: usize,
    /// Resources that are deleted.
    pub delete: usize,
    /// Steps.
    pub steps: usize,
}
