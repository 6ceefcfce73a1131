//! `windlass completion`

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::print;
use super::{Cli, CliError, Outcome, Terminal};

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "windlass", &mut script);
    print(terminal, &String::from_utf8_lossy(&script))
}
