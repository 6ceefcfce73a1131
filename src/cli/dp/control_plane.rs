//! What `dp run` asks of the control plane over HTTP.

use serde::Serialize;

use super::super::client::{Client, Put};
use super::super::{CliError, ErrorKind, Terminal};
use super::local::Local;
use super::{Problems, Run};
use crate::api::Catalog;
use crate::dataplane::answer::{Answer, is_local};
use crate::model::{DataplaneId, Resource};

const CP_ADDRESS: &str = "--cp-address";

/// A control plane that answers.
pub(super) struct Site {
    client: Client,
    catalog: Catalog,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BootstrapForm<'a> {
    name: &'a str,
    mesh: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_port: Option<u16>,
    dataplane_token_path: &'a str,
}

/// What to do about a dataplane that is not known.
pub(super) fn unknown_hint() -> &'static str {
    "commit the Dataplane to the Git repository, or register it with `--dataplane-file`"
}

fn path_of(id: &DataplaneId) -> String {
    format!("/meshes/{}/dataplanes/{}", id.mesh, id.name)
}

impl Site {
    /// Looks whether the control plane answers and knows the dataplane, where
    /// it is not about to be registered.
    pub(super) fn look(args: &Run, problems: &mut Problems) -> Option<Self> {
        let mut refuse = |error: &CliError| {
            problems.add(CP_ADDRESS, in_one_line(error));
            for hint in &error.hints {
                // The client's own hints name another flag.
                problems.hint(hint.replace("--address", CP_ADDRESS));
            }
        };
        let client = match Client::at(&args.cp_address) {
            Ok(client) => client,
            Err(error) => {
                refuse(&error);
                return None;
            }
        };
        let catalog = match client.get("/catalog") {
            Ok(catalog) => catalog,
            Err(error) => {
                refuse(&error);
                if error.hints.is_empty() {
                    // Somebody answers.
                    problems.hint(
                        "is that the HTTP API of a control plane? Its port is 5681 unless \
                         configured otherwise",
                    );
                }
                return None;
            }
        };
        let site = Self { client, catalog };
        let mesh = format!("/meshes/{}", args.mesh);
        let mut missing = None;
        match site.client.get_if_any::<Resource>(&mesh) {
            Err(error) => refuse(&error),
            Ok(None) => missing = Some(("--mesh", format!("there is no mesh {}", args.mesh))),
            Ok(Some(_)) if args.dataplane_file.is_none() => {
                match site.client.get_if_any::<Resource>(&path_of(&args.id())) {
                    Err(error) => refuse(&error),
                    Ok(None) => {
                        let problem = format!("there is no dataplane {}", args.id());
                        missing = Some(("--name", problem));
                    }
                    Ok(Some(_)) => {}
                }
            }
            Ok(Some(_)) => {}
        }
        if let Some((flag, problem)) = missing {
            problems.add(flag, format_args!("{problem} at {}", site.client.base()));
            problems.hint(match flag {
                "--mesh" => "`windlass get meshes` shows which there are",
                _ => unknown_hint(),
            });
        }
        Some(site)
    }

    /// Whether it is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.client.is_local()
    }

    /// Registers the Dataplane. One that Git owns has to be the same.
    pub(super) fn register(
        &self,
        dataplane: &Resource,
        terminal: &mut Terminal,
    ) -> Result<(), CliError> {
        let Resource::Dataplane(wanted) = dataplane else {
            return Ok(());
        };
        let path = path_of(&wanted.id());
        let refusal = match self.client.put(&path, &dataplane.to_universal()) {
            Ok(Put::Done) => return Ok(()),
            Ok(Put::Conflict(refusal)) => refusal,
            // From another machine nothing can be written, and nothing has to be
            // where it is there already.
            Err(error) if !self.is_local() => {
                let stored = self.client.get_if_any::<Resource>(&path)?;
                let is_there = matches!(stored, Some(Resource::Dataplane(stored))
                    if stored.networking == wanted.networking);
                return if is_there { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let stored = self.client.get_if_any::<Resource>(&path)?;
        let Some(Resource::Dataplane(stored)) = stored else {
            return Err(refusal);
        };
        if stored.networking != wanted.networking {
            return Err(refusal.hint(
                "what Git holds differs from `--dataplane-file`: change it there, or leave the \
                 flag out",
            ));
        }
        let _ = writeln!(
            terminal.err,
            "note: Git owns dataplane {}; what `--dataplane-file` holds is the same",
            wanted.id()
        );
        Ok(())
    }

    /// Asks where the gRPC server is and what proves it.
    pub(super) fn bootstrap(&self, args: &Run, local: &Local) -> Result<Answer, CliError> {
        let url = self.reachable(&self.catalog.apis.bootstrap.url)?;
        let form = BootstrapForm {
            name: args.name.as_str(),
            mesh: args.mesh.as_str(),
            admin_port: args.admin_port,
            dataplane_token_path: super::text(local.token_file.path())?,
        };
        let text = url.post("/bootstrap", &form)?;
        let mut answer = Answer::parse(&text).map_err(|error| {
            CliError::new(ErrorKind::Unavailable, error)
                .hint("is the control plane of the same version?")
        })?;
        // It says where it listens for itself; it is where it answered.
        if answer.xds.is_local() && !self.is_local() {
            answer.xds = answer.xds.on(self.client.host());
        }
        Ok(answer)
    }

    /// The server at a URL of the catalog, which may name the control plane as
    /// only its own machine can call it.
    fn reachable(&self, url: &str) -> Result<Client, CliError> {
        let named = Client::at(url)?;
        if is_local(named.host()) && !self.is_local() {
            return Client::at(self.client.base());
        }
        Ok(named)
    }
}

/// An error and its sources, without hints.
fn in_one_line(error: &CliError) -> String {
    let mut line = crate::telemetry::chain(&*error.error).to_string();
    for cause in &error.causes {
        line.push_str("; ");
        line.push_str(cause);
    }
    line
}
