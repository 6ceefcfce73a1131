//! The CA and mTLS state machine: the legal next steps of a mesh.
//!
//! Level-triggered: the steps follow from what is current and what is
//! desired, never from a remembered position. [`crate::plan`] asks for them.

use std::collections::BTreeMap;

use crate::ca::CertificateInfo;
use crate::model::{
    Authority, AuthorityOrigin, AuthorityState, CaSpec, DesiredMesh, Mesh, MeshState, ResourceName,
};
use crate::plan::{Action, AuthorityRef, Blocked};

/// The authority that a Mesh wants to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A builtin one that the mesh has.
    Builtin(u32),
    /// A builtin one that is to be made.
    NewBuiltin(u32),
    /// A provided one.
    Provided(ResourceName, CertificateInfo),
}

/// The steps that give `desired` the authorities it asks for, in order.
///
/// # Errors
///
/// [`Blocked::CaChangeForbidden`] where another authority would sign while
/// mTLS is enabled, [`Blocked::Invalid`] where the revision names no CA.
pub fn authority_steps(current: &MeshState, desired: &DesiredMesh) -> Result<Vec<Action>, Blocked> {
    let mesh = desired.mesh().ok_or(Blocked::Invalid)?;
    let provided = provided_certificates(desired);
    let target = target(current, mesh, &provided)?;
    let active = current.active_authority();
    let changes = active.is_some_and(|active| !target.is(active));
    if changes && current.mesh().is_some_and(|mesh| mesh.mtls.enabled) {
        return Err(Blocked::CaChangeForbidden);
    }

    let mut actions = Vec::new();
    for (name, certificate) in &provided {
        let known = current.authorities.get(&certificate.id);
        if known.is_none_or(is_revoked) {
            actions.push(Action::StageAuthority {
                name: (*name).clone(),
                certificate: certificate.clone(),
            });
        }
    }
    if let Target::NewBuiltin(ordinal) = target {
        actions.push(Action::CreateAuthority { ordinal });
    }
    let outgoing = active.filter(|_| changes);
    if outgoing.is_some() || active.is_none() {
        let mut steps = hand_over(current, desired, mesh, &target, outgoing);
        for step in &mut steps {
            if let Action::ActivateAuthority { certificate, .. } = step {
                certificate.take_if(|shown| is_staged(&actions, shown));
            }
        }
        actions.extend(steps);
    }
    // What no ProvidedCa holds any more and nobody trusts is not kept.
    for authority in current.authorities.values() {
        let wanted = provided
            .values()
            .any(|certificate| certificate.id == authority.id);
        if authority.state == AuthorityState::Staged && !wanted && !target.is(authority) {
            actions.push(Action::RevokeAuthority(reference(authority)));
        }
    }
    if let Some(outgoing) = outgoing {
        // A root that leaves but is still in Git goes back to the start of its life.
        for (name, certificate) in &provided {
            if certificate.id == outgoing.id {
                actions.push(Action::StageAuthority {
                    name: (*name).clone(),
                    certificate: certificate.clone(),
                });
            }
        }
    }
    Ok(actions)
}

/// The steps from one signing authority to the next while nobody needs either.
fn hand_over(
    current: &MeshState,
    desired: &DesiredMesh,
    mesh: &Mesh,
    target: &Target,
    outgoing: Option<&Authority>,
) -> Vec<Action> {
    let authority = target.reference();
    let known = current
        .authorities
        .values()
        .find(|authority| target.is(authority));
    let mut actions = Vec::new();
    if !known.is_some_and(|known| known.state.is_trusted()) {
        actions.push(Action::PrepareAuthority(authority.clone()));
    }
    actions.extend(outgoing.map(|old| Action::RetireAuthority(reference(old))));
    let reissues = if mesh.mtls.enabled {
        desired
            .dataplanes()
            .map(crate::model::Dataplane::id)
            .collect()
    } else {
        Vec::new()
    };
    actions.push(Action::ActivateAuthority {
        certificate: match target {
            Target::Provided(_, certificate) => Some(certificate.clone()),
            Target::Builtin(_) | Target::NewBuiltin(_) => known.and_then(described),
        },
        authority,
        reissues,
    });
    actions.extend(outgoing.map(|old| Action::RevokeAuthority(reference(old))));
    actions
}

/// Whether one of the steps stages this very authority, and so shows it.
fn is_staged(actions: &[Action], authority: &CertificateInfo) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::StageAuthority { certificate, .. } if certificate.id == authority.id)
    })
}

/// What the certificate of a stored authority says; nothing where it only
/// stands for one that the store has.
fn described(authority: &Authority) -> Option<CertificateInfo> {
    CertificateInfo::from_pem(&authority.certificate).ok()
}

fn provided_certificates(desired: &DesiredMesh) -> BTreeMap<&ResourceName, CertificateInfo> {
    desired
        .provided_cas()
        .filter_map(|(ca, _)| Some((&ca.name, CertificateInfo::from_pem(&ca.cert).ok()?)))
        .collect()
}

fn target(
    current: &MeshState,
    mesh: &Mesh,
    provided: &BTreeMap<&ResourceName, CertificateInfo>,
) -> Result<Target, Blocked> {
    match &mesh.mtls.ca {
        CaSpec::Provided { name: Some(name) } => {
            let certificate = provided.get(name).ok_or(Blocked::Invalid)?;
            Ok(Target::Provided(name.clone(), certificate.clone()))
        }
        CaSpec::Provided { name: None } => {
            let mut certificates = provided.iter();
            match (certificates.next(), certificates.next()) {
                (Some((name, only)), None) => Ok(Target::Provided((*name).clone(), only.clone())),
                _ => Err(Blocked::Invalid),
            }
        }
        CaSpec::Builtin { .. } => {
            let ordinals = || {
                current
                    .authorities
                    .values()
                    .filter_map(|authority| match authority.origin {
                        AuthorityOrigin::Builtin { ordinal } => Some((ordinal, authority)),
                        AuthorityOrigin::Provided { .. } => None,
                    })
            };
            let usable = ordinals().filter(|(_, authority)| !is_revoked(authority));
            Ok(match usable.map(|(ordinal, _)| ordinal).max() {
                Some(ordinal) => Target::Builtin(ordinal),
                None => Target::NewBuiltin(ordinals().map(|(o, _)| o).max().unwrap_or(0) + 1),
            })
        }
    }
}

impl Target {
    fn is(&self, authority: &Authority) -> bool {
        match (self, &authority.origin) {
            (Self::Builtin(wanted), AuthorityOrigin::Builtin { ordinal }) => wanted == ordinal,
            (Self::Provided(_, certificate), AuthorityOrigin::Provided { .. }) => {
                certificate.id == authority.id
            }
            _ => false,
        }
    }

    fn reference(&self) -> AuthorityRef {
        match self {
            Self::Builtin(ordinal) | Self::NewBuiltin(ordinal) => AuthorityRef::Builtin(*ordinal),
            Self::Provided(name, certificate) => AuthorityRef::Provided {
                name: name.clone(),
                id: certificate.id,
            },
        }
    }
}

/// Names an authority the way a step does.
#[must_use]
pub fn reference(authority: &Authority) -> AuthorityRef {
    match authority.origin {
        AuthorityOrigin::Builtin { ordinal } => AuthorityRef::Builtin(ordinal),
        AuthorityOrigin::Provided { ref name } => AuthorityRef::Provided {
            name: name.clone(),
            id: authority.id,
        },
    }
}

fn is_revoked(authority: &Authority) -> bool {
    matches!(authority.state, AuthorityState::Revoked { .. })
}
