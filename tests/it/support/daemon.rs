//! The daemon as a process.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use replica::Replica;

use self::front::Front;
use super::Site;
use super::{http, wait};

mod front;
mod replica;

/// The program under test.
pub(crate) const WINDLASS: &str = env!("CARGO_BIN_EXE_windlass");

/// Where the daemon listens, as it writes it to `listeners.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Listeners {
    pub(crate) api: String,
    pub(crate) admin: String,
    #[serde(default, rename = "adminPublic")]
    pub(crate) admin_public: Option<String>,
    pub(crate) xds: String,
    pub(crate) diagnostics: String,
    #[serde(default)]
    pub(crate) webhook: Option<String>,
}

/// A running `windlass run`, or several behind one address. Dropping it kills it.
pub(crate) struct Daemon {
    replicas: Vec<Replica>,
    front: Option<Front>,
    listeners: Listeners,
}

impl Daemon {
    /// Starts the daemon and does not wait for anything.
    pub(crate) fn spawn(site: &Site) -> Self {
        let Some(cluster) = site.cluster() else {
            return Self::spawn_by(site, windlass());
        };
        let front = Front::start(site, cluster.replicas);
        let replicas = 0..cluster.replicas;
        Self {
            replicas: replicas
                .map(|number| Replica::spawn_of(site, &front, number))
                .collect(),
            front: Some(front),
            listeners: Listeners::default(),
        }
    }

    /// Starts the daemon by a command that takes the program's arguments.
    pub(crate) fn spawn_by(site: &Site, command: Command) -> Self {
        let replica = Replica::spawn(site, site.state_dir(), command);
        Self {
            replicas: vec![replica],
            front: None,
            listeners: Listeners::default(),
        }
    }

    /// Waits until it says where it listens.
    pub(crate) fn wait_until_listening(&mut self) {
        for number in 0..self.replicas.len() {
            self.wait_for_replica(number);
        }
    }

    fn wait_for_replica(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        replica.wait_until_listening();
        self.listeners = match &self.front {
            Some(front) => front.lead_to(number, Some(&replica.listeners)),
            None => replica.listeners.clone(),
        };
    }

    /// Waits until the first reconciled snapshot is served.
    pub(crate) fn wait_until_ready(&mut self) {
        self.wait_until_listening();
        for replica in &mut self.replicas {
            replica.wait_until_ready();
        }
    }

    /// The replicas, if it is several.
    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Kills one replica as `kill -9` does.
    pub(crate) fn kill_replica(&mut self, number: usize) {
        self.replicas[number].kill();
        if let Some(front) = &self.front {
            front.lead_to(number, None);
        }
    }

    /// Asks one replica to stop with SIGTERM; returns how it ended.
    pub(crate) fn terminate_replica(&mut self, number: usize) -> ExitStatus {
        let ended = self.replicas[number].terminate();
        if let Some(front) = &self.front {
            front.lead_to(number, None);
        }
        ended
    }

    /// Starts one that was killed, and waits until it listens.
    pub(crate) fn restart_replica(&mut self, site: &Site, number: usize) {
        let front = self.front.as_ref().expect("several replicas");
        self.replicas[number] = Replica::spawn_of(site, front, number);
        self.wait_for_replica(number);
    }

    /// The number of the replica that reconciles.
    pub(crate) fn leader(&self) -> Result<usize, String> {
        let leads = |it: &Replica| it.metric("windlass_leader") == Ok(1);
        let mut all = self.replicas.iter();
        all.position(leads).ok_or_else(|| self.log())
    }

