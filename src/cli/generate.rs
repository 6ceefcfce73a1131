//! `windlass generate`

use std::io::{self, IsTerminal as _};

use clap::Subcommand;
use serde::Serialize;

use super::admin_server::admin_server;
use super::client::Address;
use super::output::print;
use super::{CliError, Outcome, Terminal};
use crate::model::HumanDuration;

mod certificate;

/// Generate tokens and certificates.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    DataplaneToken(DataplaneToken),
    TlsCertificate(certificate::Args),
}

/// Print a token that a dataplane proves its identity with
///
/// From another machine than the control plane's, the public admin server
/// issues it to the client certificate of `windlass config control-planes add`.
/// Write the token to a file that only the dataplane can read:
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
    #[command(flatten)]
    address: Address,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest<'a> {
    name: &'a str,
    mesh: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_for: Option<HumanDuration>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let wanted = match &args.what {
        What::DataplaneToken(wanted) => wanted,
        What::TlsCertificate(args) => return certificate::run(args, terminal),
    };
    let request = TokenRequest {
        name: &wanted.name,
        mesh: &wanted.mesh,
        valid_for: wanted.valid_for,
    };
    let admin = admin_server(&wanted.address, "tokens are issued")?;
    let token = admin.post("/tokens", &request)?;
    // Envoy puts a token file into a header as it is, and gRPC refuses a header with a line end.
    let end = if io::stdout().is_terminal() { "\n" } else { "" };
    print(terminal, &format!("{}{end}", token.trim_end()))
}
