//! `windlass history`

use std::fmt::{self, Write as _};

use super::client::{Address, Client};
use super::output::{TextOrJson, print, printable, to_json};
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::api::Items;
use crate::model::HistoryEntry;

/// Show what was done to the meshes, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many entries to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: TextOrJson,
    #[command(flatten)]
    address: Address,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let client = Client::new(&args.address)?;
    let history: Items<HistoryEntry> = client.get(&format!("/history?limit={}", args.limit))?;
    let text = match args.output {
        TextOrJson::Json => to_json(&history)?,
        TextOrJson::Text => {
            render(&history.items).map_err(|error| CliError::new(ErrorKind::Internal, error))?
        }
    };
    print(terminal, &text)
}

fn render(entries: &[HistoryEntry]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for entry in entries {
        let by = match &entry.revision {
            Some(revision) => revision.to_string(),
            None => "api".to_owned(),
        };
        writeln!(
            out,
            "{}  generation {}  mesh {}  {}",
            entry.at,
            entry.generation,
            entry.mesh,
            printable(&by)
        )?;
        for step in &entry.steps {
            writeln!(out, "  - {}", printable(step))?;
        }
    }
    if entries.is_empty() {
        out.push_str("nothing was done yet\n");
    }
    Ok(out)
}
