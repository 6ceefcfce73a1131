//! `windlass history`

use std::fmt::{self, Write as _};

use super::client::{Address, Client};
use super::output::{TextOrJson, print, printable, proxies, to_json};
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::api::Items;
use crate::model::{
    AcknowledgedPart, EndedTransition, HistoryEntry, HumanDuration, PassedGate, way,
};

/// Show what was done to the meshes, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many entries to show.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Name every proxy that opened a gate, not only the last few.
    ///
    /// With it, `--limit` goes to 100.
    #[arg(long)]
    full: bool,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: TextOrJson,
    #[command(flatten)]
    address: Address,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let client = Client::new(&args.address)?;
    let history: Items<HistoryEntry> = client.get(&args.path())?;
    let text = match args.output {
        TextOrJson::Json => to_json(&history)?,
        TextOrJson::Text => {
            render(&history.items).map_err(|error| CliError::new(ErrorKind::Internal, error))?
        }
    };
    print(terminal, &text)
}

impl Args {
    fn path(&self) -> String {
        let full = if self.full { "&full=true" } else { "" };
        format!("/history?limit={}{full}", self.limit)
    }
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
        for gate in &entry.gates {
            write_gate(&mut out, entry, gate)?;
        }
        if let Some(ended) = &entry.ended {
            write_end(&mut out, ended)?;
        }
    }
    if entries.is_empty() {
        out.push_str("nothing was done yet\n");
    }
    Ok(out)
}

fn write_gate(out: &mut String, entry: &HistoryEntry, gate: &PassedGate) -> fmt::Result {
    let waited = HumanDuration(entry.at.since(gate.since));
    writeln!(
        out,
        "  gate of {}: waited {waited} for {}",
        gate.phase,
        printable(&gate.waited_for)
    )?;
    for part in &gate.acknowledged {
        write_part(out, entry, part)?;
    }
    if gate.without > 0 {
        let names = gate.passed_over.iter();
        let names = names.map(|it| {
            let why = it.why.in_words();
            format!("{}/{} ({why})", entry.mesh, it.dataplane)
        });
        let names: Vec<String> = names.collect();
        let more = match gate.without.saturating_sub(names.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        writeln!(out, "    without {}{more}", names.join(", "))?;
    }
    Ok(())
}

fn write_part(out: &mut String, entry: &HistoryEntry, part: &AcknowledgedPart) -> fmt::Result {
    let what = match part.proxies {
        1 => part.part.in_words(),
        _ => part.part.of_several(),
    };
    let proxies = proxies(part.proxies);
    write!(out, "    {proxies} acknowledged {what}")?;
    let name =
        |it: &crate::model::AcknowledgedBy| format!("{}/{} at {}", entry.mesh, it.dataplane, it.at);
    match part.by.split_last() {
        None => writeln!(out),
        Some(_) if part.by.len() == part.proxies => {
            let all: Vec<String> = part.by.iter().map(name).collect();
            writeln!(out, ": {}", all.join(", "))
        }
        Some((last, _)) => writeln!(out, ", the last {}", name(last)),
    }
}

fn write_end(out: &mut String, ended: &EndedTransition) -> fmt::Result {
    write!(
        out,
        "  transition {} ended after {}",
        printable(&way(&ended.from, &ended.to)),
        ended.took
    )?;
    match ended.plaintext {
        Some(window) => writeln!(out, ", inbounds accepted plaintext for {window} of it"),
        None => writeln!(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(by: &[(&str, &str)]) -> HistoryEntry {
        let by = by
            .iter()
            .map(|(name, at)| serde_json::json!({"dataplane": name, "at": at}));
        let by: Vec<_> = by.collect();
        serde_json::from_value(serde_json::json!({
            "at": "2026-01-31T12:00:12Z", "generation": 9, "mesh": "demo", "revision": null,
            "steps": ["sign leaves with builtin authority 2"],
            "gates": [{"phase": "activate", "waitedFor": "every proxy to acknowledge the trust bundle",
                "since": "2026-01-31T12:00:00Z",
                "acknowledged": [{"part": "bundle", "proxies": 3, "by": by}],
                "without": 2, "passedOver": [{"dataplane": "old", "why": "approved"}]}],
            "ended": {"from": "builtin authority 1", "to": "bell \u{7}", "started": "2026-01-31T11:00:12Z",
                "took": "1h", "plaintext": "42s"},
        }))
        .unwrap()
    }

    #[test]
    fn a_gate_is_told_in_a_line_with_the_last_to_acknowledge() {
        let short = [entry(&[("web", "2026-01-31T12:00:11Z")])];
        assert_eq!(
            render(&short).unwrap(),
            "\
2026-01-31T12:00:12Z  generation 9  mesh demo  api
  - sign leaves with builtin authority 2
  gate of activate: waited 12s for every proxy to acknowledge the trust bundle
    3 proxies acknowledged the trust bundle, the last demo/web at 2026-01-31T12:00:11Z
    without demo/old (approved) and 1 more
  transition from builtin authority 1 to bell \\u{7} ended after 1h, inbounds accepted plaintext for 42s of it
"
        );
        let at = "2026-01-31T12:00:11Z";
        let full = [entry(&[("a", at), ("b", at), ("web", at)])];
        let text = render(&full).unwrap();
        let all = format!("the trust bundle: demo/a at {at}, demo/b at {at}, demo/web at {at}\n");
        assert!(text.contains(&all), "{text}");
    }

    #[test]
    fn several_proxies_have_their_inbounds_and_a_revert_goes_back() {
        let mut entry = entry(&[]);
        entry.gates[0].acknowledged[0].part = crate::model::Part::Inbounds;
        entry.ended.as_mut().unwrap().to = "builtin authority 1".to_owned();
        let text = render(std::slice::from_ref(&entry)).unwrap();
        let several = "    3 proxies acknowledged what their inbounds accept\n";
        assert!(text.contains(several), "{text}");
        let back = "  transition back to builtin authority 1 ended after 1h, ";
        assert!(text.contains(back), "{text}");
        entry.gates[0].acknowledged[0].proxies = 1;
        let text = render(&[entry]).unwrap();
        let one = "    1 proxy acknowledged what its inbounds accept\n";
        assert!(text.contains(one), "{text}");
    }
}
