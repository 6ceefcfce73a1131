//! `windlass generate`

use std::io::{self, IsTerminal as _};

use clap::Subcommand;
use serde::Serialize;

use super::admin_tls;
use super::client::{Address, Client};
use super::output::print;
use super::{CliError, Outcome, Terminal};
use crate::api::Catalog;
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
    let token = admin_server(&wanted.address)?.post("/tokens", &request)?;
    // Envoy puts a token file into a header as it is, and gRPC refuses a header with a line end.
    let end = if io::stdout().is_terminal() { "\n" } else { "" };
    print(terminal, &format!("{}{end}", token.trim_end()))
}

/// The admin server of the control plane, by the way that leads to it from here.
fn admin_server(address: &Address) -> Result<Client, CliError> {
    let control_plane = address.control_plane()?;
    let client = Client::at(&control_plane.address)?;
    if client.is_local() {
        let catalog: Catalog = client.get("/catalog")?;
        let admin = Client::at(&catalog.apis.dataplane_token.local_url)?;
        return if admin.is_local() {
            Ok(admin)
        } else {
            Err(elsewhere(&admin))
        };
    }
    let Some(files) = &control_plane.admin else {
        return Err(elsewhere(&client));
    };
    let tls = admin_tls::client(files)?;
    let catalog: Catalog = client.get("/catalog")?;
    match &catalog.apis.dataplane_token.public_url {
        Some(url) => Client::admin(url, tls),
        None => Err(CliError::user(format!(
            "the control plane at {} issues tokens on its own machine only",
            client.base()
        ))
        .hint("`admin.public.enabled` in its configuration opens the admin server to others")),
    }
}

/// Elsewhere the catalog's local address would be one of this machine: another control plane's, or nobody's.
fn elsewhere(client: &Client) -> CliError {
    CliError::user(format!(
        "tokens are issued elsewhere to client certificates only: {} is not on this machine's loopback",
        client.base()
    ))
    .hint(
        "run this command on the control plane's machine, with an address such as \
         http://127.0.0.1:5681, or name a client certificate with `windlass config control-planes \
         add --admin-client-cert FILE --admin-client-key FILE`",
    )
}
