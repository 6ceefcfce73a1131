//! The command line: the only part of Windlass that touches the terminal.
//!
//! One file a command. Data goes to standard output, everything else to
//! standard error. The exit status is 0, or 1 for any error; `plan
//! --detailed-exitcode` adds its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use self::error::{CliError, ErrorKind};
pub use self::terminal::Terminal;

mod admin_server;
mod admin_tls;
mod client;
mod completion;
mod config;
mod diagnostics;
mod dp;
mod error;
mod generate;
mod get;
mod history;
mod inspect;
mod manage;
mod output;
mod plan;
mod rekey;
mod run;
mod schema;
mod seal;
mod status;
mod terminal;
mod transition;
mod validate;

/// Declarative GitOps reconciler and identity control plane for service meshes
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Plan(plan::Args),
    Validate(validate::Args),
    Seal(seal::Args),
    Rekey(rekey::Args),
    Generate(generate::Args),
    Manage(manage::Args),
    Get(get::Args),
    Inspect(inspect::Args),
    Status(status::Args),
    History(history::Args),
    Transition(transition::Args),
    Dp(dp::Args),
    Config(config::Args),
    Schema(schema::Args),
    Completion(completion::Args),
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Status 0.
    Done,
    /// Another status that is not an error of the program, such as `plan
    /// --detailed-exitcode` with changes, or `validate` with diagnostics
    /// that are already printed.
    Status(u8),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let mut terminal = Terminal::from_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; anything else is an invalid call. Status 2 would be
            // `plan --detailed-exitcode` saying that there are changes.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(1)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.run(&mut terminal) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Status(status)) => ExitCode::from(status),
        Err(error) => {
            terminal.report(&error);
            ExitCode::from(1)
        }
    }
}

impl Cli {
    fn run(&self, terminal: &mut Terminal) -> Result<Outcome, CliError> {
        match &self.command {
            Command::Run(args) => run::run(args, terminal),
            Command::Plan(args) => plan::run(args, terminal),
            Command::Validate(args) => validate::run(args, terminal),
            Command::Seal(args) => seal::run(args, terminal),
            Command::Rekey(args) => rekey::run(args, terminal),
            Command::Manage(args) => manage::run(args, terminal),
            Command::Generate(args) => generate::run(args, terminal),
            Command::Get(args) => get::run(args, terminal),
            Command::Inspect(args) => inspect::run(args, terminal),
            Command::Status(args) => status::run(args, terminal),
            Command::History(args) => history::run(args, terminal),
            Command::Transition(args) => transition::run(args, terminal),
            Command::Config(args) => config::run(args, terminal),
            Command::Dp(args) => dp::run(args, terminal),
            Command::Schema(args) => schema::run(args, terminal),
            Command::Completion(args) => completion::run(args, terminal),
        }
    }
}
