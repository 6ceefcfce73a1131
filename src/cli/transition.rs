//! `windlass transition`

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Subcommand;
use serde::Serialize;

use super::client::{Address, Client};
use super::output::{Format, print, printable, span, table};
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::api::{Approval, Items, Status, TransitionStatus};
use crate::clock;
use crate::model::{MeshName, ResourceName, Timestamp};

mod show;
#[cfg(test)]
mod tests;

/// See and steer changes of a mesh's CA or mTLS that are under way.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the transitions that run, in all meshes.
    List(List),
    /// Show the transition of a mesh: where it is, whom it waits for and why,
    /// what to do about it, and what comes next.
    ///
    /// A mesh where none runs is told so, with exit status 0.
    Show(Show),
    /// Go on without proxies that the transition of a mesh waits for.
    ///
    /// For a proxy that does not come back, or that you know to be harmless:
    /// what it has not acknowledged may cost its connections. It holds until
    /// the transition ends, and is written to the history. It does not lift
    /// `hold`.
    Approve(Approve),
}

#[derive(Debug, clap::Args)]
struct List {
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The mesh.
    mesh: MeshName,
    /// How to print it; without a transition, YAML and JSON are `null`.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true))]
struct Approve {
    /// The mesh.
    mesh: MeshName,
    /// A dataplane to go on without; may be given several times.
    #[arg(long = "dataplane", value_name = "NAME", group = "whom")]
    dataplanes: Vec<ResourceName>,
    /// Go on without all that are awaited at this moment; they are printed.
    #[arg(long, group = "whom")]
    all: bool,
    #[command(flatten)]
    address: Address,
}

/// A transition with its mesh.
#[derive(Debug, Serialize)]
struct OfMesh<'a> {
    mesh: &'a MeshName,
    #[serde(flatten)]
    transition: &'a TransitionStatus,
}

/// What is sent to approve.
#[derive(Debug, Serialize)]
struct Approving {
    dataplanes: Vec<ResourceName>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    match &args.what {
        What::List(args) => list(args, terminal),
        What::Show(args) => show(args, terminal),
        What::Approve(args) => approve(args, terminal),
    }
}

fn list(args: &List, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let status: Status = Client::new(&args.address)?.get("/status")?;
    let running = status.meshes.iter().filter_map(|mesh| {
        Some(OfMesh {
            mesh: &mesh.name,
            transition: mesh.transition.as_ref()?,
        })
    });
    let items = Items {
        items: running.collect(),
    };
    let table = || list_table(&items.items, clock::now());
    let text = args.output.print(&items, table)?;
    print(terminal, &text)
}

fn list_table(running: &[OfMesh<'_>], now: Timestamp) -> String {
    let rows: Vec<_> = running.iter().map(|it| row(it, now)).collect();
    let header = ["MESH", "FROM", "TO", "PHASE", "FOR", "AWAITING", "STATE"];
    table(header, &rows)
}

fn row(it: &OfMesh<'_>, now: Timestamp) -> [String; 7] {
    let transition = it.transition;
    [
        it.mesh.to_string(),
        printable(&transition.from).into_owned(),
        printable(&transition.to).into_owned(),
        transition.phase.to_string(),
        span(transition.since, now),
        transition.awaiting.len().to_string(),
        state(transition).to_owned(),
    ]
}

/// The state in a word.
fn state(transition: &TransitionStatus) -> &'static str {
    match transition {
        _ if transition.blocked.is_some() => "blocked",
        _ if transition.held => "held",
        _ if transition.stalled => "stalled",
        _ if transition.gate.is_some() => "waiting",
        _ => "running",
    }
}

fn show(args: &Show, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let client = Client::new(&args.address)?;
    let transition = fetch(&client, &args.mesh)?;
    let mut text = Ok(String::new());
    let printed = args.output.print(&transition, || {
        text = show::text(&args.mesh, transition.as_ref(), clock::now());
        String::new()
    })?;
    let text = text.map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    print(terminal, &(printed + &text))
}

fn approve(args: &Approve, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let client = Client::new(&args.address)?;
    let mut dataplanes = args.dataplanes.clone();
    if args.all {
        let transition = fetch(&client, &args.mesh)?;
        let awaited = transition.map(|it| it.awaited).unwrap_or_default();
        dataplanes.extend(awaited.into_iter().map(|it| it.dataplane));
        if dataplanes.is_empty() {
            let text = format!(
                "mesh {}: nobody is awaited, nothing is approved\n",
                args.mesh
            );
            return print(terminal, &text);
        }
    }
    let path = format!("/meshes/{}/transition/approve", args.mesh);
    let approval: Approval = client.post_for(&path, &Approving { dataplanes })?;
    let mut text = String::new();
    for name in &approval.approved {
        // Writing to a String does not fail.
        let _ = writeln!(text, "goes on without {}", printable(name));
    }
    if let Some(hint) = &approval.hint {
        let _ = writeln!(terminal.err, "hint: {}", printable(hint));
    }
    print(terminal, &text)
}

fn fetch(client: &Client, mesh: &MeshName) -> Result<Option<TransitionStatus>, CliError> {
    client.get(&format!("/meshes/{mesh}/transition"))
}
