//! `windlass inspect`

use std::borrow::Cow;

use clap::Subcommand;
use serde::Serialize;

use super::client::{Address, Client};
use super::output::{Format, print, printable, span, table};
use super::{CliError, Outcome, Terminal};
use crate::api::{Insight, Items, MeshStatus, Status};
use crate::clock;
use crate::model::{MeshName, Timestamp};

/// The longest last error in the table, in characters.
const MAX_ERROR: usize = 100;
/// What stands where nothing is known.
const NOTHING: &str = "-";

/// Show how the proxies stand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the proxies of all dataplanes: whether they are connected, what
    /// they hold and what they rejected.
    ///
    /// A proxy is in sync when it has acknowledged all that it asks for as it
    /// is now (whom to trust, its certificate, its listeners and clusters), and
    /// has rejected nothing since.
    Dataplanes(Dataplanes),
}

#[derive(Debug, clap::Args)]
struct Dataplanes {
    /// The mesh; all where not given.
    #[arg(long, short, value_name = "MESH")]
    mesh: Option<MeshName>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    address: Address,
}

/// A proxy with its mesh.
#[derive(Debug, Serialize)]
struct Proxy<'a> {
    mesh: &'a MeshName,
    #[serde(flatten)]
    insight: &'a Insight,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let What::Dataplanes(args) = &args.what;
    let status: Status = Client::new(&args.address)?.get("/status")?;
    let is_meant = |mesh: &&MeshStatus| args.mesh.as_ref().is_none_or(|name| *name == mesh.name);
    let meshes: Vec<&MeshStatus> = status.meshes.iter().filter(is_meant).collect();
    if let Some(name) = &args.mesh
        && meshes.is_empty()
    {
        return Err(CliError::user(format!("there is no mesh {name}"))
            .hint("`windlass get meshes` shows them all"));
    }
    let proxies = meshes.into_iter().flat_map(|mesh| {
        let insights = mesh.dataplanes.insights.iter();
        insights.map(|insight| Proxy {
            mesh: &mesh.name,
            insight,
        })
    });
    let items = Items {
        items: proxies.collect(),
    };
    let table = || dataplanes(&items.items, clock::now());
    let text = args.output.print(&items, table)?;
    print(terminal, &text)
}

fn dataplanes(proxies: &[Proxy<'_>], now: Timestamp) -> String {
    let rows: Vec<_> = proxies.iter().map(|proxy| row(proxy, now)).collect();
    let header = [
        "MESH",
        "NAME",
        "STATUS",
        "REPLICA",
        "CERT EXPIRES",
        "TOKEN EXPIRES",
        "AUTHORITY",
        "IN SYNC",
        "LAST ERROR",
    ];
    table(header, &rows)
}

fn row(proxy: &Proxy<'_>, now: Timestamp) -> [String; 9] {
    let insight = proxy.insight;
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let expires = |end: Option<Timestamp>| or_nothing(end.map(|end| expiry(end, now)));
    let replica = insight.replica.as_deref().map(printable);
    let authority = insight.leaf_authority.map(|id| {
        let mut hex = id.0.to_hex();
        hex.truncate(12);
        hex
    });
    [
        proxy.mesh.to_string(),
        insight.name.to_string(),
        status(insight, now),
        or_nothing(replica.map(Cow::into_owned)),
        expires(insight.leaf_expires_at),
        expires(insight.token_expires_at),
        or_nothing(authority),
        in_sync(insight),
        last_error(insight, now),
    ]
}

fn status(insight: &Insight, now: Timestamp) -> String {
    match (insight.connected_since, insight.last_seen) {
        (Some(since), _) => format!("Online for {}", span(since, now)),
        (None, Some(seen)) => format!("Offline for {}", span(seen, now)),
        (None, None) => "Never connected".to_owned(),
    }
}

fn in_sync(insight: &Insight) -> String {
    if insight.last_seen.is_none() {
        return NOTHING.to_owned();
    }
    if insight.out_of_sync.is_empty() {
        return "yes".to_owned();
    }
    let names: Vec<_> = insight
        .out_of_sync
        .iter()
        .map(|name| printable(name))
        .collect();
    format!("no: {}", names.join(", "))
}

/// The last rejection on one line, its end left out where it is long.
fn last_error(insight: &Insight, now: Timestamp) -> String {
    let Some(nack) = &insight.last_nack else {
        return NOTHING.to_owned();
    };
    let resource = printable(&nack.resource);
    let words = printable(nack.message.trim());
    let mut words: Vec<char> = words.chars().take(MAX_ERROR + 1).collect();
    if words.len() > MAX_ERROR {
        words[MAX_ERROR] = '…';
    }
    let words: String = words.into_iter().collect();
    format!("{resource} {} ago: {words}", span(nack.at, now))
}

fn expiry(end: Timestamp, now: Timestamp) -> String {
    if end > now {
        format!("in {}", span(now, end))
    } else {
        format!("{} ago", span(end, now))
    }
}

#[cfg(test)]
mod tests;
