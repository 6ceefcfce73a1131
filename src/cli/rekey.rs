//! `windlass rekey`

use std::path::PathBuf;

use super::{CliError, ErrorKind, Outcome, Terminal, output};
use crate::app;
use crate::config::{self, Overrides};
use crate::store::rekey::{RekeyError, rekey};

/// Seal keys anew, to other identities than before
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Store(StoreArgs),
}

/// Seal every key in the store to the first identity of `store.encryption.identityFile`
///
/// The control plane goes on meanwhile. Add the new identity to the file of every
/// replica, then put it first in each of them, then call this, then remove the
/// old one. Replicas see by themselves that their file has changed; while one of
/// them does not seal to the new identity, nothing is done and it is named.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// Configuration file of the control plane
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder of the control plane [default: the XDG state folder]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let What::Store(args) = &args.what;
    let overrides = Overrides {
        state_dir: args.state_dir.clone(),
        ..Overrides::default()
    };
    let environment = config::process_environment();
    let config = config::load(args.config.as_deref(), &environment, &overrides)
        .map_err(|error| CliError::new(ErrorKind::Config, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let done = runtime.block_on(async {
        let opened = app::open_to_rekey(&config).await;
        let (store, vault) = opened.map_err(|error| {
            let hint = error.hint();
            hint.into_iter()
                .fold(CliError::new(ErrorKind::Unavailable, error), CliError::hint)
        })?;
        let done = rekey(&*store, &vault).await;
        store.close().await;
        done.map_err(|error| {
            let hint = match &error {
                RekeyError::NotEverywhere { .. } => Some(
                    "put the new identity first in their `store.encryption.identityFile`, \
                     with the old one below it, and try again after a few seconds",
                ),
                RekeyError::Vault { .. } => Some(
                    "add the identity that it was sealed to below the new one in \
                     `store.encryption.identityFile`",
                ),
                _ => None,
            };
            let error = CliError::new(ErrorKind::Unavailable, error);
            hint.into_iter().fold(error, CliError::hint)
        })
    })?;
    let text = format!(
        "{} keys and secrets sealed anew, {} were already\n",
        done.resealed, done.kept
    );
    output::print(terminal, &text)
}
