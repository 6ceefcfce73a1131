//! `windlass config`: the control planes that this user works with.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::client::Client;
use super::output::{print, printable, table, to_yaml};
use super::{CliError, Outcome, Terminal, admin_tls};

mod file;

pub(crate) use file::{AdminFiles, CliConfig, ControlPlane};

/// Keep which control planes there are, and which one commands are for.
///
/// It is kept in `$XDG_CONFIG_HOME/windlass/config.yaml`, else in
/// `~/.config/windlass/config.yaml`. Keys stay in their files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Change and list the control planes
    #[command(subcommand)]
    ControlPlanes(ControlPlanes),
    /// Print what is kept
    View,
}

#[derive(Debug, Subcommand)]
enum ControlPlanes {
    Add(Add),
    /// List the control planes; the current one is marked
    List,
    /// Make a control plane the current one
    Switch(Named),
    /// Forget a control plane
    Remove(Named),
}

/// Add a control plane and make it the current one
#[derive(Debug, clap::Args)]
struct Add {
    /// Its name here
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// The address of its HTTP API
    #[arg(long, value_name = "URL")]
    address: String,
    /// Certificate that its public admin server knows this client by, PEM
    #[arg(long, value_name = "FILE", requires = "admin_client_key")]
    admin_client_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "admin_client_cert")]
    admin_client_key: Option<PathBuf>,
    /// Certificate of its public admin server, or of the authority that it
    /// comes from, PEM; the system's authorities where not given
    #[arg(long, value_name = "FILE", requires = "admin_client_cert")]
    admin_ca_cert: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Its name here
    #[arg(long, value_name = "NAME")]
    name: String,
}

fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = !text.trim().is_empty() && printable(text) == text;
    if is_plain && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("must be a name of at most 253 bytes")
    }
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let mut config = CliConfig::load()?;
    match &args.command {
        Command::View => return print(terminal, &to_yaml(&config)?),
        Command::ControlPlanes(ControlPlanes::List) => {
            let current = config.current_control_plane.as_deref();
            let row = |known: &ControlPlane| {
                let mark = if current == Some(&*known.name) {
                    "*"
                } else {
                    ""
                };
                let shown = |text: &str| printable(text).into_owned();
                [mark.to_owned(), shown(&known.name), shown(&known.address)]
            };
            let rows: Vec<_> = config.control_planes.iter().map(row).collect();
            return print(terminal, &table(["CURRENT", "NAME", "ADDRESS"], &rows));
        }
        Command::ControlPlanes(ControlPlanes::Add(args)) => add(&mut config, args)?,
        Command::ControlPlanes(ControlPlanes::Switch(named)) => {
            let at = find(&config, &named.name)?;
            config.current_control_plane = Some(config.control_planes[at].name.clone());
        }
        Command::ControlPlanes(ControlPlanes::Remove(named)) => {
            let at = find(&config, &named.name)?;
            config.control_planes.remove(at);
            config.current_control_plane.take_if(|it| *it == named.name);
        }
    }
    config.save()?;
    Ok(Outcome::Done)
}

fn add(config: &mut CliConfig, args: &Add) -> Result<(), CliError> {
    if config.control_planes.iter().any(|it| it.name == args.name) {
        return Err(
            CliError::user(format!("there is a control plane `{}` already", args.name))
                .hint("`windlass config control-planes remove --name NAME` forgets one"),
        );
    }
    let client = Client::at(&args.address)?;
    let mut admin = None;
    if let (Some(cert), Some(key)) = (&args.admin_client_cert, &args.admin_client_key) {
        let files = AdminFiles {
            client_cert: absolute(cert)?,
            client_key: absolute(key)?,
            ca_cert: args.admin_ca_cert.as_deref().map(absolute).transpose()?,
        };
        // What does not work is said now, and not with the first token.
        admin_tls::client(&files)?;
        admin = Some(files);
    }
    config.control_planes.push(ControlPlane {
        name: args.name.clone(),
        address: client.base().to_owned(),
        admin,
    });
    config.current_control_plane = Some(args.name.clone());
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(CliError::user)
}

fn find(config: &CliConfig, name: &str) -> Result<usize, CliError> {
    let mut all = config.control_planes.iter();
    all.position(|it| it.name == name).ok_or_else(|| {
        CliError::user(format!("there is no control plane `{name}`"))
            .hint("`windlass config control-planes list` shows which there are")
    })
}
