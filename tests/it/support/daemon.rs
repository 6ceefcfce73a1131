//! The daemon as a process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Site;
use super::{http, wait};

/// The program under test.
pub(crate) const WINDLASS: &str = env!("CARGO_BIN_EXE_windlass");

/// Where the daemon listens, as it writes it to `listeners.json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Listeners {
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) xds: String,
    pub(crate) diagnostics: String,
    #[serde(default)]
    pub(crate) webhook: Option<String>,
}

/// A running `windlass run`. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    listeners: Listeners,
    state_dir: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon and does not wait for anything.
    pub(crate) fn spawn(site: &Site) -> Self {
        Self::spawn_by(site, windlass())
    }

    /// Starts the daemon by a command that takes the program's arguments.
    pub(crate) fn spawn_by(site: &Site, mut command: Command) -> Self {
        let state_dir = site.state_dir();
        let log = state_dir.join("test.log");
        // A list of listeners from before would be taken for the new one.
        let _ = fs::remove_file(state_dir.join("listeners.json"));
        let output = File::create(&log).expect("a log file");
        let child = command
            .args(["run", "--config"])
            .arg(site.config())
            .arg("--state-dir")
            .arg(&state_dir)
            .envs(site.settings().iter().cloned())
            .stdout(output.try_clone().expect("a second handle of the log file"))
            .stderr(output)
            .spawn()
            .expect("the daemon starts");
        Self {
            child,
            listeners: Listeners::default(),
            state_dir,
            log,
        }
    }

    /// Waits until it says where it listens.
    pub(crate) fn wait_until_listening(&mut self) {
        self.listeners = wait::until("the daemon to listen", || self.read_listeners());
    }

    /// Waits until the first reconciled snapshot is served.
    pub(crate) fn wait_until_ready(&mut self) {
        self.wait_until_listening();
        wait::until("the daemon to be ready", || {
            if let Some(status) = self.child.try_wait().expect("the daemon's state") {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            http::get(&self.listeners.diagnostics, "/ready")
                .and_then(http::Answer::ok)
                .map_err(|reason| format!("{reason}\n{}", self.log()))
        });
    }

    fn read_listeners(&mut self) -> Result<Listeners, String> {
        if let Some(status) = self.child.try_wait().expect("the daemon's state") {
            panic!("the daemon ended with {status}:\n{}", self.log());
        }
        let file = self.state_dir.join("listeners.json");
        let text = fs::read(&file).map_err(|error| format!("{error}\n{}", self.log()))?;
        Ok(serde_json::from_slice(&text).expect("listeners.json is written at once, whole"))
    }

    /// Where it listens.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The certificate that proves its gRPC server, as a file.
    pub(crate) fn xds_ca(&self) -> PathBuf {
        self.state_dir.join("xds-ca.pem")
    }

    /// `GET /status`
    pub(crate) fn status(&self) -> Result<Value, String> {
        let answer = http::get(&self.listeners.api, "/status")?.ok()?;
        Ok(answer.json())
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
    pub(crate) fn metric(&self, sample: &str) -> Result<u64, String> {
        self.reading(sample)
    }

    /// The same, where it may have a fraction.
    pub(crate) fn reading<T: FromStr>(&self, sample: &str) -> Result<T, String> {
        let scrape = http::get(&self.listeners.diagnostics, "/metrics")?.ok()?;
        let mut lines = scrape.body.lines();
        lines
            .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
            .ok_or_else(|| format!("no {sample}\n{}", scrape.body))
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
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon is gone");
    }

    /// Kills it as `kill -9` does and starts another in its place, which is not
    /// waited for.
    pub(crate) fn kill9_and_restart(&mut self, site: &Site) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon is gone");
        *self = Self::spawn(site);
    }

    /// Asks it to stop with SIGTERM; returns how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.pid().to_string()])
            .status()
            .expect("a shell");
        assert!(
            sent.success(),
            "the daemon was gone already:\n{}",
            self.log()
        );
        wait::until("the daemon to stop", || {
            self.child
                .try_wait()
                .expect("the daemon's state")
                .ok_or_else(|| self.log())
        })
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

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
