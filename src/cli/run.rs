//! `windlass run`

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::app::App;
use crate::config::{self, Overrides};
use crate::model::{Resource, count, printable};
use crate::reconcile::report::SourceReport;
use crate::telemetry;

/// Reconcile a repository into the store and serve proxies from it.
///
/// Settings come from the file, then from WINDLASS_… variables, then from
/// flags; docs/configuration.md lists them all. SIGTERM and SIGINT stop it
/// gracefully.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for what Windlass makes itself: store, keys, clones.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let environment = config::process_environment();
    let overrides = Overrides {
        state_dir: args.state_dir.clone(),
        ..Overrides::default()
    };
    let config = config::load(args.config.as_deref(), &environment, &overrides)
        .map_err(|error| CliError::new(ErrorKind::Config, error))?;
    telemetry::init(&environment).map_err(|error| CliError::new(ErrorKind::Config, error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    runtime.block_on(serve(config, terminal))
}

async fn serve(config: config::Config, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let mut terminate = stop_signal(SignalKind::terminate())?;
    let mut interrupt = stop_signal(SignalKind::interrupt())?;
    let starting = tokio::select! {
        started = App::start(config) => started,
        // It may wait for its store.
        _ = terminate.recv() => return Ok(Outcome::Done),
        _ = interrupt.recv() => return Ok(Outcome::Done),
    };
    let app = starting.map_err(|error| {
        let hint = error.hint();
        let error = CliError::new(ErrorKind::Config, error);
        hint.into_iter().fold(error, CliError::hint)
    })?;
    let mut reports = app.reports();
    let stopped_early = tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        () = app.failed() => true,
        _ = reports.wait_for(|reports| reports.iter().all(is_settled)) => false,
    };
    if !stopped_early {
        // A closed standard output is nobody's concern any more.
        let _ = write!(terminal.out, "{}", greeting(&app)).and_then(|()| terminal.out.flush());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = app.failed() => {
                app.stop().await;
                let error = "a part of the daemon ended by itself; the log says which and why";
                return Err(CliError::new(ErrorKind::Internal, error));
            }
        }
    }
    app.stop().await;
    Ok(Outcome::Done)
}

fn stop_signal(kind: SignalKind) -> Result<tokio::signal::unix::Signal, CliError> {
    signal(kind).map_err(|error| CliError::new(ErrorKind::Internal, error))
}

/// Whether the first look at a source is over.
fn is_settled(report: &SourceReport) -> bool {
    use crate::reconcile::report::{ConditionStatus, ConditionType};
    report.conditions.iter().any(|condition| {
        condition.r#type == ConditionType::Ready && condition.status != ConditionStatus::Unknown
    })
}

/// What was applied, where the daemon listens, and three things to try.
fn greeting(app: &App) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a string does not fail.
    for report in app.reports().borrow().iter() {
        let applied = report.applied.as_ref().map_or_else(
            || "no revision as a whole yet".to_owned(),
            ToString::to_string,
        );
        let _ = writeln!(
            text,
            "windlass reconciles {} and has applied {}",
            printable(&report.repo),
            printable(&applied)
        );
        let held_back = report
            .diagnostics
            .iter()
            .filter(|found| found.is_error())
            .count();
        if held_back > 0 {
            let _ = writeln!(
                text,
                "  held back by {}: see `windlass status`",
                count(held_back, "error")
            );
        }
    }
    let serving = app.serving().borrow().clone();
    let mut dataplane = None;
    for mesh in serving.current.meshes.values() {
        let Some(resource) = mesh.mesh() else {
            continue;
        };
        let mtls = if resource.mtls.enabled { "on" } else { "off" };
        let _ = writeln!(
            text,
            "  mesh {}: mTLS {mtls}, CA {}, {}, {}",
            mesh.name,
            resource.mtls.ca.kind(),
            count(mesh.permissions().count(), "permission"),
            count(mesh.dataplanes().count(), "dataplane"),
        );
        dataplane = dataplane.or_else(|| {
            mesh.resources
                .values()
                .find_map(|stored| match &stored.resource {
                    Resource::Dataplane(dataplane) => Some(dataplane.id()),
                    _ => None,
                })
        });
    }
    let bound = app.bound();
    let _ = writeln!(text, "it listens on");
    let _ = writeln!(text, "  xDS          {}", bound.xds);
    let _ = writeln!(text, "  API          http://{}", bound.api);
    let _ = writeln!(text, "  admin        http://{}", bound.admin);
    if let Some(public) = bound.admin_public {
        let _ = writeln!(text, "  admin        https://{public} (other machines)");
    }
    let _ = writeln!(text, "  diagnostics  http://{}/ready", bound.diagnostics);
    let address = match bound.api.port() {
        5681 => String::new(),
        _ => format!(" --address http://{}", bound.api),
    };
    let (mesh, name) = dataplane.map_or_else(
        || ("default".to_owned(), "dp-1".to_owned()),
        |id| (id.mesh.to_string(), id.name.to_string()),
    );
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "windlass".to_owned());
    let _ = writeln!(text, "try");
    let _ = writeln!(text, "  {program} status{address}");
    let _ = writeln!(text, "  {program} get meshes{address}");
    let _ = writeln!(
        text,
        "  {program} generate dataplane-token --mesh {mesh} --name {name}{address}"
    );
    text
}
