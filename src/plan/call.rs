//! A call of the API: one resource of one mesh written or deleted, and all the
//! rest left as it is.
//!
//! A call is one step. What a commit would do in several is refused here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::describe::List;
use super::steps::{self, Wanted};
use super::{Action, Blocked, Change, Circumstances, MeshPlan, authorization};
use crate::ca::CertificateInfo;
use crate::model::{
    AuthorityState, CaSpec, DataplaneId, Desired, DesiredMesh, DesiredResource, Evidence, Kind,
    Location, MeshName, MeshState, Origin, Resource, ResourceKey, Revision, Rules, SourceName,
    connected,
};
use crate::transition::{Goal, Key};

/// What a call wants of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The resource.
    pub resource: ResourceKey,
    /// What it is to be; `None` deletes it.
    pub after: Option<Arc<DesiredResource>>,
}

/// A call that breaks a rule. Nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallRefused {
    /// The mesh of the resource does not exist.
    #[error("mesh of name {mesh} is not found")]
    NoMesh {
        /// The mesh.
        mesh: MeshName,
    },
    /// What is to be deleted does not exist.
    #[error("{resource} is not found")]
    NotFound {
        /// The resource.
        resource: ResourceKey,
    },
    /// A source of desired state holds the resource.
    #[error(
        "Git owns {resource}: {file} of source {origin}, as of {revision}; \
         commit the change there instead"
    )]
    OwnedByGit {
        /// The resource.
        resource: ResourceKey,
        /// The source.
        origin: SourceName,
        /// The file, relative to the source's path.
        file: Arc<str>,
        /// The revision that it was last written from.
        revision: Revision,
    },
    /// Another authority would sign while mTLS is enabled.
    #[error("{}", super::CA_CHANGE_FORBIDDEN)]
    CaChangeForbidden,
    /// A root would come to sign that ends too soon.
    #[error("{0}")]
    RootTooShort(Box<Blocked>),
    /// The Mesh names a CA that it does not have.
    #[error("the mesh has no CA of the kind that it asks for")]
    NoCa,
    /// The certificate that signs, or is to, would be deleted.
    #[error(
        "Cannot delete signing certificate when the mTLS in the mesh is active and type of CA is \
         Provided"
    )]
    SigningCertificate,
    /// Resources belong to the Mesh that is to be deleted.
    #[error("resources belong to the mesh: {}; delete them first", List(resources))]
    Dependents {
        /// Which.
        resources: Vec<ResourceKey>,
    },
    /// Dataplanes of the Mesh that is to be deleted are connected.
    #[error("dataplanes are connected: {}; stop them first", List(dataplanes))]
    DataplanesConnected {
        /// Which.
        dataplanes: Vec<DataplaneId>,
    },
}

impl Call {
    /// What the call asks for: the mesh with the change in it. Whether that
    /// fits together is for [`crate::check`] to say.
    ///
    /// `evidence` says which proxies are connected.
    ///
    /// # Errors
    ///
    /// Fails where the call may not be made, whatever it holds.
    pub fn desired(
        &self,
        current: &MeshState,
        evidence: &Evidence,
    ) -> Result<Desired, CallRefused> {
        admit(current, self, evidence)?;
        let mut desired = Desired::empty(SourceName::api());
        let mesh = Arc::new(mesh_after(current, self));
        desired.meshes = BTreeMap::from([(current.name.clone(), mesh)]);
        Ok(desired)
    }
}

/// Plans a call that asks for `desired`; no step where all is as it is to be.
///
/// # Errors
///
/// Fails where another authority would sign while mTLS is enabled, or none, or
/// where the certificate of the one that signs would be deleted.
pub fn plan_call(
    current: &MeshState,
    call: &Call,
    desired: &Desired,
    given: Circumstances<'_>,
) -> Result<MeshPlan, CallRefused> {
    let before = current.resources.get(&call.resource);
    let wanted = desired.meshes.get(&current.name).map(Arc::as_ref);
    let same = match (before, &call.after) {
        (Some(before), Some(after)) => before.digest == after.digest,
        _ => false,
    };
    let mut changes = Vec::new();
    if !same {
        changes.push(Change {
            resource: call.resource.clone(),
            before: before.cloned(),
            after: call.after.clone(),
        });
    }
    // No other change moves an authority.
    let mesh = wanted.filter(|_| !same && call.resource.kind == Kind::Mesh);
    if mesh.is_some_and(|mesh| changes_ca(current, mesh)) {
        return Err(CallRefused::CaChangeForbidden);
    }
    let settings = mesh.and_then(|mesh| mesh.mesh()?.mtls.transition.clone());
    let rules = match mesh {
        Some(_) => Rules::of(&settings.unwrap_or_default()),
        None => current.progress.rules.clone(),
    };
    let mut plan = MeshPlan {
        authorization: authorization::changes(current, wanted, &changes),
        changes,
        ..MeshPlan::nothing(current)
    };
    match (&call.after, before.map(|it| &it.resource)) {
        (Some(after), _) => plan.take_all(staging(current, &after.resource)),
        (None, Some(Resource::ProvidedCa(ca))) if signs(current, &ca.cert, given) => {
            return Err(CallRefused::SigningCertificate);
        }
        _ => {}
    }
    let wanted = Wanted {
        rules,
        moved: Vec::new(),
        revision: None,
        is_call: true,
    };
    steps::plan(&mut plan, current, wanted, given).map_err(|blocked| match blocked {
        Blocked::CaChangeForbidden => CallRefused::CaChangeForbidden,
        short @ Blocked::RootTooShort { .. } => CallRefused::RootTooShort(Box::new(short)),
        _ => CallRefused::NoCa,
    })?;
    Ok(plan)
}

