//! A mesh whose CA changes: the commits, and what is seen of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::{HELD, Load};
use super::plaintext::Plaintext;
use crate::mesh::network::Network;
use crate::support::echo::{self, Echo};
use crate::support::mesh_ca::MeshCa;
use crate::support::{Site, http, wait};

/// How often to look at a status, which costs the machine something.
const LOOK: Duration = Duration::from_millis(50);
/// How long a phase may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A mesh document: its CA and its way of changing it, in YAML.
pub(super) fn mesh(ca: &str, transition: &str) -> String {
    format!("type: Mesh\nname: demo\nmtls: {{enabled: true, ca: {ca}, transition: {transition}}}\n")
}

/// The roots of two provided CAs, both in the repository.
pub(super) struct Roots {
    documents: [(String, String); 2],
}

impl Roots {
    pub(super) fn new() -> Self {
        let document = |name: &str| {
            let root = MeshCa::for_mesh("demo");
            (format!("demo/{name}.yaml"), root.document("demo", name))
        };
        Self {
            documents: ["root-2026", "root-2027"].map(document),
        }
    }

    /// The files of a commit that holds the roots and this mesh document.
    pub(super) fn with<'a>(&'a self, mesh: &'a str) -> Vec<(&'a str, Option<&'a str>)> {
        let roots = self.documents.iter();
        let roots = roots.map(|(file, document)| (file.as_str(), Some(document.as_str())));
        roots.chain([("demo/mesh.yaml", Some(mesh))]).collect()
    }
}

/// The mesh in the status.
pub(super) fn status(network: &Network) -> Result<Value, String> {
    let status = network.daemon.status()?;
    Ok(crate::support::daemon::mesh(&status, "demo").clone())
}

/// Commits the files and waits until the daemon has taken them in.
pub(super) fn commit(network: &Network, files: &[(&str, Option<&str>)], message: &str) {
    let commit = network.site.repo.commit(files, message);
    let revision = format!("main@sha1:{commit}");
    network
        .daemon
        .wait_until(&format!("{message} to be applied"), |status| {
            status["sources"][0]["appliedRevision"] == revision.as_str()
        });
}

/// Where there are several replicas, proxies hang on more than one of them.
fn assert_spread(network: &Network) {
    if network.daemon.replicas().len() < 2 {
        return;
    }
    wait::until("proxies of more than one replica", || {
        let mesh = status(network)?;
        let insights = mesh["dataplanes"]["insights"].as_array();
        let connected = insights.into_iter().flatten();
        let connected = connected.filter(|it| it["connectedSince"].is_string());
        let replicas: BTreeSet<_> = connected.filter_map(|it| it["replica"].as_str()).collect();
        if replicas.len() > 1 {
            Ok(())
        } else {
            Err(format!("{mesh:#}"))
        }
    });
}

/// Waits until no transition runs, and the authority of that kind and state is there.
pub(super) fn wait_until_done(network: &Network) -> Value {
    wait::every(LOOK, LIMIT, "the transition to end", || {
        let mesh = status(network)?;
        if mesh["transition"].is_null() {
            Ok(mesh)
        } else {
            Err(format!("{mesh:#}\n{}", network.daemon.log()))
        }
    })
}

/// Waits until the transition is in that phase.
pub(super) fn wait_until_in(network: &Network, phase: &str) -> Value {
    wait::every(LOOK, LIMIT, &format!("phase {phase}"), || {
        let mesh = status(network)?;
        if mesh["transition"]["phase"] == phase {
            Ok(mesh)
        } else {
            Err(format!("{mesh:#}\n{}", network.daemon.log()))
        }
    })
}

/// Waits until the transition has come to where `hold` stops it.
pub(super) fn wait_until_held(network: &Network, hold: &str) -> Value {
    let message = format!("held before {hold}");
    wait::every(LOOK, LIMIT, &message, || {
        let mesh = status(network)?;
        let conditions = mesh["conditions"].as_array().expect("conditions").iter();
        let mut messages = conditions.filter_map(|it| it["message"].as_str());
        if messages.any(|text| text.contains(&message)) {
            Ok(mesh.clone())
        } else {
            Err(format!("{mesh:#}\n{}", network.daemon.log()))
        }
    })
}

/// A network under load, and the roots that it may change to.
pub(super) struct Stage {
    pub(super) network: Network,
    pub(super) roots: Roots,
    pub(super) load: Load,
    pub(super) plaintext: Plaintext,
    /// Connections and handshakes before the load: the first ones may come too early.
    handshakes: (u64, u64),
}

impl Stage {
    /// Three proxies of a mesh with a builtin CA, and clients of backend through
    /// web. The ports stay when the daemon is started again.
    pub(super) fn set() -> Self {
        Self::of(Echo::start, Load::start)
    }

    /// The same with services that wait for the first word of the client.
    pub(super) fn of_silent_services() -> Self {
        Self::of(Echo::silent, Load::on_silent)
    }

