//! `windlass generate`

use super::{CliError, Outcome, Terminal};

/// Generate tokens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
