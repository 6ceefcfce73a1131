//! `windlass get`

use super::{CliError, Outcome, Terminal};

/// Show resources of the control plane.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
