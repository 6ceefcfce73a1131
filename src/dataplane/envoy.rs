//! The Envoy process: how it is started, and how it is told to end.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How to start Envoy.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// Its bootstrap in JSON. Nothing in it is secret.
    pub bootstrap: String,
    /// How long connections of a filter chain that was replaced stay, in whole
    /// seconds. A permission that is withdrawn ends its connections after that.
    pub drain_time: Duration,
    /// The least of its log that it writes.
    pub log_level: &'static str,
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy(Child);

impl Launch {
    /// Starts Envoy. Its output goes where this process's goes.
    ///
    /// It is in a process group of its own, so that a Ctrl-C of the terminal
    /// reaches it only after it has drained. On Linux it ends with the thread
    /// that started it, which has to be the main one: this program starts itself
    /// ([`become_envoy`]) to arrange that.
    pub fn start(&self) -> io::Result<Envoy> {
        let mut command = if cfg!(target_os = "linux") {
            let mut command = Command::new("/proc/self/exe");
            command
                .args(["dp", "become-envoy", "--parent"])
                .arg(std::process::id().to_string())
                .arg("--")
                .arg(&self.binary);
            command
        } else {
            Command::new(&self.binary)
        };
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map(Envoy)
    }

    fn arguments(&self) -> [OsString; 7] {
        [
            "--config-yaml".into(),
            self.bootstrap.clone().into(),
            "--drain-time-s".into(),
            self.drain_time.as_secs().to_string().into(),
            "--log-level".into(),
            self.log_level.into(),
            // Nobody takes over from it: there is no need for shared memory.
            "--disable-hot-restart".into(),
        ]
    }
}

/// Turns this process into Envoy, which is killed when `parent` ends. Returns
/// only where that fails.
#[cfg(target_os = "linux")]
pub fn become_envoy(parent: u32, program: &[OsString]) -> io::Error {
    use std::os::unix::process::{CommandExt as _, parent_id};

    let Some((binary, arguments)) = program.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    // What is set here outlives `exec` (prctl(2), PR_SET_PDEATHSIG).
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if parent_id() != parent {
        return io::Error::other("the process that starts Envoy has ended");
    }
    std::process::Command::new(binary).args(arguments).exec()
}

impl Envoy {
    /// Its process id, as long as it has not ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.id()
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it.
    pub fn kill(&mut self) {
        let _ = self.0.start_kill();
    }
}
