//! The planner: a pure function from what is and what should be to a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::steps::{self, Wanted};
use super::{
    Blocked, Change, Circumstances, MeshPlan, Noted, Plan, authorization, codes, deletion,
};
use crate::manifest;
use crate::model::{
    CaSpec, Current, Desired, DesiredMesh, Diagnostic, Drift, Kind, Mesh, MeshName, MeshState,
    Origin, RepositoryPolicy, ResourceKey, Rules, SourceName,
};

/// The message of every refused change of CA.
pub const CA_CHANGE_FORBIDDEN: &str =
    "Changing CA when mTLS is enabled is forbidden. Disable mTLS first and then change the CA";

/// Plans how to get from `current` to `desired`.
#[must_use]
pub fn plan(current: &Current, desired: &Desired, given: Circumstances<'_>) -> Plan {
    plan_within(None, current, desired, given)
}

/// The same for the meshes of `scope` only, for a caller who knows that no
/// other one has changed since it was planned.
#[must_use]
pub fn plan_within(
    scope: Option<&BTreeSet<MeshName>>,
    current: &Current,
    desired: &Desired,
    given: Circumstances<'_>,
) -> Plan {
    let mut plan = Plan {
        head: desired.revision.clone(),
        base: None,
        generation: current.generation,
        meshes: Vec::new(),
        blocked: Vec::new(),
        diagnostics: Vec::new(),
    };
    if let Some(blocked) = empty_source(current, desired) {
        plan.blocked.push(blocked);
        plan.diagnostics = diagnostics(&plan);
        return plan;
    }
    let within = |name: &&MeshName| scope.is_none_or(|scope| scope.contains(*name));
    let owned = current
        .meshes
        .values()
        .filter(|mesh| within(&&mesh.name) && owns_any(mesh, &desired.source))
        .map(|mesh| &mesh.name);
    let wanted = desired.meshes.keys().filter(within);
    let names: BTreeSet<&MeshName> = wanted.chain(owned).collect();
    for name in names {
        let absent;
        let state = if let Some(state) = current.meshes.get(name) {
            state.as_ref()
        } else {
            absent = MeshState::absent(name.clone());
            &absent
        };
        let wanted = desired.meshes.get(name).map(AsRef::as_ref);
        if let Some(mesh) = plan_mesh(state, wanted, desired, given) {
            plan.meshes.push(mesh);
        }
    }
    deletion::keep_to_budget(&mut plan, &desired.policy.deletion);
    plan.diagnostics = diagnostics(&plan);
    plan
}

/// A source that holds nothing deletes nothing.
fn empty_source(current: &Current, desired: &Desired) -> Option<Blocked> {
    if !desired.is_empty() || !desired.held_back.is_empty() {
        return None;
    }
    let resources = current
        .meshes
        .values()
        .flat_map(|mesh| mesh.resources.values())
        .filter(|stored| stored.origin.is_source(&desired.source))
        .count();
    (resources > 0).then_some(Blocked::EmptySource { resources })
}

fn owns_any(mesh: &MeshState, source: &SourceName) -> bool {
    mesh.resources
        .values()
        .any(|stored| stored.origin.is_source(source))
}

/// The plan of one mesh; `None` where nothing is to be said.
fn plan_mesh(
    current: &MeshState,
    wanted: Option<&DesiredMesh>,
    desired: &Desired,
    given: Circumstances<'_>,
) -> Option<MeshPlan> {
    let mut mesh = MeshPlan::nothing(current);
    if desired.held_back.contains(&current.name) {
        mesh.blocked.push(Blocked::Invalid);
        return Some(mesh);
    }
    let difference = Difference::between(current, wanted, &desired.source);
    let foreign = difference.foreign;
    mesh.changes = difference.changes;
    mesh.authorization = authorization::changes(current, wanted, &mesh.changes);
    mesh.blocked.extend(deletion::obstacles(
        current,
        &mesh.changes,
        desired,
        given.evidence,
    ));
    if !foreign.is_empty() {
        mesh.blocked
            .push(Blocked::OwnedByOthers { resources: foreign });
    }
    let wants = Wanted {
        rules: rules(current, wanted, desired),
        moved: difference.moved,
        revision: desired.revision.clone(),
        is_call: false,
    };
    if let Err(blocked) = steps::plan(&mut mesh, current, wants, given) {
        let ambiguous = ambiguous_ca(current, wanted, &desired.source);
        let is_unsaid = blocked == Blocked::Invalid;
        mesh.blocked
            .push(ambiguous.filter(|_| is_unsaid).unwrap_or(blocked));
    }
    if mesh.is_nothing(current) {
        return None;
    }
    if desired.settled && desired.policy.drift == Drift::Report && !mesh.changes.is_empty() {
        let resources = mesh
            .changes
            .iter()
            .map(|change| change.resource.clone())
            .collect();
        mesh.blocked.push(Blocked::Drifted { resources });
    }
    Some(mesh)
}