    fn of(service: fn(&str) -> Echo, load: fn(&str, &str) -> Load) -> Self {
        let settings = |site: Site| {
            let mut site = site;
            for name in [
                "WINDLASS_XDS_PORT",
                "WINDLASS_API_PORT",
                "WINDLASS_ADMIN_LOCAL_PORT",
            ] {
                site = site.set(name, &free_port().to_string());
            }
            site
        };
        let mut network = Network::serving(&["demo"], service, settings);
        network.start_proxies("demo");
        let address = network.outbound(0, "backend");
        wait::until("web to reach backend", || {
            echo::Talk::dial(&address)?.say("hello")
        });
        let handshakes = handshakes(&network);
        let load = load(&address, "backend of demo");
        let roots = Roots::new();
        let stage = Self {
            plaintext: Plaintext::watch(&network),
            network,
            roots,
            load,
            handshakes,
        };
        stage.commit("{builtin: {}}", "{}", "the roots are there");
        wait_until_done(&stage.network);
        assert_spread(&stage.network);
        stage
    }

    /// Commits a mesh with that CA and way of changing it, and waits until the
    /// daemon has taken it in.
    pub(super) fn commit(&self, ca: &str, transition: &str, message: &str) {
        let mesh = mesh(ca, transition);
        commit(&self.network, &self.roots.with(&mesh), message);
    }

    /// Waits for a phase that is none of these, or for the end.
    pub(super) fn next_phase(&self, seen: &[String]) -> Option<String> {
        wait::every(
            Duration::from_millis(10),
            LIMIT,
            "another phase or the end",
            || {
                let mesh = status(&self.network)?;
                match mesh["transition"]["phase"].as_str() {
                    None => Ok(None),
                    Some(phase) if seen.iter().any(|it| it == phase) => Err(format!("{mesh:#}")),
                    Some(phase) => Ok(Some(phase.to_owned())),
                }
            },
        )
    }

    /// Keeps the load up until the connections of replaced filter chains have
    /// ended, too: for twice the drain time of the proxies, at the usual pace.
    pub(super) fn outlive_the_drain(&self) {
        let until = self.load.report().opened + 500;
        wait::every(LOOK, LIMIT, "500 more connections", || {
            let report = self.load.report();
            if report.opened >= until {
                Ok(())
            } else {
                Err(report)
            }
        });
    }

    /// Checks that no connection failed, and tells how it went.
    pub(super) fn assert_no_failure(mut self) {
        self.network.assert_running();
        let report = self.load.finish();
        tell(&report);
        report.assert_flawless();
    }

    /// Checks what every change of CA promises, and tells how it went.
    pub(super) fn assert_flawless(mut self) {
        self.network.assert_running();
        let report = self.load.finish();
        let plaintext = self.plaintext.most();
        let drains = drains(&self.network);
        let (opened, shook_hands) = handshakes(&self.network);
        let (opened, shook_hands) = (opened - self.handshakes.0, shook_hands - self.handshakes.1);
        tell(&format_args!(
            "{report}; {drains} drains; {plaintext} bytes in plaintext, \
             {shook_hands} handshakes of {opened}"
        ));
        report.assert_flawless();
        // Nothing else may end a connection.
        let explained = u64::from(HELD) * drains;
        let ended = report.ended + report.cut;
        assert!(
            ended <= explained,
            "{ended} ended, {explained} by drains: {report}"
        );
        assert_eq!(plaintext, 0);
        assert_eq!(opened, shook_hands, "some connection was not TLS");
    }
}

/// Waits until the transition is stalled in `phase` and awaits `dataplanes`.
pub(super) fn wait_until_stalled(stage: &Stage, phase: &str, dataplanes: &[&str]) -> Value {
    wait::until(&format!("a stall in {phase}"), || {
        let mesh = status(&stage.network)?;
        let transition = &mesh["transition"];
        let is_so = transition["phase"] == phase
            && transition["stalled"] == true
            && transition["awaiting"] == json!(dataplanes);
        if is_so {
            Ok(mesh)
        } else {
            Err(format!("{mesh:#}"))
        }
    })
}

/// The states of the authorities.
pub(super) fn states(mesh: &Value) -> Vec<&str> {
    let authorities = mesh["authorities"].as_array().expect("authorities").iter();
    let mut states: Vec<&str> = authorities.filter_map(|it| it["state"].as_str()).collect();
    states.sort_unstable();
    states
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// How often connections were made to end, by the history.
fn drains(network: &Network) -> u64 {
    let history = http::get(&network.daemon.listeners().api, "/history?limit=1000");
    let history = history
        .and_then(http::Answer::ok)
        .expect("a history")
        .json();
    let entries = history["items"].as_array().expect("entries").iter();
    let steps = entries.filter_map(|it| it["steps"].as_array()).flatten();
    let drains = steps.filter_map(|it| it.as_str());
    let drains = drains.filter(|it| it.starts_with("end connections"));
    drains.count().try_into().expect("few")
}

/// The connections that web has opened to backend, and how many of them
/// shook hands, by its own counting.
fn handshakes(network: &Network) -> (u64, u64) {
    let web = network.proxy("demo", "web");
    let count = |name: &str| {
        web.counter(&format!("cluster.backend.{name}"))
            .expect("a counter")
    };
    (count("upstream_cx_total"), count("ssl.handshake"))
}

/// Reports what was counted.
#[expect(clippy::print_stdout, reason = "the counts are a result of the test")]
pub(super) fn tell(counts: &dyn std::fmt::Display) {
    println!("{counts}");
}
