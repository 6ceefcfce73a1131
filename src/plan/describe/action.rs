//! What a step does, in words.

use std::fmt;
use std::time::Duration;

use super::list;
use crate::ca::CertificateInfo;
use crate::model::{HumanDuration, Posture};
use crate::plan::{Action, AuthorityRef, Reissue};

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
                    (true, _) => {
                        "inbounds accept plaintext and mTLS; open connections end after the \
                         proxies' drain time"
                    }
                    (false, Posture::Encrypting) => {
                        "inbounds accept plaintext, from anyone, and mTLS"
                    }
                    (false, Posture::Permissive) => "outbounds open plaintext",
                    (false, Posture::Identified) => {
                        "inbounds accept plaintext only; open connections end after the \
                         proxies' drain time"
                    }
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
