//! `windlass seal`

use super::{CliError, Outcome, Terminal};

/// Encrypt a CA key and print the ProvidedCa document.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