/// Stages the authority of a ProvidedCa whose key is not kept yet, or no more:
/// only a call has it at hand.
fn staging(current: &MeshState, after: &Resource) -> Option<Action> {
    let Resource::ProvidedCa(ca) = after else {
        return None;
    };
    let certificate = CertificateInfo::from_pem(&ca.cert).ok()?;
    let known = current.authorities.get(&certificate.id).map(|it| it.state);
    let is_kept = known.is_some_and(|state| !matches!(state, AuthorityState::Revoked { .. }));
    (!is_kept).then(|| Action::StageAuthority {
        name: ca.name.clone(),
        certificate,
    })
}

/// Whether the certificate is the one that an enabled provided CA signs with,
/// or comes to sign with.
fn signs(current: &MeshState, cert: &str, given: Circumstances<'_>) -> bool {
    let is_active = current
        .mesh()
        .is_some_and(|mesh| mesh.mtls.enabled && matches!(mesh.mtls.ca, CaSpec::Provided { .. }));
    let Some(certificate) = CertificateInfo::from_pem(cert).ok().filter(|_| is_active) else {
        return false;
    };
    let goal = Goal::of(current, given.issuing, given.now);
    goal.is_some_and(|goal| goal.target == Key::Provided(certificate.id))
        || current
            .active_authority()
            .is_some_and(|it| it.id == certificate.id)
}

/// Whether the Mesh asks for a CA of another kind while mTLS is enabled, be it there or not.
fn changes_ca(current: &MeshState, wanted: &DesiredMesh) -> bool {
    let (Some(before), Some(after)) = (current.mesh(), wanted.mesh()) else {
        return false;
    };
    before.mtls.enabled && before.mtls.ca.kind() != after.mtls.ca.kind()
}

/// Whether the call may be made at all.
fn admit(current: &MeshState, call: &Call, evidence: &Evidence) -> Result<(), CallRefused> {
    let resource = || call.resource.clone();
    let before = current.resources.get(&call.resource);
    if let Some(Origin::Source {
        source,
        file,
        revision,
    }) = before.map(|before| &before.origin)
    {
        return Err(CallRefused::OwnedByGit {
            resource: resource(),
            origin: source.clone(),
            file: Arc::clone(file),
            revision: revision.clone(),
        });
    }
    let is_mesh = call.resource.kind == Kind::Mesh;
    match (&call.after, before) {
        (Some(_), _) if !is_mesh && current.mesh().is_none() => Err(CallRefused::NoMesh {
            mesh: current.name.clone(),
        }),
        (None, None) => Err(CallRefused::NotFound {
            resource: resource(),
        }),
        (None, Some(_)) if is_mesh => mesh_may_go(current, evidence),
        _ => Ok(()),
    }
}

/// Dependents go first, each by a call of its own.
fn mesh_may_go(current: &MeshState, evidence: &Evidence) -> Result<(), CallRefused> {
    let dependents = current.resources.keys();
    let dependents = dependents.filter(|key| key.kind != Kind::Mesh);
    let resources: Vec<ResourceKey> = dependents.cloned().collect();
    if !resources.is_empty() {
        return Err(CallRefused::Dependents { resources });
    }
    let dataplanes: Vec<DataplaneId> = connected(evidence, &current.name).cloned().collect();
    if !dataplanes.is_empty() {
        return Err(CallRefused::DataplanesConnected { dataplanes });
    }
    Ok(())
}

/// All that the mesh would hold.
fn mesh_after(current: &MeshState, call: &Call) -> DesiredMesh {
    let nowhere = Location {
        file: Arc::from(""),
        line: 0,
        column: 0,
    };
    let kept = current.resources.iter().map(|(key, stored)| {
        let resource = DesiredResource {
            resource: stored.resource.clone(),
            digest: stored.digest,
            location: nowhere.clone(),
        };
        (key.clone(), Arc::new(resource))
    });
    let mut resources: BTreeMap<_, _> = kept.collect();
    match &call.after {
        Some(after) => resources.insert(call.resource.clone(), Arc::clone(after)),
        None => resources.remove(&call.resource),
    };
    DesiredMesh {
        name: current.name.clone(),
        resources,
    }
}
