//! Who may connect to whom, by destination.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ServiceMatch, ServiceName, TrafficPermission};

/// All permissions of a mesh, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// By destination and source, how often it is said.
    said: BTreeMap<ServiceMatch, BTreeMap<ServiceMatch, usize>>,
}

impl Grants {
    /// Takes a permission in and returns the destinations that got a source
    /// more.
    pub(super) fn add(&mut self, permission: &TrafficPermission) -> BTreeSet<ServiceMatch> {
        let mut changed = BTreeSet::new();
        for (source, destination) in pairs(permission) {
            let sources = self.said.entry(destination.clone()).or_default();
            let times = sources.entry(source.clone()).or_default();
            *times += 1;
            if *times == 1 {
                changed.insert(destination.clone());
            }
        }
        changed
    }

    /// Takes back a permission that was added, and returns the destinations
    /// that have a source less.
    pub(super) fn remove(&mut self, permission: &TrafficPermission) -> BTreeSet<ServiceMatch> {
        let mut changed = BTreeSet::new();
        for (source, destination) in pairs(permission) {
            let Some(sources) = self.said.get_mut(destination) else {
                continue;
            };
            let Some(times) = sources.get_mut(source) else {
                continue;
            };
            *times -= 1;
            if *times == 0 {
                sources.remove(source);
                changed.insert(destination.clone());
            }
            if sources.is_empty() {
                self.said.remove(destination);
            }
        }
        changed
    }

    /// The sources that may connect to a service.
    pub(super) fn sources(&self, service: &ServiceName) -> BTreeSet<&ServiceMatch> {
        let exactly = ServiceMatch::Exactly(service.clone());
        [&ServiceMatch::Any, &exactly]
            .into_iter()
            .filter_map(|destination| self.said.get(destination))
            .flat_map(BTreeMap::keys)
            .collect()
    }
}

/// Every source with every destination, as often as the permission says it.
fn pairs(permission: &TrafficPermission) -> impl Iterator<Item = (&ServiceMatch, &ServiceMatch)> {
    permission.sources.iter().flat_map(|source| {
        let destinations = permission.destinations.iter();
        destinations.map(|destination| (&source.service, &destination.service))
    })
}
