//! Meshes of the services web, backend and redis, where web calls the two others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::echo::{self, Echo};
use crate::support::{Daemon, DpRun, Site, wait};

/// The services of each mesh.
pub(crate) const SERVICES: [&str; 3] = ["web", "backend", "redis"];

/// One or two meshes that are served, their services and their proxies.
pub(crate) struct Network {
    pub(crate) site: Site,
    pub(crate) daemon: Daemon,
    /// A loopback address of this network's own.
    pub(crate) host: String,
    services: BTreeMap<(String, String), Echo>,
    proxies: BTreeMap<(String, String), DpRun>,
}

impl Network {
    /// The meshes with mTLS, where web may call backend and nobody anything else.
    pub(crate) fn of(meshes: &[&str]) -> Self {
        Self::with(meshes, |site| site)
    }

    /// The same with settings of the daemon.
    pub(crate) fn with(meshes: &[&str], settings: impl FnOnce(Site) -> Site) -> Self {
        Self::serving(meshes, Echo::start, settings)
    }

    /// The same with services that are made so from their names.
    pub(crate) fn serving(
        meshes: &[&str],
        start: fn(&str) -> Echo,
        settings: impl FnOnce(Site) -> Site,
    ) -> Self {
        let host = own_address();
        let mut services = BTreeMap::new();
        let mut files = vec![("windlass.yaml".to_owned(), String::new())];
        for (index, mesh) in (0..).zip(meshes) {
            for service in SERVICES {
                let echo = start(&format!("{service} of {mesh}"));
                services.insert(((*mesh).to_owned(), service.to_owned()), echo);
            }
            let ports = Ports { index };
            files.push((format!("{mesh}/mesh.yaml"), mesh_document(mesh, true)));
            let permission = permission(mesh, "web", "backend");
            files.push((format!("{mesh}/web-to-backend.yaml"), permission));
            let dataplanes: Vec<String> = SERVICES
                .iter()
                .map(|service| {
                    let echo = &services[&((*mesh).to_owned(), (*service).to_owned())];
                    dataplane(mesh, service, &host, ports, echo)
                })
                .collect();
            files.push((format!("{mesh}/dataplanes.yaml"), dataplanes.join("---\n")));
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(name, content)| (name.as_str(), content.as_str()))
            .collect();
        let site = settings(Site::from_files(&files));
        let daemon = site.start();
        Self {
            site,
            daemon,
            host,
            services,
            proxies: BTreeMap::new(),
        }
    }

