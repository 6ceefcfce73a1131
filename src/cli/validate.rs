//! `windlass validate`

use super::{CliError, Outcome, Terminal};

/// Check the resources of a folder or file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
