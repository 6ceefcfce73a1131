//! `windlass run`

use super::{CliError, Outcome, Terminal};

/// Reconcile the repository and serve proxies.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