    /// Starts the proxies of all services of a mesh.
    pub(crate) fn start_proxies(&mut self, mesh: &str) {
        let start = |service: &&'static str| {
            let run = DpRun::new(&self.daemon, mesh, &format!("dp-{service}-1"));
            (*service, run.with(&["--drain-time", "1s"]).spawn())
        };
        let mut started: Vec<(&str, DpRun)> = SERVICES.iter().map(start).collect();
        for (_, run) in &mut started {
            run.wait_until_configured();
        }
        for (service, run) in started {
            self.proxies
                .insert((mesh.to_owned(), service.to_owned()), run);
        }
    }

    /// Kills the daemon as `kill -9` does and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.daemon.kill9_and_restart(&self.site);
    }

    /// The proxies, each with its service.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&str, &DpRun)> {
        let named = self.proxies.iter();
        named.map(|((_, service), run)| (service.as_str(), run))
    }

    /// The proxy of a service.
    pub(crate) fn proxy(&self, mesh: &str, service: &str) -> &DpRun {
        &self.proxies[&(mesh.to_owned(), service.to_owned())]
    }

    /// Checks that none has ended.
    pub(crate) fn assert_running(&mut self) {
        self.proxies.values_mut().for_each(DpRun::assert_running);
    }

    /// The service itself.
    pub(crate) fn service(&self, mesh: &str, service: &str) -> &Echo {
        &self.services[&(mesh.to_owned(), service.to_owned())]
    }

    /// Where the proxy of a service of the first mesh takes connections from others.
    pub(crate) fn inbound(&self, service: &str) -> String {
        format!("{}:{}", self.host, Ports { index: 0 }.inbound(service))
    }

    /// Where web of the `index`th mesh reaches a service.
    pub(crate) fn outbound(&self, index: u16, service: &str) -> String {
        format!("{}:{}", self.host, Ports { index }.outbound(service))
    }

    /// Waits until web reaches a service of the first mesh.
    pub(crate) fn wait_until_reached(&mut self, mesh: &str, service: &str) {
        let expected = format!("{service} of {mesh}: hello");
        let address = self.outbound(0, service);
        wait::until(&format!("web to reach {service}"), || {
            self.assert_running();
            let answer = echo::ask(&address, "hello");
            if answer.as_ref() == Ok(&expected) {
                Ok(())
            } else {
                Err(format!("{answer:?}\n{}", self.proxy(mesh, "web").log()))
            }
        });
    }

    /// Waits until web does not reach a service of the first mesh, and checks
    /// that it stays so and that the service notices nothing.
    pub(crate) fn wait_until_denied(&mut self, mesh: &str, service: &str) {
        let address = self.outbound(0, service);
        wait::until(&format!("{service} to be denied"), || {
            self.assert_running();
            match echo::ask(&address, "hello") {
                Ok(answer) => Err(answer),
                Err(_) => Ok(()),
            }
        });
        let before = self.service(mesh, service).accepted();
        for _ in 0..5 {
            let answer = echo::ask(&address, "hello");
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(self.service(mesh, service).accepted(), before);
    }

    /// Writes files (`None` deletes one), commits them and waits until that is applied.
    pub(crate) fn commit(&self, files: &[(&str, Option<&str>)], message: &str) {
        let commit = self.site.repo.commit(files, message);
        self.daemon.wait_until_applied(&commit);
    }
}

/// The ports of the `index`th mesh.
#[derive(Clone, Copy)]
struct Ports {
    index: u16,
}

impl Ports {
    fn inbound(self, service: &str) -> u16 {
        11_000 + 100 * self.index + number(service)
    }

    fn outbound(self, service: &str) -> u16 {
        12_000 + 100 * self.index + number(service)
    }
}

fn number(service: &str) -> u16 {
    let position = SERVICES.iter().position(|name| *name == service);
    position.map_or(50, |position| {
        u16::try_from(position).expect("a small number")
    })
}

/// A loopback address that no other test uses meanwhile.
pub(crate) fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let second = 64 + NEXT.fetch_add(1, Ordering::Relaxed) % 64;
    format!("127.{second}.{}.{}", (pid >> 8) & 255, pid & 255)
}

/// The Mesh document, with a builtin CA.
pub(crate) fn mesh_document(mesh: &str, enabled: bool) -> String {
    format!("type: Mesh\nname: {mesh}\nmtls: {{enabled: {enabled}, ca: {{builtin: {{}}}}}}\n")
}

/// A permission from one service to another; `*` is any.
pub(crate) fn permission(mesh: &str, source: &str, destination: &str) -> String {
    let name = |service: &str| service.replace('*', "any");
    format!(
        "type: TrafficPermission\nmesh: {mesh}\nname: {}-to-{}\n\
         sources: [{{match: {{service: '{source}'}}}}]\n\
         destinations: [{{match: {{service: '{destination}'}}}}]\n",
        name(source),
        name(destination),
    )
}

fn dataplane(mesh: &str, service: &str, host: &str, ports: Ports, echo: &Echo) -> String {
    let outbound: Vec<String> = SERVICES
        .iter()
        .filter(|other| service == "web" && **other != "web")
        .map(|other| {
            let port = ports.outbound(other);
            format!("    - {{address: {host}, port: {port}, service: {other}}}\n")
        })
        .collect();
    let outbound = if outbound.is_empty() {
        String::new()
    } else {
        format!("  outbound:\n{}", outbound.concat())
    };
    format!(
        "type: Dataplane\nmesh: {mesh}\nname: dp-{service}-1\nnetworking:\n  address: {host}\n  \
         inbound:\n    - {{port: {}, servicePort: {}, tags: {{service: {service}}}}}\n{outbound}",
        ports.inbound(service),
        echo.port(),
    )
}
