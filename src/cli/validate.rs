//! `windlass validate`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::tree::Entry;
use super::{CliError, ErrorKind, Outcome, Terminal, diagnostics};
use crate::check::{self, Rules};
use crate::manifest::{self, Manifest, codes};
use crate::model::{Diagnostic, MeshName};

mod tree;

/// The lifetime of leaves where no configuration says otherwise.
const LEAF_LIFETIME: Duration = crate::ca::DEFAULT_LEAF_LIFETIME;

/// Check the resources of a folder or file
///
/// Reads what a commit of the folder would hold and reports every error in one
/// pass. The exit status is 0 without errors and 1 with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder of resources, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// How to print what is wrong
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
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
    let files = tree::read(&args.path)?;
    let manifest = parse(&files)?;
    let diagnostics = judge(&manifest);
    match args.output {
        Output::Json => {
            let report = Report {
                diagnostics: &diagnostics,
            };
            let json = serde_json::to_string_pretty(&report)
                .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
            let _ = writeln!(terminal.out, "{json}");
        }
        Output::Text => print(args, &files, &manifest, &diagnostics, terminal),
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
        match entry {
            Entry::File(bytes) => manifest.update(path, Some(manifest::parse_file(path, bytes))),
            Entry::Refused(diagnostic) => manifest.refuse(path, diagnostic.clone()),
        }
    }
    Ok(manifest)
}

fn judge(manifest: &Manifest) -> Vec<Diagnostic> {
    let rules = Rules {
        now: crate::clock::now(),
        leaf_lifetime: LEAF_LIFETIME,
    };
    let mut diagnostics = manifest.diagnostics();
    let meshes: Vec<&MeshName> = manifest.desired().meshes.keys().collect();
    for mesh in meshes {
        diagnostics.extend(check::placed(manifest, mesh, &rules));
    }
    diagnostics.sort_by(|a, b| a.order().cmp(&b.order()));
    diagnostics
}

fn print(
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
    let summary = match diagnostics::summary(diagnostics) {
        Some(summary) => summary,
        None => "no errors".to_owned(),
    };
    let _ = writeln!(
        terminal.err,
        "{summary} in {} files with {resources} resources",
        files.len()
    );
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

/// A file of the tree that is not read.
fn refused(code: &str, message: impl Into<String>) -> Entry {
    let mut diagnostic = Diagnostic::error(code, message);
    diagnostic.line = 1;
    diagnostic.column = 1;
    Entry::Refused(diagnostic)
}

impl Entry {
    fn not_a_file(what: &str) -> Self {
        refused(
            codes::NOT_A_FILE,
            format!("the file is {what}, and only regular files are read"),
        )
    }
}
