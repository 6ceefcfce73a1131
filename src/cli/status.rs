//! `windlass status`

use super::{CliError, Outcome, Terminal};

/// Show how the sources and meshes stand.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _terminal: &mut Terminal) -> Result<Outcome, CliError> {
    unimplemented!()
}
