//! One process of the daemon.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::front::Front;
use super::{Listeners, reading, windlass};
use crate::support::{Site, http, wait};

/// The ports that belong to the address in front of several.
pub(super) const PORTS: [&str; 4] = [
    "WINDLASS_API_PORT",
    "WINDLASS_ADMIN_LOCAL_PORT",
    "WINDLASS_XDS_PORT",
    "WINDLASS_DIAGNOSTICS_PORT",
];

/// A process. It is killed with the value.
pub(crate) struct Replica {
    pub(super) child: Child,
    pub(super) listeners: Listeners,
    pub(super) state_dir: PathBuf,
    log: PathBuf,
}

impl Replica {
    /// Starts it with a state folder and settings of its own.
    pub(super) fn spawn_of(site: &Site, front: &Front, number: usize) -> Self {
        let state_dir = site.state_dir().join(format!("replica-{number}"));
        fs::create_dir_all(&state_dir).expect("a state folder");
        Self::spawn_with(site, state_dir, windlass(), &front.settings(number))
    }

    pub(super) fn spawn(site: &Site, state_dir: PathBuf, command: Command) -> Self {
        Self::spawn_with(site, state_dir, command, &[])
    }

    fn spawn_with(
        site: &Site,
        state_dir: PathBuf,
        mut command: Command,
        settings: &[(&str, String)],
    ) -> Self {
        let log = state_dir.join("test.log");
        // A list of listeners from before would be taken for the new one.
        let _ = fs::remove_file(state_dir.join("listeners.json"));
        let mut options = File::options();
        let cluster = site.cluster();
        let appends = cluster.is_some();
        options
            .create(true)
            .write(true)
            .truncate(!appends)
            .append(appends);
        let output = options.open(&log).expect("a log file");
        command
            .args(["run", "--config"])
            .arg(site.config())
            .arg("--state-dir")
            .arg(&state_dir)
            .envs(site.settings().iter().cloned());
        if let Some(cluster) = cluster {
            for name in PORTS {
                command.env_remove(name);
            }
            let id = "WINDLASS_GENERAL_INSTANCE_ID";
            let given = site.settings().iter().find(|(name, _)| name == id);
            let given = given.map_or("cp", |(_, value)| value.as_str());
            let number = state_dir.file_name().expect("a name").to_string_lossy();
            for (name, value) in settings {
                command.env(name, value);
            }
            command.env(id, format!("{given}-{number}{}", cluster.suffix()));
        }
        let child = command
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

    pub(super) fn wait_until_listening(&mut self) {
        self.listeners = wait::until("the daemon to listen", || self.read_listeners());
    }

    /// Waits until the first reconciled snapshot is served.
    pub(super) fn wait_until_ready(&mut self) {
        wait::until("the daemon to be ready", || {
            self.assert_running();
            http::get(&self.listeners.diagnostics, "/ready")
                .and_then(http::Answer::ok)
                .map_err(|reason| format!("{reason}\n{}", self.log()))
        });
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the daemon's state") {
            panic!("the daemon ended with {status}:\n{}", self.log());
        }
    }

    fn read_listeners(&mut self) -> Result<Listeners, String> {
        self.assert_running();
        let file = self.state_dir.join("listeners.json");
        let text = fs::read(&file).map_err(|error| format!("{error}\n{}", self.log()))?;
        Ok(serde_json::from_slice(&text).expect("listeners.json is written at once, whole"))
    }

    /// Where this one listens.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// `GET /status` of this one.
    pub(crate) fn status(&self) -> Result<Value, String> {
        Ok(http::get(&self.listeners.api, "/status")?.ok()?.json())
    }

    /// What this one says of being ready.
    pub(crate) fn ready(&self) -> Result<String, String> {
        let answer = http::get(&self.listeners.diagnostics, "/ready")?.ok()?;
        Ok(answer.body)
    }

    /// The sample of its `/metrics` with that name and labels.
    pub(crate) fn metric(&self, sample: &str) -> Result<u64, String> {
        reading(&self.listeners, sample)
    }

    /// All it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.child.kill().expect("the daemon can be killed");
        self.child.wait().expect("the daemon is gone");
    }

    /// Has it stand still, or go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = kill_process(pid.expect("a process id"), signal);
        assert!(sent.is_ok(), "{sent:?}\n{}", self.log());
    }

    /// Asks it to stop with SIGTERM; returns how it ended.
    pub(super) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait::until("the daemon to stop", || {
            let ended = self.child.try_wait().expect("the daemon's state");
            ended.ok_or_else(|| self.log())
        })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
