//! The address in front of several replicas.

use super::Listeners;
use super::replica::PORTS;
use crate::mesh::network::own_address;
use crate::support::Site;
use crate::support::balancer::Balancer;

/// One address for each of their servers.
pub(super) struct Front {
    /// API, admin, xDS and diagnostics.
    balancers: [Balancer; 4],
    /// Where each replica serves xDS, on the port that the address has: it is the
    /// one that replicas tell proxies.
    hosts: Vec<String>,
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
            hosts: (0..replicas).map(|_| own_address()).collect(),
        }
    }

    /// The settings of a replica that serves behind this.
    pub(super) fn settings(&self, number: usize) -> [(&'static str, String); 3] {
        let address = self.balancers[2].address();
        let (_, port) = address.rsplit_once(':').expect("a port");
        [
            ("WINDLASS_XDS_INTERFACE", self.hosts[number].clone()),
            ("WINDLASS_XDS_PORT", port.to_owned()),
            (
                "WINDLASS_GENERAL_ADVERTISED_HOSTNAME",
                "127.0.0.1".to_owned(),
            ),
        ]
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
            admin_public: replica.and_then(|it| it.admin_public.clone()),
            ..Listeners::default()
        }
    }
}
