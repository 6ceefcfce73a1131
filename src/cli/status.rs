//! `windlass status`

use std::fmt::{self, Write as _};

use super::client::{Address, Client};
use super::output::{TextOrJson, print, printable, table, to_json};
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::api::{MeshStatus, SourceStatus, Status};
use crate::model::{Posture, way};
use crate::reconcile::report::Condition;

/// Show how the sources and meshes stand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t)]
    output: TextOrJson,
    #[command(flatten)]
    address: Address,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let status: Status = Client::new(&args.address)?.get("/status")?;
    let text = match args.output {
        TextOrJson::Json => to_json(&status)?,
        TextOrJson::Text => {
            render(&status).map_err(|error| CliError::new(ErrorKind::Internal, error))?
        }
    };
    print(terminal, &text)
}

fn render(status: &Status) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for source in &status.sources {
        write_source(&mut out, source)?;
    }
    write_replicas(&mut out, status)?;
    if status.meshes.is_empty() {
        out.push_str("no meshes\n");
        return Ok(out);
    }
    let rows: Vec<_> = status.meshes.iter().map(mesh_row).collect();
    let header = [
        "MESH",
        "mTLS",
        "CA",
        "GENERATION",
        "AUTHORITIES",
        "DATAPLANES",
    ];
    out.push_str(&table(header, &rows));
    for mesh in &status.meshes {
        if let Some(transition) = &mesh.transition {
            let way = way(&transition.from, &transition.to);
            writeln!(
                out,
                "{}: {}; `windlass transition show {}` tells more",
                mesh.name,
                printable(&way),
                mesh.name
            )?;
        }
        for condition in &mesh.conditions {
            write!(out, "{}: ", mesh.name)?;
            write_condition(&mut out, condition)?;
        }
    }
    Ok(out)
}

/// Who serves, where that is more than one, and whether the store is away.
fn write_replicas(out: &mut String, status: &Status) -> fmt::Result {
    let store = &status.store;
    if let Some(since) = store.lost_since {
        let message = store.message.as_deref().unwrap_or_default();
        writeln!(
            out,
            "the store does not answer since {since}: {}; what was known then is shown\n",
            printable(message)
        )?;
    }
    if status.replicas.len() > 1 {
        for replica in &status.replicas {
            let name = printable(&replica.name);
            write!(out, "replica {name}: ")?;
            match replica.silent_since {
                Some(since) => writeln!(out, "silent since {since}")?,
                None if replica.leads => writeln!(out, "reconciles and serves")?,
                None => writeln!(out, "serves")?,
            }
        }
        out.push('\n');
    }
    Ok(())
}

fn write_source(out: &mut String, source: &SourceStatus) -> fmt::Result {
    writeln!(
        out,
        "source {}: {} (path {})",
        source.name,
        printable(&source.repo),
        printable(&source.path)
    )?;
    let revision = |revision: &Option<_>| match revision {
        Some(revision) => printable(&format!("{revision}")).into_owned(),
        None => "no revision as a whole yet".to_owned(),
    };
    writeln!(out, "  applied    {}", revision(&source.applied_revision))?;
    if source.attempted_revision != source.applied_revision {
        writeln!(out, "  attempted  {}", revision(&source.attempted_revision))?;
    }
    for condition in &source.conditions {
        out.push_str("  ");
        write_condition(out, condition)?;
    }
    for diagnostic in &source.diagnostics {
        let place = if diagnostic.file.is_empty() {
            String::new()
        } else {
            format!(" {}", printable(&diagnostic.place()))
        };
        writeln!(
            out,
            "  {}[{}]{place}: {}: {}",
            diagnostic.severity,
            printable(&diagnostic.code),
            printable(&diagnostic.field),
            printable(&diagnostic.message)
        )?;
        if let Some(hint) = &diagnostic.hint {
            writeln!(out, "    hint: {}", printable(hint))?;
        }
    }
    out.push('\n');
    Ok(())
}

fn write_condition(out: &mut String, condition: &Condition) -> fmt::Result {
    writeln!(
        out,
        "{:<14}{:<8}{}: {}",
        format!("{:?}", condition.r#type),
        format!("{:?}", condition.status),
        printable(&condition.reason),
        printable(&condition.message)
    )
}

fn mesh_row(mesh: &MeshStatus) -> [String; 6] {
    let authorities: Vec<String> = mesh
        .authorities
        .iter()
        .map(|authority| {
            let id = authority.id.0.to_hex();
            let end = authority.not_after.to_string();
            let day = end.split('T').next().unwrap_or_default();
            let state = printable(&authority.state);
            format!("{} {state} until {day}", &id[..12])
        })
        .collect();
    [
        mesh.name.to_string(),
        mtls(mesh),
        printable(&mesh.mtls.ca).into_owned(),
        mesh.generation.to_string(),
        authorities.join(", "),
        format!(
            "{}/{} online",
            mesh.dataplanes.online, mesh.dataplanes.known
        ),
    ]
}

/// What is wanted and, where that is not so yet, what is.
fn mtls(mesh: &MeshStatus) -> String {
    let (wanted, is_there) = if mesh.mtls.enabled {
        ("on", mesh.posture == Posture::Strict)
    } else {
        ("off", mesh.posture == Posture::Plaintext)
    };
    if is_there {
        wanted.to_owned()
    } else {
        format!("{wanted} ({})", mesh.posture)
    }
}
