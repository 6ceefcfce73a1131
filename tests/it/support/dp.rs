//! A dataplane as its owner runs it: `windlass dp run` with a real Envoy.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::windlass;
use super::{Daemon, envoy, http, wait};

/// A running `windlass dp run`. Dropping it kills it and its Envoy.
pub(crate) struct Dp {
    child: Child,
    admin: String,
    dir: TempDir,
}

impl Dp {
    /// Starts it and waits until Envoy has all of its configuration.
    pub(crate) fn start(daemon: &Daemon, mesh: &str, name: &str, admin: &str) -> Self {
        let mut dp = Self::spawn(daemon, mesh, name, admin, &[]);
        dp.wait_until_ready();
        dp
    }

    /// Starts it; Envoy's admin server will be at `admin`, a free port of 127.0.0.1.
    pub(crate) fn spawn(
        daemon: &Daemon,
        mesh: &str,
        name: &str,
        admin: &str,
        more: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let token = dir.path().join("token");
        fs::write(&token, daemon.token(name, mesh)).expect("a token file");
        fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("a private token");
        let log = File::create(dir.path().join("dp.log")).expect("a log file");
        let (_, port) = admin.rsplit_once(':').expect("a port");
        let child = windlass()
            .args(["dp", "run", "--mesh", mesh, "--name", name])
            .args([
                "--cp-address",
                &format!("http://{}", daemon.listeners().api),
            ])
            .arg("--dataplane-token-file")
            .arg(&token)
            .arg("--binary-path")
            .arg(envoy::program())
            .args(["--admin-port", port, "--drain-time", "1s"])
            .args(more)
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self {
            child,
            admin: admin.to_owned(),
            dir,
        }
    }

    /// Waits until Envoy has all of its configuration.
    pub(crate) fn wait_until_ready(&mut self) {
        wait::until("Envoy to be ready", || {
            self.assert_running();
            http::get(&self.admin, "/ready")
                .and_then(http::Answer::ok)
                .map_err(|reason| format!("{reason}\n{}", self.log()))
        });
    }

    /// Checks that the process has not ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the state of a process") {
            panic!("the dataplane ended with {status}:\n{}", self.log());
        }
    }

    /// All that it and its Envoy have printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("dp.log")).unwrap_or_default()
    }

    /// The file that holds its token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// `GET` on Envoy's admin server, as JSON.
    pub(crate) fn admin(&self, path: &str) -> Result<Value, String> {
        Ok(http::get(&self.admin, path)?.ok()?.json())
    }

    /// All counters and gauges whose names match, by name.
    pub(crate) fn stats(&self, filter: &str) -> Result<Vec<(String, u64)>, String> {
        let stats = self.admin(&format!("/stats?format=json&filter={filter}"))?;
        let list = stats["stats"].as_array().ok_or("no statistics")?;
        let pair =
            |stat: &Value| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?));
        Ok(list.iter().filter_map(pair).collect())
    }

    /// Asks it to stop with SIGTERM; returns how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        envoy::signal(self.child.id(), "TERM");
        wait::until("the dataplane to stop", || {
            let ended = self.child.try_wait().expect("the state of a process");
            ended.ok_or_else(|| self.log())
        })
    }
}

impl Drop for Dp {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The second signal ends a drain at once.
            envoy::signal(self.child.id(), "TERM");
            envoy::signal(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
    }
}

/// `127.0.0.1:<port>` of a port that is free now.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
