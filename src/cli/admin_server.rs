//! The way from here to the admin server of a control plane.

use super::client::{Address, Client};
use super::{CliError, admin_tls};
use crate::api::Catalog;

/// The admin server of the control plane: the local one on its own machine, and
/// from elsewhere the public one with the client certificate that the
/// configuration names. `what` begins the sentence that refuses.
pub(super) fn admin_server(address: &Address, what: &str) -> Result<Client, CliError> {
    let control_plane = address.control_plane()?;
    let client = Client::at(&control_plane.address)?;
    if client.is_local() {
        let catalog: Catalog = client.get("/catalog")?;
        let admin = Client::at(&catalog.apis.admin.local_url)?;
        return if admin.is_local() {
            Ok(admin)
        } else {
            Err(elsewhere(&admin, what))
        };
    }
    let Some(files) = &control_plane.admin else {
        return Err(elsewhere(&client, what));
    };
    let tls = admin_tls::client(files)?;
    let catalog: Catalog = client.get("/catalog")?;
    match &catalog.apis.admin.public_url {
        Some(url) => Client::admin(url, tls),
        None => Err(CliError::user(format!(
            "{what} on the own machine of the control plane at {} only",
            client.base()
        ))
        .hint("`admin.public.enabled` in its configuration opens the admin server to others")),
    }
}

/// Elsewhere the catalog's local address would be one of this machine: another control plane's, or nobody's.
fn elsewhere(client: &Client, what: &str) -> CliError {
    CliError::user(format!(
        "{what} elsewhere to client certificates only: {} is not on this machine's loopback",
        client.base()
    ))
    .hint(
        "run this command on the control plane's machine, with an address such as \
         http://127.0.0.1:5681, or name a client certificate with `windlass config control-planes \
         add --admin-client-cert FILE --admin-client-key FILE`",
    )
}
