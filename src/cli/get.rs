//! `windlass get`

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;

use super::client::{Address, Client};
use super::output::{Format, print, table};
use super::{CliError, Outcome, Terminal};
use crate::api::Items;
use crate::model::{Dataplane, MeshName, Resource, ResourceName, Role, Tags};

/// Show resources of the control plane.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// How to print them; YAML and JSON hold the Universal form below `items`.
    #[arg(long, short, value_enum, default_value_t, global = true)]
    output: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show all meshes.
    Meshes,
    /// Show one mesh.
    Mesh {
        /// Its name.
        name: MeshName,
    },
    /// Show the traffic permissions of all meshes, or of one.
    TrafficPermissions(List),
    /// Show one traffic permission.
    TrafficPermission(One),
    /// Show the dataplanes of all meshes, or of one.
    Dataplanes(List),
    /// Show one dataplane.
    Dataplane(One),
}

#[derive(Debug, clap::Args)]
struct List {
    /// The mesh; all where not given.
    #[arg(long, short, value_name = "MESH")]
    mesh: Option<MeshName>,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its name.
    name: ResourceName,
    /// The mesh.
    #[arg(long, short, value_name = "MESH", default_value = "default")]
    mesh: MeshName,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let client = Client::new(&args.address)?;
    let items = args.what.fetch(&client)?;
    let text = args
        .output
        .print(&items, || args.what.table(&items.items))?;
    print(terminal, &text)
}

impl What {
    fn fetch(&self, client: &Client) -> Result<Items<Resource>, CliError> {
        let list = |collection: &str, mesh: &Option<MeshName>| match mesh {
            Some(mesh) => client.get(&format!("/meshes/{mesh}/{collection}")),
            None => client.get(&format!("/{collection}")),
        };
        let one = |path: &str| {
            let resource = client.get(path)?;
            Ok(Items {
                items: vec![resource],
            })
        };
        match self {
            Self::Meshes => client.get("/meshes"),
            Self::Mesh { name } => one(&format!("/meshes/{name}")),
            Self::TrafficPermissions(List { mesh }) => list("traffic-permissions", mesh),
            Self::TrafficPermission(One { name, mesh }) => {
                one(&format!("/meshes/{mesh}/traffic-permissions/{name}"))
            }
            Self::Dataplanes(List { mesh }) => list("dataplanes", mesh),
            Self::Dataplane(One { name, mesh }) => {
                one(&format!("/meshes/{mesh}/dataplanes/{name}"))
            }
        }
    }

    fn table(&self, items: &[Resource]) -> String {
        match self {
            Self::Meshes | Self::Mesh { .. } => meshes(items),
            Self::TrafficPermissions(_) | Self::TrafficPermission(_) => permissions(items),
            Self::Dataplanes(_) | Self::Dataplane(_) => dataplanes(items),
        }
    }
}

fn meshes(items: &[Resource]) -> String {
    let rows: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Resource::Mesh(mesh) => Some([
                mesh.name.to_string(),
                if mesh.mtls.enabled { "on" } else { "off" }.to_owned(),
                mesh.mtls.ca.kind().to_owned(),
            ]),
            _ => None,
        })
        .collect();
    table(["NAME", "mTLS", "CA"], &rows)
}

fn permissions(items: &[Resource]) -> String {
    let rows: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Resource::TrafficPermission(permission) => {
                Some([permission.mesh.to_string(), permission.name.to_string()])
            }
            _ => None,
        })
        .collect();
    table(["MESH", "NAME"], &rows)
}

fn dataplanes(items: &[Resource]) -> String {
    let rows: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Resource::Dataplane(dataplane) => Some([
                dataplane.mesh.to_string(),
                dataplane.name.to_string(),
                tags(dataplane),
            ]),
            _ => None,
        })
        .collect();
    table(["MESH", "NAME", "TAGS"], &rows)
}

/// All tags of a dataplane: `service=a,b version=v1`.
fn tags(dataplane: &Dataplane) -> String {
    let all: Vec<&Tags> = match &dataplane.networking.role {
        Role::Inbound(inbounds) => inbounds.iter().map(|inbound| &inbound.tags).collect(),
        Role::Gateway(gateway) => vec![&gateway.tags],
    };
    let mut merged = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (name, value) in all.into_iter().flatten() {
        merged.entry(name).or_default().insert(value);
    }
    let tags: Vec<String> = merged
        .into_iter()
        .map(|(name, values)| {
            let values: Vec<&str> = values.into_iter().collect();
            format!("{name}={}", values.join(","))
        })
        .collect();
    super::output::printable(&tags.join(" ")).into_owned()
}
