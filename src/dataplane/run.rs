//! Supervises one Envoy: starts it, keeps its token good, drains and ends it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, info, warn};

use super::admin::{Admin, AdminError};
use super::envoy::{Envoy, Launch};
use super::renewal::Renewal;
use crate::telemetry::chain;

/// How long Envoy may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait between two looks at the connections that are still open.
const LOOK: Duration = Duration::from_millis(100);

/// Why Envoy could not be supervised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The process could not be started.
    #[error("Envoy cannot be started")]
    Start(#[source] io::Error),
    /// Signals or the end of the process cannot be waited for.
    #[error("the process of Envoy cannot be supervised")]
    Supervise(#[source] io::Error),
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs Envoy until it ends by itself or a signal says so; returns how it
/// ended. The first signal drains, the second one does not wait any longer.
pub async fn run(launch: &Launch, admin: &Admin, renewal: Renewal) -> Result<ExitStatus, RunError> {
    let mut signals = StopSignals::new().map_err(RunError::Supervise)?;
    let mut envoy = launch.start().map_err(RunError::Start)?;
    info!(
        pid = envoy.pid(),
        binary = %launch.binary.display(),
        ?admin,
        "started Envoy"
    );
    let renewed = renewal.keep();
    tokio::pin!(renewed);
    tokio::select! {
        never = &mut renewed => match never {},
        ended = envoy.wait() => {
            let status = ended.map_err(RunError::Supervise)?;
            error!(%status, "Envoy ended by itself");
            return Ok(status);
        }
        () = signals.next() => {}
    }
    info!(drain_time = ?launch.drain_time, "draining; a second signal ends Envoy at once");
    tokio::select! {
        never = &mut renewed => match never {},
        ended = envoy.wait() => return ended.map_err(RunError::Supervise),
        () = drain(admin, launch.drain_time) => {}
        () = signals.next() => info!("a second signal: not waiting for open connections"),
    }
    end(&mut envoy).await.map_err(RunError::Supervise)
}

/// Takes no new connections and waits until those that are open have ended, as
/// long as the time allows.
async fn drain(admin: &Admin, time: Duration) {
    match timeout_at(Instant::now() + time, drained(admin)).await {
        Ok(Ok(())) => info!("all connections have ended"),
        Ok(Err(error)) => warn!(error = %chain(&error), "failed to drain"),
        Err(_) => warn!(?time, "connections are still open; they are cut off"),
    }
}

async fn drained(admin: &Admin) -> Result<(), AdminError> {
    let draining = admin.drain_listeners().await?;
    while admin.open_connections(&draining).await? > 0 {
        sleep(LOOK).await;
    }
    Ok(())
}

async fn end(envoy: &mut Envoy) -> io::Result<ExitStatus> {
    envoy.terminate();
    tokio::select! {
        ended = envoy.wait() => return ended,
        () = sleep(GRACE) => warn!(grace = ?GRACE, "Envoy does not end; killing it"),
    }
    envoy.kill();
    envoy.wait().await
}
