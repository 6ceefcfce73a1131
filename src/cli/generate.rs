//! `windlass generate`

use std::io::{self, IsTerminal as _};

use clap::Subcommand;
use serde::Serialize;

use super::client::{Address, Client};
use super::output::print;
use super::{CliError, Outcome, Terminal};
use crate::api::Catalog;
use crate::model::HumanDuration;

/// Generate tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, Subcommand)]
enum What {
    DataplaneToken(DataplaneToken),
}

/// Print a token that a dataplane proves its identity with
///
/// Tokens are issued on the control plane's own machine only. Write the token
/// to a file that only the dataplane can read:
///
///   windlass generate dataplane-token --name dp-echo-1 --mesh default > token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct DataplaneToken {
    /// The dataplane's name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The dataplane's mesh.
    #[arg(long, short, value_name = "MESH")]
    mesh: String,
    /// How long the token is valid, such as 24h or 90d; 30d where not given.
    #[arg(long, value_name = "DURATION")]
    valid_for: Option<HumanDuration>,
}

const REFUSED: &str = "tokens are not issued from elsewhere";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest<'a> {
    name: &'a str,
    mesh: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_for: Option<HumanDuration>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let What::DataplaneToken(wanted) = &args.what;
    let client = Client::new(&args.address)?;
    client.require_local(REFUSED)?;
    let catalog: Catalog = client.get("/catalog")?;
    let admin = Client::at(&catalog.apis.dataplane_token.local_url)?;
    admin.require_local(REFUSED)?;
    let request = TokenRequest {
        name: &wanted.name,
        mesh: &wanted.mesh,
        valid_for: wanted.valid_for,
    };
    let token = admin.post("/tokens", &request)?;
    // Envoy puts a token file into a header as it is, and gRPC refuses a header with a line end.
    let end = if io::stdout().is_terminal() { "\n" } else { "" };
    print(terminal, &format!("{}{end}", token.trim_end()))
}
