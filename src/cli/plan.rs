//! `windlass plan`

use super::{CliError, Outcome, Terminal};

/// Print what a revision would do, and in which order, without changing anything.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
