//! `windlass dp`

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::control_plane::Site;
use self::local::Local;
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::config;
use crate::dataplane::admin::Admin;
use crate::dataplane::answer::Answer;
use crate::dataplane::bootstrap::{AdminAddress, BootstrapParams, bootstrap};
use crate::dataplane::control::{ControlError, ControlPlane};
use crate::dataplane::envoy::Launch;
use crate::dataplane::renewal::Renewal;
use crate::dataplane::run::{self, RunError};
use crate::model::{DataplaneId, HumanDuration, MeshName, ResourceName, count};
use crate::telemetry;

mod control_plane;
mod local;

/// The longest path of a Unix socket (unix(7)), in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// How long the xDS server may not know a dataplane that the HTTP API knows.
const HEARSAY: Duration = Duration::from_secs(10);

/// Run the proxy of a dataplane.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Run(Box<Run>),
    #[cfg(target_os = "linux")]
    BecomeEnvoy(BecomeEnvoy),
}

/// Run Envoy with everything that it gets from the control plane
///
/// Envoy's log is passed through, and its exit status is the one of this
/// command. SIGTERM and SIGINT drain it: no new connections are taken, and
/// those that are open may end within the drain time. The token in its file is
/// renewed before it ends.
#[derive(Debug, clap::Args)]
struct Run {
    /// The dataplane's name.
    #[arg(long, value_name = "NAME")]
    name: ResourceName,
    /// The dataplane's mesh.
    #[arg(long, short, value_name = "MESH")]
    mesh: MeshName,
    /// The address of the control plane.
    #[arg(long, value_name = "URL")]
    cp_address: String,
    /// The file that holds the dataplane's token. Renewed tokens are written to it.
    #[arg(long, value_name = "FILE")]
    dataplane_token_file: PathBuf,
    /// A file with the Dataplane, which is registered where Git does not own it.
    #[arg(long, value_name = "FILE")]
    dataplane_file: Option<PathBuf>,
    /// The Envoy program.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    binary_path: PathBuf,
    /// The port of 127.0.0.1 for Envoy's admin server, which is on a private
    /// Unix socket otherwise.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: Option<u16>,
    /// The CA that the control plane's gRPC server must be proven by (its
    /// `xds-ca.pem`), rather than the one that the control plane names.
    #[arg(long, value_name = "FILE")]
    ca_cert_file: Option<PathBuf>,
    /// How long open connections may take to end when Envoy stops, and when
    /// the permission that allowed them is withdrawn or the root that
    /// authenticated them is replaced.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    drain_time: HumanDuration,
    /// The least of its log that Envoy writes.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = LogLevel::Warning)]
    log_level: LogLevel,
}

/// Turn this process into Envoy, which ends with the process that started it.
#[cfg(target_os = "linux")]
#[derive(Debug, clap::Args)]
#[command(hide = true)]
struct BecomeEnvoy {
    #[arg(long)]
    parent: u32,
    #[arg(last = true, required = true)]
    program: Vec<std::ffi::OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
    Off,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    match &args.what {
        What::Run(args) => args.run(terminal),
        #[cfg(target_os = "linux")]
        What::BecomeEnvoy(args) => {
            let error = crate::dataplane::envoy::become_envoy(args.parent, &args.program);
            Err(CliError::user(RunError::Start(error)))
        }
    }
}

/// What stands in the way, as it is printed.
#[derive(Debug, Default)]
struct Problems {
    causes: Vec<String>,
    hints: Vec<String>,
}

impl Problems {
    fn add(&mut self, flag: &str, problem: impl std::fmt::Display) {
        self.causes.push(format!("{flag}: {problem}"));
    }

    fn hint(&mut self, hint: impl Into<String>) {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
    }
}