/// A revision is judged by what it holds: what calls added beside it is seen here.
fn ambiguous_ca(
    current: &MeshState,
    wanted: Option<&DesiredMesh>,
    source: &SourceName,
) -> Option<Blocked> {
    let wanted = wanted?;
    let is_unnamed = wanted.mesh()?.mtls.ca == CaSpec::Provided { name: None };
    let beside = current.resources.iter().filter(|(key, stored)| {
        key.kind == Kind::ProvidedCa
            && !stored.origin.is_source(source)
            && !wanted.resources.contains_key(key)
    });
    let resources: Vec<ResourceKey> = beside.map(|(key, _)| key.clone()).collect();
    (is_unnamed && !resources.is_empty()).then_some(Blocked::AmbiguousCa { resources })
}

/// What the mesh says of transitions, completed by the policy.
fn rules(current: &MeshState, wanted: Option<&DesiredMesh>, desired: &Desired) -> Rules {
    let Some(mesh) = wanted.and_then(DesiredMesh::mesh) else {
        return current.progress.rules.clone();
    };
    rules_of(mesh, &desired.policy)
}

/// What a Mesh says of transitions, completed by the policy.
pub(super) fn rules_of(mesh: &Mesh, policy: &RepositoryPolicy) -> Rules {
    let own = mesh.mtls.transition.clone().unwrap_or_default();
    Rules::of(&own.or(&policy.transition))
}

