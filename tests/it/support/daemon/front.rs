//! The address in front of several replicas.

use super::Listeners;
use super::replica::PORTS;
use crate::support::Site;
use crate::support::balancer::Balancer;

/// One address for each of their servers.
pub(super) struct Front {
    /// API, admin, xDS and diagnostics.
    balancers: [Balancer; 4],
}

impl Front {
    /// The addresses, on the ports that the site asks for.
    pub(super) fn start(site: &Site, replicas: usize) -> Self {
        let port = |name: &str| {
            let mut all = site.settings().iter();
            let set = all.find(|(it, _)| it == name);
            set.map_or(0, |(_, port)| port.parse().expect("a port"))
        };
        Self {
            balancers: PORTS.map(|name| Balancer::start(port(name), replicas)),
        }
    }

    /// Leads to a replica that listens there, or no longer; returns the addresses.
    pub(super) fn lead_to(&self, number: usize, replica: Option<&Listeners>) -> Listeners {
        let [api, admin, xds, diagnostics] = &self.balancers;
        api.set(number, replica.map(|it| it.api.as_str()));
        admin.set(number, replica.map(|it| it.admin.as_str()));
        xds.set(number, replica.map(|it| it.xds.as_str()));
        diagnostics.set(number, replica.map(|it| it.diagnostics.as_str()));
        Listeners {
            api: api.address(),
            admin: admin.address(),
            xds: xds.address(),
            diagnostics: diagnostics.address(),
            webhook: None,
        }
    }
}
