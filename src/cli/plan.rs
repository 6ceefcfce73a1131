//! `windlass plan`

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::client::{Address, Client};
use super::{CliError, ErrorKind, Outcome, Terminal, diagnostics, output};
use crate::api::StateDocument;
use crate::app::{self, SOURCE};
use crate::ca::{self, Issuing};
use crate::clock;
use crate::config::{self, Config, Overrides};
use crate::model::{Current, Desired, Diagnostic, Evidence, Revision, SourceName};
use crate::plan::{self, Circumstances, Plan, render};
use crate::reconcile::desired::DesiredState;
use crate::source::decryption::Identities;
use crate::source::{Repository, RepositoryConfig, SourceError};

/// Print what a revision would do, and in which order, without changing anything.
///
/// Compares with a running control plane (--address, the default), with a
/// store (--config), or with another revision (--base), which needs neither
/// store nor secrets.
///
/// The exit status is 0 for a valid plan and 1 for invalid input, a refused
/// change or a failure. With --detailed-exitcode: 0 no changes, 1 error,
/// 2 changes, 3 changes that a safety rule blocks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository: a path or a URL.
    #[arg(long, value_name = "PATH|URL", default_value = ".")]
    repo: String,
    /// The folder inside the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: String,
    /// The revision that is planned.
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    head: String,
    /// Compare with this revision.
    #[arg(long, value_name = "REV", conflicts_with_all = ["config", "address"])]
    base: Option<String>,
    /// Compare with the store that this configuration names.
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    config: Option<PathBuf>,
    #[command(flatten)]
    address: Address,
    /// How to print the plan.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Tell by the exit status whether there are changes.
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

/// What the head is compared with.
struct Against {
    current: Current,
    evidence: Evidence,
    base: Option<Revision>,
    /// The last revision that the store has applied.
    applied: Option<Revision>,
    /// Whether the base has errors: what they hold back counts as absent.
    incomplete: bool,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let config = args.config.as_deref().map(load_config).transpose()?;
    // Holds the clone of a URL; gone with the command.
    let scratch = tempfile::tempdir().map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let repository = open(args, scratch.path())?;
    let mut head = new_state(config.as_ref())?;
    let revision = load(&repository, &args.head, &mut head)?;
    let against = match (&args.base, &config) {
        (Some(base), _) => against_revision(&repository, base)?,
        (None, Some(config)) => against_store(config)?,
        (None, None) => against_control_plane(&args.address)?,
    };
    if against.incomplete {
        // A closed standard error is nobody's concern any more.
        let _ = writeln!(
            terminal.err,
            "warning: the base has errors; what they hold back is compared with nothing"
        );
    }
    let mut plan = if head.holds_back_commit() {
        invalid(&against.current)
    } else {
        let mut desired = head.desired();
        desired.settled = against.applied.as_ref() == Some(&revision);
        let given = Circumstances {
            evidence: &against.evidence,
            issuing: issuing(config.as_ref()),
            now: clock::now(),
        };
        plan::plan(&against.current, &desired, given)
    };
    plan.head = Some(revision.clone());
    plan.base = against.base;
    let invalid = head.diagnostics();
    let is_invalid = invalid.iter().any(Diagnostic::is_error);
    let placed = plan.diagnostics.drain(..).map(|found| head.place(found));
    plan.diagnostics = invalid
        .iter()
        .cloned()
        .chain(placed.collect::<Vec<_>>())
        .collect();
    print(args, &plan, &repository, &revision, terminal)?;
    Ok(outcome(&plan, is_invalid, args.detailed_exitcode))
}

fn outcome(plan: &Plan, is_invalid: bool, detailed: bool) -> Outcome {
    match (is_invalid, plan.is_blocked(), plan.has_changes()) {
        (true, _, _) => Outcome::Status(1),
        (_, true, _) if detailed => Outcome::Status(3),
        (_, true, _) => Outcome::Status(1),
        (_, _, true) if detailed => Outcome::Status(2),
        _ => Outcome::Done,
    }
}

fn load_config(path: &Path) -> Result<Config, CliError> {
    let environment = config::process_environment();
    config::load(Some(path), &environment, &Overrides::default())
        .map_err(|error| CliError::new(ErrorKind::Config, error))
}

fn source_name() -> Result<SourceName, CliError> {
    SOURCE
        .parse()
        .map_err(|error: crate::model::InvalidName| CliError::new(ErrorKind::Internal, error))
}