impl MeshPlan {
    /// The plan that leaves the mesh as it is.
    pub(super) fn nothing(current: &MeshState) -> Self {
        Self {
            mesh: current.name.clone(),
            generation: current.generation,
            changes: Vec::new(),
            steps: Vec::new(),
            due: 0,
            opened: Vec::new(),
            progress: Noted {
                rules: current.progress.rules.clone(),
                transition: current.progress.transition.clone(),
            },
            waiting: None,
            stopped: None,
            outlook: None,
            rules_before: None,
            authorization: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// Whether there is nothing to do and nothing to say.
    fn is_nothing(&self, current: &MeshState) -> bool {
        self.changes.is_empty()
            && self.steps.is_empty()
            && self.blocked.is_empty()
            && !self.notes(current)
    }

    /// Whether the mesh notes anything else than it has.
    fn notes(&self, current: &MeshState) -> bool {
        self.progress.rules != current.progress.rules
            || self.progress.transition != current.progress.transition
    }

    /// Whether there is something to write now.
    #[must_use]
    pub fn is_due(&self, current: &MeshState) -> bool {
        self.due > 0 || self.notes(current)
    }
}

/// What differs between a stored mesh and a desired one.
struct Difference {
    changes: Vec<Change>,
    /// Unchanged, but from another file, or from the API until now.
    moved: Vec<ResourceKey>,
    /// Wanted here, owned by another source.
    foreign: Vec<ResourceKey>,
}

impl Difference {
    fn between(current: &MeshState, wanted: Option<&DesiredMesh>, source: &SourceName) -> Self {
        let mut difference = Self {
            changes: Vec::new(),
            moved: Vec::new(),
            foreign: Vec::new(),
        };
        for (key, after) in wanted.iter().flat_map(|wanted| &wanted.resources) {
            let before = current.resources.get(key);
            match before.map(|before| &before.origin) {
                Some(Origin::Source { source: owner, .. }) if owner != source => {
                    difference.foreign.push(key.clone());
                }
                Some(Origin::Source { file, .. })
                    if before.is_some_and(|before| before.digest == after.digest) =>
                {
                    if *file != after.location.file {
                        difference.moved.push(key.clone());
                    }
                }
                Some(Origin::Api {})
                    if before.is_some_and(|before| before.digest == after.digest) =>
                {
                    difference.moved.push(key.clone());
                }
                _ => difference.changes.push(Change {
                    resource: key.clone(),
                    before: before.cloned(),
                    after: Some(Arc::clone(after)),
                }),
            }
        }
        for (key, before) in &current.resources {
            let wanted = wanted.is_some_and(|wanted| wanted.resources.contains_key(key));
            if !wanted && before.origin.is_source(source) {
                difference.changes.push(Change {
                    resource: key.clone(),
                    before: Some(Arc::clone(before)),
                    after: None,
                });
            }
        }
        difference
            .changes
            .sort_by(|a, b| a.resource.cmp(&b.resource));
        difference
    }
}

/// What the reasons for doing nothing say among the diagnostics of the revision.
fn diagnostics(plan: &Plan) -> Vec<Diagnostic> {
    let of_plan = plan.blocked.iter().filter_map(diagnostic);
    let of_meshes = plan.meshes.iter().flat_map(|mesh| {
        let key = ResourceKey::mesh(&mesh.mesh);
        let of_mesh = move |blocked: &Blocked| {
            let on = match blocked {
                Blocked::RootTooShort { resource, .. } => resource,
                _ => &key,
            };
            Some(diagnostic(blocked)?.on_resource(on))
        };
        // It keeps nothing of the revision from being stored.
        let stopped = mesh.stopped.iter().filter_map(of_mesh.clone());
        let stopped = stopped.map(Diagnostic::into_warning);
        mesh.blocked.iter().filter_map(of_mesh).chain(stopped)
    });
    of_plan.chain(of_meshes).collect()
}

fn diagnostic(blocked: &Blocked) -> Option<Diagnostic> {
    let (code, hint) = match blocked {
        // The revision's own diagnostics say what is invalid.
        Blocked::Invalid => return None,
        Blocked::CaChangeForbidden => (
            codes::CA_CHANGE_FORBIDDEN,
            "set `mtls.transition.strategy: rolling` in the same commit, and no connection fails; \
             or set `mtls.enabled: false` in one commit, change `mtls.ca` in the next, and set \
             `mtls.enabled: true` again in the one after",
        ),
        Blocked::RootTooShort { .. } => (codes::ROOT_TOO_SHORT, super::expiry::HINT),
        Blocked::AmbiguousCa { .. } => (
            manifest::codes::AMBIGUOUS_PROVIDED_CA,
            "write `provided: {name: …}`, or delete the others with \
             `windlass manage ca provided certificates delete`",
        ),
        Blocked::EmptySource { .. } => (
            codes::EMPTY_SOURCE,
            "check `source.branch` and `source.path`; to delete everything, keep one resource",
        ),
        Blocked::BudgetExceeded { .. } => (
            codes::BUDGET_EXCEEDED,
            "delete less at once, or raise `deletion.maxResources` in windlass.yaml in the same \
             commit",
        ),
        Blocked::NeedsApproval { .. } => (
            codes::NEEDS_APPROVAL,
            "take the kind out of `deletion.requireApproval` in windlass.yaml in the same commit",
        ),
        Blocked::DataplanesConnected { .. } => {
            (codes::DATAPLANES_CONNECTED, "stop these dataplanes first")
        }
        Blocked::OwnedByOthers { .. } => (
            codes::OWNED_BY_OTHERS,
            "delete them where they come from, or rename these",
        ),
        Blocked::Drifted { .. } => (
            codes::DRIFTED,
            "put them back by hand, commit what is stored, or set `drift: heal`",
        ),
    };
    let field = match blocked {
        Blocked::CaChangeForbidden => "mtls.ca",
        Blocked::RootTooShort { .. } => "cert",
        Blocked::AmbiguousCa { .. } => "mtls.ca.provided",
        _ => ".",
    };
    Some(
        Diagnostic::error(code, blocked.to_string())
            .on_field(field)
            .hint(hint),
    )
}
