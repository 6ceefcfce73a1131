//! Which pairs of services become allowed or denied.
//!
//! With mTLS disabled every connection is let through; with it, those that a
//! TrafficPermission names. Only pairs that a change can touch are looked at.

use std::collections::{BTreeSet, HashSet};

use super::{AuthorizationChange, Change, Verdict};
use crate::model::{
    Dataplane, DesiredMesh, Kind, MeshState, Resource, ResourceKey, ServiceMatch, ServiceName,
    TrafficPermission,
};

/// Beyond this many pairs, a change is told by its selectors instead.
const MAX_PAIRS: usize = 10_000;

/// The pairs of the mesh whose verdict changes, in order.
pub(super) fn changes(
    current: &MeshState,
    wanted: Option<&DesiredMesh>,
    changes: &[Change],
) -> Vec<AuthorizationChange> {
    let before = Rules::new(
        current.mesh().is_some_and(|mesh| mesh.mtls.enabled),
        current.permissions(),
    );
    let after = Rules::new(
        wanted
            .and_then(DesiredMesh::mesh)
            .is_some_and(|mesh| mesh.mtls.enabled),
        wanted
            .into_iter()
            .flat_map(DesiredMesh::permissions)
            .chain(kept_of_others(current, wanted, changes)),
    );
    let exists = (
        current.mesh().is_some(),
        wanted.is_some_and(|mesh| mesh.mesh().is_some()),
    );
    let touched: Vec<&TrafficPermission> = changes
        .iter()
        .filter(|change| change.resource.kind == Kind::TrafficPermission)
        .flat_map(|change| {
            let before = change.before.iter().map(|before| &before.resource);
            before.chain(change.after.iter().map(|after| &after.resource))
        })
        .filter_map(|resource| match resource {
            Resource::TrafficPermission(permission) => Some(permission),
            _ => None,
        })
        .collect();
    // A mesh that comes or goes has no connections before or after: what its permissions say is
    // compared with a mesh that denies everything.
    let flips = exists == (true, true) && before.enforced != after.enforced;
    if touched.is_empty() && !flips {
        return Vec::new();
    }
    let before = if exists.0 { before } else { Rules::deny() };
    let after = if exists.1 { after } else { Rules::deny() };

    let services: BTreeSet<ServiceName> = current
        .dataplanes()
        .chain(wanted.into_iter().flat_map(DesiredMesh::dataplanes))
        .flat_map(Dataplane::services)
        .chain(before.named.iter().cloned())
        .chain(after.named.iter().cloned())
        .collect();
    let pairs = if flips {
        expand(&[ServiceMatch::Any], &[ServiceMatch::Any], &services)
    } else {
        touched
            .iter()
            .try_fold(BTreeSet::new(), |mut pairs, permission| {
                let sources: Vec<_> = permission
                    .sources
                    .iter()
                    .map(|s| s.service.clone())
                    .collect();
                let destinations: Vec<_> = permission
                    .destinations
                    .iter()
                    .map(|d| d.service.clone())
                    .collect();
                pairs.extend(expand(&sources, &destinations, &services)?);
                (pairs.len() <= MAX_PAIRS).then_some(pairs)
            })
    };
    let pairs = pairs.unwrap_or_else(|| selectors(&touched, flips));
    pairs
        .into_iter()
        .filter_map(|(source, destination)| {
            let before = before.verdict(&source, &destination);
            let after = after.verdict(&source, &destination);
            (before != after).then(|| AuthorizationChange {
                mesh: current.name.clone(),
                source,
                destination,
                before,
                after,
            })
        })
        .collect()
}

/// The permissions that stay though nobody wants them here: the API or another
/// source owns them.
fn kept_of_others<'a>(
    current: &'a MeshState,
    wanted: Option<&'a DesiredMesh>,
    changes: &[Change],
) -> impl Iterator<Item = &'a TrafficPermission> {
    let is_wanted = move |key| wanted.is_some_and(|wanted| wanted.resources.contains_key(key));
    let deleted: BTreeSet<ResourceKey> = changes
        .iter()
        .filter(|change| change.after.is_none())
        .map(|change| change.resource.clone())
        .collect();
    current
        .resources
        .iter()
        .filter(move |(key, _)| !is_wanted(key) && !deleted.contains(*key))
        .filter_map(|(_, stored)| match &stored.resource {
            Resource::TrafficPermission(permission) => Some(permission),
            _ => None,
        })
}

type Pair = (ServiceMatch, ServiceMatch);

/// Every pair that the selectors cover; `None` where there are too many.
fn expand(
    sources: &[ServiceMatch],
    destinations: &[ServiceMatch],
    services: &BTreeSet<ServiceName>,
) -> Option<BTreeSet<Pair>> {
    let all = |matches: &[ServiceMatch]| -> BTreeSet<ServiceName> {
        matches
            .iter()
            .flat_map(|one| match one {
                ServiceMatch::Any => services.clone(),
                ServiceMatch::Exactly(name) => BTreeSet::from([name.clone()]),
            })
            .collect()
    };
    let (sources, destinations) = (all(sources), all(destinations));
    if sources.len().saturating_mul(destinations.len()) > MAX_PAIRS {
        return None;
    }
    let exactly = |name: &ServiceName| ServiceMatch::Exactly(name.clone());
    Some(
        sources
            .iter()
            .flat_map(|s| destinations.iter().map(move |d| (exactly(s), exactly(d))))
            .collect(),
    )
}

/// The selectors themselves as pairs, for a change that is too wide.
fn selectors(touched: &[&TrafficPermission], flips: bool) -> BTreeSet<Pair> {
    let everything = flips.then_some((ServiceMatch::Any, ServiceMatch::Any));
    let pairs = touched.iter().flat_map(|permission| {
        permission.sources.iter().flat_map(|source| {
            let destinations = permission.destinations.iter();
            destinations.map(|to| (source.service.clone(), to.service.clone()))
        })
    });
    everything.into_iter().chain(pairs).collect()
}

/// What the permissions of a mesh allow, indexed.
struct Rules {
    enforced: bool,
    allowed: HashSet<Pair>,
    named: BTreeSet<ServiceName>,
}

impl Rules {
    fn new<'a>(enforced: bool, permissions: impl Iterator<Item = &'a TrafficPermission>) -> Self {
        let mut allowed = HashSet::new();
        let mut named = BTreeSet::new();
        for permission in permissions {
            let matches = permission.sources.iter().chain(&permission.destinations);
            named.extend(matches.filter_map(|selector| match &selector.service {
                ServiceMatch::Any => None,
                ServiceMatch::Exactly(name) => Some(name.clone()),
            }));
            for source in &permission.sources {
                for destination in &permission.destinations {
                    allowed.insert((source.service.clone(), destination.service.clone()));
                }
            }
        }
        Self {
            enforced,
            allowed,
            named,
        }
    }

    fn deny() -> Self {
        Self {
            enforced: true,
            allowed: HashSet::new(),
            named: BTreeSet::new(),
        }
    }

    fn verdict(&self, source: &ServiceMatch, destination: &ServiceMatch) -> Verdict {
        let allows = |source: &ServiceMatch, destination: &ServiceMatch| {
            self.allowed
                .contains(&(source.clone(), destination.clone()))
        };
        let any = ServiceMatch::Any;
        let allowed = !self.enforced
            || allows(source, destination)
            || allows(&any, destination)
            || allows(source, &any)
            || allows(&any, &any);
        if allowed {
            Verdict::Allow
        } else {
            Verdict::Deny
        }
    }
}
