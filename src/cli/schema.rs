//! `windlass schema`

use clap::Subcommand;

use super::output::print;
use super::{CliError, Outcome, Terminal};
use crate::manifest;
use crate::store::kubernetes::crds;

/// Print schemas of the resources.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The CustomResourceDefinitions, as `kubectl apply -f -` takes them.
    Crds,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    match args.what {
        What::Crds => print(terminal, &manifest::documents_yaml(&crds())),
    }
}