/// The configuration's identities open sealed keys; without them, keys stay sealed.
fn new_state(config: Option<&Config>) -> Result<DesiredState, CliError> {
    let identity = config.and_then(|config| config.source.as_ref()?.decryption_identity.clone());
    let identities = identity.map(|path| Identities::load(&path)).transpose();
    let identities = identities.map_err(|error| CliError::new(ErrorKind::Config, error))?;
    let lifetime = config.map_or(ca::DEFAULT_LEAF_LIFETIME, |config| config.ca.leaf_lifetime);
    Ok(DesiredState::new(source_name()?, identities, lifetime))
}

/// How the control plane issues leaves, as far as that is known here.
fn issuing(config: Option<&Config>) -> Issuing {
    config.map_or_else(Issuing::default, |config| config.ca.issuing())
}

fn open(args: &Args, scratch: &Path) -> Result<Repository, CliError> {
    let config = RepositoryConfig {
        repo: args.repo.clone(),
        branch: None,
        path: args.path.clone(),
        cache_dir: scratch.to_owned(),
    };
    let mut repository = Repository::open(&config).map_err(unreadable)?;
    repository.fetch_all().map_err(unreadable)?;
    Ok(repository)
}

/// The hint of an error about a source, with the flags of this command for the settings of the daemon.
fn unreadable(error: SourceError) -> CliError {
    let hint = error
        .hint()
        .replace("`source.repo`", "--repo")
        .replace("`source.path`", "--path");
    CliError::user(error).hint(hint)
}

fn load(
    repository: &Repository,
    revision: &str,
    state: &mut DesiredState,
) -> Result<Revision, CliError> {
    let revision = repository.resolve(revision).map_err(unreadable)?;
    state
        .load(repository, &revision, clock::now())
        .map_err(unreadable)?;
    Ok(revision)
}

fn against_revision(repository: &Repository, base: &str) -> Result<Against, CliError> {
    let mut state = new_state(None)?;
    let revision = load(repository, base, &mut state)?;
    let incomplete = state.diagnostics().iter().any(Diagnostic::is_error);
    let desired = if state.holds_back_commit() {
        // A base that is not valid was never applied: everything is new.
        Desired::empty(source_name()?)
    } else {
        state.desired()
    };
    Ok(Against {
        current: plan::baseline(&desired),
        evidence: Evidence::new(),
        base: Some(revision),
        applied: None,
        incomplete,
    })
}

fn against_store(config: &Config) -> Result<Against, CliError> {
    let unavailable = |error| CliError::new(ErrorKind::Unavailable, error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let name = source_name()?;
    runtime.block_on(async {
        let store = app::open_existing_store(&config.store)
            .await
            .map_err(|error| {
                let hint = error.hint();
                hint.into_iter()
                    .fold(CliError::new(ErrorKind::Unavailable, error), CliError::hint)
            })?;
        let current = store.load().await.map_err(unavailable)?;
        let evidence = store.evidence().await.map_err(unavailable)?;
        let status = store.source_status(&name).await.map_err(unavailable)?;
        store.close().await;
        let applied = status.and_then(|status| status.applied);
        Ok(Against {
            current,
            evidence,
            base: None,
            applied,
            incomplete: false,
        })
    })
}

fn against_control_plane(address: &Address) -> Result<Against, CliError> {
    let document: StateDocument = Client::new(address)?.get("/state")?;
    let evidence = document
        .evidence
        .iter()
        .map(|proxy| (proxy.dataplane.clone(), proxy.clone()));
    Ok(Against {
        evidence: evidence.collect(),
        base: None,
        applied: document.applied.clone(),
        incomplete: false,
        current: document.into(),
    })
}

/// The plan of a revision of which nothing may be applied.
fn invalid(current: &Current) -> Plan {
    Plan {
        head: None,
        base: None,
        generation: current.generation,
        meshes: Vec::new(),
        blocked: vec![plan::Blocked::Invalid],
        diagnostics: Vec::new(),
    }
}

fn print(
    args: &Args,
    plan: &Plan,
    repository: &Repository,
    revision: &Revision,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let text = match args.output {
        Format::Text => render::text(plan, terminal.color_out),
        Format::Markdown => render::markdown(plan),
        Format::Json => output::to_json(&render::document(plan))?,
    };
    if args.output == Format::Text {
        let read = |file: &str| {
            let bytes = repository.read_file(revision, file).ok()??;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let found = diagnostics::render(&plan.diagnostics, "", terminal.color_err, &read);
        // A closed standard error is nobody's concern any more.
        let _ = terminal.err.write_all(found.as_bytes());
    }
    output::print(terminal, &text).map(|_| ())
}
