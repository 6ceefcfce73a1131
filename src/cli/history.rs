//! `windlass history`

use super::{CliError, Outcome, Terminal};

/// Show what was done to the meshes, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
