//! Gives the driver connections that [`link`] made.
//!
//! The driver connects to a socket inside this process, one that is in no file
//! system and takes nobody else; each connection is carried to one with the server.
//! Where there is none, the driver hears why, as if the server had said it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::link::{self, LinkError};
use super::settings::PostgresConfig;

/// The server cannot be reached now (`sqlclient_unable_to_establish_sqlconnection`).
pub(super) const NOT_NOW: &str = "08001";
/// It cannot be reached as things are set up
/// (`sqlserver_rejected_establishment_of_sqlconnection`).
pub(super) const NOT_SO: &str = "08004";
/// How long the driver has to hear why there is no connection.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// The socket that the driver connects to. It is gone when this is dropped;
/// connections last until one side ends them.
#[derive(Debug)]
pub(super) struct Bridge {
    folder: PathBuf,
    _stop: DropGuard,
}

impl Bridge {
    /// Opens the socket.
    pub(super) fn open(config: &Arc<PostgresConfig>) -> io::Result<Self> {
        let (listener, folder) = bind(config.port)?;
        let stop = CancellationToken::new();
        let config = Arc::clone(config);
        let serve = accept(listener, config);
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
        Ok(Self {
            folder,
            _stop: stop.drop_guard(),
        })
    }

    /// Where the driver finds it.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A socket of a name that no other has.
#[allow(
    clippy::disallowed_methods,
    reason = "a name that is nobody else's; nothing else depends on it"
)]
fn bind(port: u16) -> io::Result<(UnixListener, PathBuf)> {
    loop {
        // A name that begins with a NUL is in no file system (unix(7)).
        let folder = format!("\0windlass-{:016x}", rand::random::<u64>());
        match UnixListener::bind(format!("{folder}/.s.PGSQL.{port}")) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return Ok((bound?, PathBuf::from(folder))),
        }
    }
}

async fn accept(listener: UnixListener, config: Arc<PostgresConfig>) {
    loop {
        match listener.accept().await {
            Ok((driver, _)) if is_own(&driver) => {
                tokio::spawn(carry(driver, Arc::clone(&config)));
            }
            Ok(_) => {}
            // Too many files are open; some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whether it was this process that connected.
fn is_own(driver: &UnixStream) -> bool {
    let pid = driver.peer_cred().ok().and_then(|peer| peer.pid());
    pid.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id())
}

async fn carry(mut driver: UnixStream, config: Arc<PostgresConfig>) {
    match link::connect(&config).await {
        Ok(mut server) => {
            let carried = tokio::io::copy_bidirectional(&mut driver, &mut server).await;
            // With a client certificate the server's no may come after the handshake.
            if let Err(error) = carried
                && let Some(problem) = link::explain_broken(&error)
            {
                let passes = false;
                tell(driver, &LinkError { passes, problem }).await;
            }
        }
        Err(error) => tell(driver, &error).await,
    }
}

/// Tells the driver why there is no connection.
async fn tell(mut driver: UnixStream, error: &LinkError) {
    let telling = async {
        driver.write_all(&fatal(error)).await?;
        driver.shutdown().await?;
        // What the driver still sends is waited for: closing before would tell
        // it that, and not why.
        let mut rest = [0; 1024];
        while driver.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(TOLD_WITHIN, telling).await;
}

/// The message `ErrorResponse`.
fn fatal(error: &LinkError) -> Vec<u8> {
    let code = if error.passes { NOT_NOW } else { NOT_SO };
    let problem = error.problem.replace('\0', " ");
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{problem}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}
