//! `windlass dp run` as a process.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::windlass;
use super::{Daemon, envoy, wait};

/// A folder with a token file, and the `dp run` that uses it. Dropping it kills it.
pub(crate) struct DpRun {
    command: Command,
    child: Option<Child>,
    dir: TempDir,
}

impl DpRun {
    /// A `dp run` of the real Envoy with a token of the usual validity.
    pub(crate) fn new(daemon: &Daemon, mesh: &str, name: &str) -> Self {
        let run = Self::at(&format!("http://{}", daemon.listeners().api), mesh, name);
        run.write_token(daemon.token(name, mesh).as_bytes());
        run
    }

    /// A `dp run` of the real Envoy without a token.
    pub(crate) fn at(address: &str, mesh: &str, name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = windlass();
        command
            .args(["dp", "run", "--mesh", mesh, "--name", name])
            .args(["--cp-address", address, "--dataplane-token-file"])
            .arg(dir.path().join("token"))
            .env("TMPDIR", dir.path())
            .env("PATH", path());
        Self {
            command,
            child: None,
            dir,
        }
    }

    /// The same with more arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// The same with a script in Envoy's place.
    pub(crate) fn with_script(self, script: &str) -> Self {
        let file = self.dir.path().join("script");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&file, Permissions::from_mode(0o700)).expect("an executable script");
        let path = file.to_str().expect("UTF-8").to_owned();
        self.with(&["--binary-path", &path])
    }

    /// Replaces the token file.
    pub(crate) fn write_token(&self, token: &[u8]) {
        fs::write(self.token_file(), token).expect("a token file");
        fs::set_permissions(self.token_file(), Permissions::from_mode(0o600)).expect("private");
    }

    /// The token file.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// The folder that holds all of it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs it to its end.
    pub(crate) fn refused(mut self) -> (ExitStatus, String) {
        let output = self.command.output().expect("the program starts");
        (
            output.status,
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    }

    /// Starts it and does not wait for anything.
    pub(crate) fn spawn(mut self) -> Self {
        let log = File::create(self.dir.path().join("log")).expect("a log file");
        self.command
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log);
        self.child = Some(self.command.spawn().expect("the program starts"));
        self
    }

    /// Starts it and waits until Envoy has clusters and listeners from the control plane.
    pub(crate) fn start(self) -> Self {
        let mut run = self.spawn();
        run.wait_until_configured();
        run
    }

    /// Waits until Envoy has clusters and listeners from the control plane.
    pub(crate) fn wait_until_configured(&mut self) {
        wait::until("an update of Envoy", || {
            self.assert_running();
            match self.counter("listener_manager.lds.update_success")? {
                0 => Err(self.log()),
                _ => Ok(()),
            }
        });
    }

    /// Checks that it has not ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("it ended with {status}:\n{}", self.log());
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("its state")
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait::until("dp run to end", || self.ended().ok_or_else(|| self.log()))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("sh")
            .args(["-c", "kill -\"$0\" \"$1\"", signal, &self.pid().to_string()])
            .status();
        assert!(sent.expect("a shell").success(), "{}", self.log());
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Envoy's process id, as it is in the log.
    pub(crate) fn envoy_pid(&self) -> u32 {
        wait::until("Envoy to start", || {
            let log = self.log();
            log.split_once("started Envoy pid=")
                .and_then(|(_, rest)| rest.split_whitespace().next())
                .and_then(|pid| pid.parse().ok())
                .ok_or(log)
        })
    }

    /// All that it and Envoy have printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `GET` on Envoy's admin server, as JSON.
    pub(crate) fn admin(&self, path: &str) -> Result<Value, String> {
        admin(self.dir.path(), path).map_err(|error| format!("{error}\n{}", self.log()))
    }

    /// Envoy's counter or gauge of that name.
    pub(crate) fn counter(&self, name: &str) -> Result<u64, String> {
        let stats = self.admin(&format!("/stats?format=json&filter=^{name}$"))?;
        stats["stats"][0]["value"]
            .as_u64()
            .ok_or_else(|| format!("no counter {name}: {stats}\n{}", self.log()))
    }
}

/// `GET` on the admin server of the Envoy that runs in that folder, as JSON.
pub(crate) fn admin(dir: &Path, path: &str) -> Result<Value, String> {
    let entries = fs::read_dir(dir).map_err(|error| error.to_string())?;
    let socket = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("admin.sock")))
        .find(|socket| socket.exists())
        .ok_or("no admin socket yet")?;
    let text = get(&socket, path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// The folder of Envoy, and then all folders of programs.
fn path() -> OsString {
    let envoy = envoy::program();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = envoy.parent().map(Path::to_owned).into_iter();
    std::env::join_paths(folders.chain(std::env::split_paths(&others))).expect("a PATH")
}

/// `GET` over a Unix socket; the body comes in chunks (RFC 9112 7.1).
fn get(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        body.push_str(tail.get(..size).unwrap_or_default());
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    Ok(body)
}

impl Drop for DpRun {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