    /// Where it listens.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.replicas[0].child.id()
    }

    /// All it has printed.
    pub(crate) fn log(&self) -> String {
        let logs = self.replicas.iter().map(Replica::log);
        logs.collect::<Vec<_>>().join("\n--- the next replica\n")
    }

    /// The certificate that proves its gRPC server, as a file.
    pub(crate) fn xds_ca(&self) -> PathBuf {
        self.replicas[0].state_dir.join("xds-ca.pem")
    }

    /// `GET /status`; of several replicas, what all of them say.
    pub(crate) fn status(&self) -> Result<Value, String> {
        let stands = |status: &Value| {
            let source = &status["sources"][0];
            let meshes = status["meshes"].as_array().into_iter().flatten();
            let meshes = meshes.map(|mesh| (mesh["name"].clone(), mesh["generation"].clone()));
            (
                source["appliedRevision"].clone(),
                meshes.collect::<Vec<_>>(),
            )
        };
        if self.front.is_none() {
            return Ok(http::get(&self.listeners.api, "/status")?.ok()?.json());
        }
        wait::within(wait::PATIENCE, "the replicas to say the same", || {
            let all = self.replicas.iter().map(Replica::status);
            let all = all.collect::<Result<Vec<_>, _>>()?;
            let first = stands(&all[0]);
            if all.iter().all(|it| stands(it) == first) {
                return Ok(Ok(all[0].clone()));
            }
            Err(format!("{:?}", all.iter().map(stands).collect::<Vec<_>>()))
        })
    }

    /// Waits until the status is as wanted, and returns it.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, || {
            let status = self.status()?;
            if wanted(&status) {
                Ok(status)
            } else {
                Err(format!("{status:#}\n{}", self.log()))
            }
        })
    }

    /// Waits until the commit is applied without anything held back.
    pub(crate) fn wait_until_applied(&self, commit: &str) -> Value {
        let revision = format!("main@sha1:{commit}");
        self.wait_until(&format!("{revision} to be applied"), |status| {
            let source = &status["sources"][0];
            source["appliedRevision"] == json!(revision)
                && condition(source, "Ready").is_some_and(|ready| ready["status"] == "True")
        })
    }

    /// The sample of `/metrics` with that name and labels, as in `name{label="value"}`.
    pub(crate) fn reading<T: FromStr>(&self, sample: &str) -> Result<T, String> {
        reading(&self.listeners, sample)
    }

    /// The command line, talking to this daemon.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = windlass();
        command
            .args(arguments)
            .args(["--address", &format!("http://{}", self.listeners.api)]);
        command
    }

    /// `POST /tokens`
    pub(crate) fn token(&self, name: &str, mesh: &str) -> String {
        let body = json!({"name": name, "mesh": mesh});
        http::post(&self.listeners.admin, "/tokens", &body)
            .and_then(http::Answer::ok)
            .expect("a token")
            .body
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill9(mut self) {
        self.replicas.iter_mut().for_each(Replica::kill);
    }

    /// Kills it as `kill -9` does and starts another in its place, which is not
    /// waited for. Of several, it is the one that reconciles.
    pub(crate) fn kill9_and_restart(&mut self, site: &Site) {
        if self.front.is_none() {
            self.replicas[0].kill();
            *self = Self::spawn(site);
            return;
        }
        let leader = wait::until("a replica that reconciles", || self.leader());
        self.kill_replica(leader);
        self.restart_replica(site, leader);
    }

    /// Asks it to stop with SIGTERM; returns how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let ended = self.replicas.iter_mut().map(Replica::terminate);
        ended.max_by_key(ExitStatus::code).expect("a replica")
    }
}

/// The program, without the caller's own settings.
pub(crate) fn windlass() -> Command {
    let is_setting = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("WINDLASS_") || name.starts_with("KUMA_")
    };
    let mut command = Command::new(WINDLASS);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| !is_setting(name)))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// The sample of the metrics that are served there.
fn reading<T: FromStr>(at: &Listeners, sample: &str) -> Result<T, String> {
    let scrape = http::get(&at.diagnostics, "/metrics")?.ok()?;
    let mut lines = scrape.body.lines();
    lines
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
        .ok_or_else(|| format!("no {sample}\n{}", scrape.body))
}

/// The condition of that type of a source or a mesh in a status.
pub(crate) fn condition<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    of["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}

/// The mesh of that name in a status.
pub(crate) fn mesh<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["meshes"]
        .as_array()
        .and_then(|meshes| meshes.iter().find(|mesh| mesh["name"] == name))
        .unwrap_or(&Value::Null)
}

/// The ids of a mesh's authorities in that state, out of a status.
pub(crate) fn authorities(status: &Value, name: &str, state: &str) -> Vec<String> {
    mesh(status, name)["authorities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|authority| authority["state"] == state)
        .filter_map(|authority| Some(authority["id"].as_str()?.to_owned()))
        .collect()
}