impl Run {
    fn run(&self, terminal: &mut Terminal) -> Result<Outcome, CliError> {
        let environment = config::process_environment();
        telemetry::init(&environment).map_err(|error| CliError::new(ErrorKind::Config, error))?;
        // All that can be found out without changing anything comes first, and is said at once.
        let mut problems = Problems::default();
        let local = Local::look(self, &mut problems, terminal);
        let site = Site::look(self, &mut problems);
        let (Some(local), Some(site)) = (local, site) else {
            return Err(self.refuse(problems));
        };
        if !problems.causes.is_empty() {
            return Err(self.refuse(problems));
        }
        local.tidy_token()?;
        if let Some(dataplane) = &local.dataplane {
            site.register(dataplane, terminal)?;
        }
        let mut answer = site.bootstrap(self, &local)?;
        match &local.ca_pem {
            Some(pinned) => answer.ca_pem.clone_from(pinned),
            None if !site.is_local() => {
                let _ = writeln!(
                    terminal.err,
                    "warning: the CA of the control plane came over plain HTTP: whoever is in \
                     between could have replaced it\nhint: pin it with `--ca-cert-file`, a copy \
                     of the control plane's xds-ca.pem"
                );
            }
            None => {}
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
        let status = runtime.block_on(self.supervise(&local, &answer))?;
        Ok(outcome(status))
    }

    fn id(&self) -> DataplaneId {
        DataplaneId {
            mesh: self.mesh.clone(),
            name: self.name.clone(),
        }
    }

    fn refuse(&self, problems: Problems) -> CliError {
        let found = count(problems.causes.len(), "problem");
        let title = format!("dataplane {} cannot be started: {found}", self.id());
        let error = CliError::user(title);
        let error = problems.causes.into_iter().fold(error, CliError::cause);
        problems.hints.into_iter().fold(error, CliError::hint)
    }

    async fn supervise(&self, local: &Local, answer: &Answer) -> Result<ExitStatus, CliError> {
        let control_plane = self.verify(local, answer).await?;
        // The folder is gone when this ends; what `kill -9` leaves behind holds nothing.
        let (admin, _folder) = self.admin()?;
        let address = match &admin {
            Admin::Port(port) => AdminAddress::Port(*port),
            Admin::Socket(path) => AdminAddress::Pipe(text(path)?),
        };
        let document = bootstrap(&BootstrapParams {
            mesh: self.mesh.as_str(),
            name: self.name.as_str(),
            admin: Some(address),
            token_path: text(local.token_file.path())?,
            xds: &answer.xds.to_string(),
            ca_pem: &answer.ca_pem,
            drain_seconds: Some(self.drain_time.0.as_secs()),
        });
        let launch = Launch {
            binary: local.binary.clone(),
            bootstrap: document.to_string(),
            drain_time: self.drain_time.0,
            log_level: self.log_level.as_str(),
        };
        let renewal = Renewal {
            dataplane: self.id(),
            file: local.token_file.clone(),
            control_plane,
            rng: StdRng::from_os_rng(),
        };
        run::run(&launch, &admin, renewal)
            .await
            .map_err(|error| match &error {
                RunError::Start(_) => CliError::user(error),
                _ => CliError::new(ErrorKind::Internal, error),
            })
    }

    /// Checks who the control plane is and that it lets this dataplane in.
    async fn verify(&self, local: &Local, answer: &Answer) -> Result<ControlPlane, CliError> {
        let address = answer.xds.to_string();
        let checked = async {
            let mut control_plane =
                ControlPlane::connect(&address, answer.ca_pem.as_bytes()).await?;
            let token = local.token_file.read().map_err(CliError::user);
            Ok::<_, ControlError>(match token {
                Ok(content) => {
                    let node_id = self.id().node_id();
                    // Another replica may have said that it is known.
                    control_plane
                        .check_within(HEARSAY, &node_id, content.token.expose())
                        .await?;
                    Ok(control_plane)
                }
                Err(error) => Err(error),
            })
        };
        checked
            .await
            .unwrap_or_else(|error| Err(self.not_let_in(error)))
    }

    fn not_let_in(&self, error: ControlError) -> CliError {
        let (kind, hint) = match &error {
            ControlError::Untrusted { .. } if self.ca_cert_file.is_some() => (
                ErrorKind::Unavailable,
                "is `--ca-cert-file` the xds-ca.pem of this control plane, and is its address \
                 one that it knows as its own (`general.advertisedHostname`)?"
                    .to_owned(),
            ),
            ControlError::Untrusted { .. } => (
                ErrorKind::Unavailable,
                "is the address of the control plane one that it knows as its own \
                 (`general.advertisedHostname`)?"
                    .to_owned(),
            ),
            ControlError::Unauthenticated(_) | ControlError::PermissionDenied(_) => {
                (ErrorKind::User, local::token_hint(&self.id()))
            }
            ControlError::UnknownDataplane(_) => {
                (ErrorKind::User, control_plane::unknown_hint().to_owned())
            }
            _ => (
                ErrorKind::Unavailable,
                "the xDS port of the control plane has to be reachable from here".to_owned(),
            ),
        };
        CliError::new(kind, error).hint(hint)
    }

    /// Where Envoy's admin server will be: draining needs one.
    fn admin(&self) -> Result<(Admin, Option<tempfile::TempDir>), CliError> {
        if let Some(port) = self.admin_port {
            return Ok((Admin::Port(port), None));
        }
        // For its owner alone.
        let folder = tempfile::Builder::new()
            .prefix("windlass-dp-")
            .tempdir()
            .map_err(|error| {
                CliError::user(format!(
                    "a folder for Envoy's admin socket cannot be made: {error}"
                ))
                .hint("set TMPDIR to a folder that this process can write to")
            })?;
        let socket = folder.path().join("admin.sock");
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            let message = format!("`{}` is too long for a Unix socket", socket.display());
            return Err(CliError::user(message)
                .hint("set TMPDIR to a folder with a shorter path, or use `--admin-port`"));
        }
        Ok((Admin::Socket(socket), Some(folder)))
    }
}

/// A path as it stands in a bootstrap.
fn text(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| {
        CliError::user(format!("the path `{}` is not UTF-8", path.display()))
            .hint("Envoy's bootstrap holds UTF-8 only: use another path")
    })
}

/// Envoy's exit status; 128 and the signal's number where a signal ended it, as shells say it.
fn outcome(status: ExitStatus) -> Outcome {
    use std::os::unix::process::ExitStatusExt as _;

    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    match code {
        Some(0) => Outcome::Done,
        code => Outcome::Status(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
    }
}
