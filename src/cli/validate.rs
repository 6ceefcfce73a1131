//! `windlass validate`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::tree::Entry;
use super::{CliError, ErrorKind, Outcome, Terminal, diagnostics, output};
use crate::check::{self, Rules};
use crate::manifest::{self, Manifest, codes};
use crate::model::{DesiredMesh, Diagnostic, count};
use crate::source::decryption::Identities;

mod tree;

/// The lifetime of leaves where no configuration says otherwise.
const LEAF_LIFETIME: Duration = crate::ca::DEFAULT_LEAF_LIFETIME;

/// Check the resources of a folder or file
///
/// Reads what a commit of the folder would hold and reports every error in one
/// pass. Of one file alone, a Mesh that is not in it is not missed. The exit
/// status is 0 without errors and 1 with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder of resources, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// How to print what is wrong
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// An age identity file: sealed keys are opened with it, and have to match
    /// their certificates
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people, on standard error
    Text,
    /// `{"diagnostics": […]}`, on standard output
    Json,
}

#[derive(Serialize)]
struct Report<'a> {
    diagnostics: &'a [Diagnostic],
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let identities = match &args.identity {
        Some(file) => Some(Identities::load(file).map_err(CliError::user)?),
        None => None,
    };
    let files = tree::read(&args.path)?;
    let manifest = parse(&files)?;
    let mut diagnostics = judge(&manifest, identities.as_ref());
    if !args.path.is_dir() {
        // The Mesh may be in another file.
        diagnostics.retain(|diagnostic| diagnostic.code != codes::UNKNOWN_MESH);
    }
    match args.output {
        Output::Json => {
            let report = Report {
                diagnostics: &diagnostics,
            };
            output::print(terminal, &output::to_json(&report)?)?;
        }
        Output::Text => report(args, &files, &manifest, &diagnostics, terminal),
    }
    let failed = diagnostics.iter().any(Diagnostic::is_error);
    Ok(if failed {
        Outcome::Status(1)
    } else {
        Outcome::Done
    })
}

fn parse(files: &BTreeMap<Arc<str>, Entry>) -> Result<Manifest, CliError> {
    let source = "default"
        .parse()
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let mut manifest = Manifest::new(source);
    for (path, entry) in files {
        if manifest.is_full() {
            break;
        }
        match entry {
            Entry::File(bytes) => manifest.update(path, Some(manifest::parse_file(path, bytes))),
            Entry::Refused(diagnostic) => manifest.refuse(path, diagnostic.clone()),
        }
    }
    Ok(manifest)
}

fn judge(manifest: &Manifest, identities: Option<&Identities>) -> Vec<Diagnostic> {
    let rules = Rules {
        now: crate::clock::now(),
        leaf_lifetime: LEAF_LIFETIME,
    };
    let mut diagnostics = manifest.diagnostics();
    if manifest.is_full() {
        // What was left out may be what is missed.
        return diagnostics;
    }
    for (name, mesh) in &manifest.desired().meshes {
        diagnostics.extend(check::placed(manifest, name, &rules));
        if let Some(identities) = identities {
            let keys = keys(mesh, identities);
            diagnostics.extend(keys.map(|diagnostic| manifest.place(diagnostic)));
        }
    }
    diagnostics.sort_by(|a, b| a.order().cmp(&b.order()));
    // A certificate that cannot be read is no part of a key pair either.
    diagnostics.dedup();
    diagnostics
}

/// What is wrong with the sealed keys of a mesh.
fn keys(mesh: &DesiredMesh, identities: &Identities) -> impl Iterator<Item = Diagnostic> {
    let sealed = mesh.provided_cas().filter(|(ca, _)| !ca.key.is_empty());
    sealed.filter_map(|(ca, desired)| {
        let resource = desired.resource.key();
        match identities.open(&ca.key) {
            Ok(key) => Some(check::key_pair(&ca.cert, &key)?.on(&resource)),
            Err(error) => Some(error.diagnostic(&resource)),
        }
    })
}

fn report(
    args: &Args,
    files: &BTreeMap<Arc<str>, Entry>,
    manifest: &Manifest,
    diagnostics: &[Diagnostic],
    terminal: &mut Terminal,
) {
    let read = |file: &str| match files.get(file)? {
        Entry::File(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Entry::Refused(_) => None,
    };
    let prefix = prefix(&args.path);
    let text = diagnostics::render(diagnostics, &prefix, terminal.color_err, &read);
    let _ = write!(terminal.err, "{text}");
    let resources: usize = manifest
        .desired()
        .meshes
        .values()
        .map(|mesh| mesh.resources.len())
        .sum();
    let summary = diagnostics::summary(diagnostics).unwrap_or_else(|| "no errors".to_owned());
    let files = count(files.len(), "file");
    let resources = count(resources, "resource");
    let _ = writeln!(terminal.err, "{summary} in {files} with {resources}");
}

/// What stands before the paths of files, so that an editor can follow them.
fn prefix(path: &Path) -> String {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    let folder = folder.to_string_lossy();
    match &*folder {
        "" | "." => String::new(),
        folder if folder.ends_with('/') => folder.to_owned(),
        folder => format!("{folder}/"),
    }
}
