//! What `dp run` is given on its own machine: token, program, CA, Dataplane.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{CliError, Terminal, diagnostics};
use super::{Problems, Run};
use crate::clock;
use crate::dataplane::answer::{MAX_CA, check_ca};
use crate::dataplane::program::{self, ProgramError};
use crate::dataplane::token::{Inspected, Unfit};
use crate::dataplane::token_file::{ReadError, TokenFile};
use crate::manifest::{self, codes};
use crate::model::{DataplaneId, Diagnostic, Resource, count};

const TOKEN: &str = "--dataplane-token-file";
const BINARY: &str = "--binary-path";
const CA: &str = "--ca-cert-file";
const DATAPLANE: &str = "--dataplane-file";

/// The most bytes that are read of a resource file: enough to see that it is too large.
const MOST_BYTES: u64 = (1 << 20) + 1;

/// What is there, and good as far as can be told here.
pub(super) struct Local {
    pub(super) token_file: TokenFile,
    is_bare: bool,
    pub(super) binary: PathBuf,
    pub(super) ca_pem: Option<String>,
    pub(super) dataplane: Option<Resource>,
}

impl Local {
    /// Looks at everything and changes nothing.
    pub(super) fn look(
        args: &Run,
        problems: &mut Problems,
        terminal: &mut Terminal,
    ) -> Option<Self> {
        let id = args.id();
        let token = token(&args.dataplane_token_file, &id, problems, terminal);
        let binary = binary(&args.binary_path, problems);
        let ca_pem = args.ca_cert_file.as_deref().map(|file| ca(file, problems));
        let dataplane = args
            .dataplane_file
            .as_deref()
            .map(|file| dataplane(file, &id, problems, terminal));
        let (token_file, is_bare) = token?;
        Some(Self {
            token_file,
            is_bare,
            binary: binary?,
            // What is asked for and is not there is a problem that was said.
            ca_pem: ca_pem.flatten(),
            dataplane: dataplane.flatten(),
        })
    }

    /// Has the file hold the token and nothing else.
    pub(super) fn tidy_token(&self) -> Result<(), CliError> {
        if self.is_bare {
            return Ok(());
        }
        let path = self.token_file.path().display();
        let content = self.token_file.read().map_err(|error| {
            CliError::user(format!("the token file `{path}` cannot be used: {error}"))
        })?;
        self.token_file.replace(&content.token).map_err(|error| {
            CliError::user(format!(
                "the token file `{path}` ends with a line break, which Envoy would send along, \
                 and it cannot be written anew without: {error}"
            ))
            .hint("write the token without a line break, as `printf %s \"$TOKEN\" > FILE` does")
        })
    }
}

/// How to get a token.
pub(super) fn token_hint(id: &DataplaneId) -> String {
    format!(
        "on the control plane's machine, `windlass generate dataplane-token --mesh {} --name {}` \
         prints a token: write it to the file",
        id.mesh, id.name
    )
}

fn token(
    path: &Path,
    id: &DataplaneId,
    problems: &mut Problems,
    terminal: &mut Terminal,
) -> Option<(TokenFile, bool)> {
    let shown = path.display();
    let mut refuse = |problem: &dyn std::fmt::Display| {
        problems.add(TOKEN, format_args!("`{shown}`: {problem}"));
        problems.hint(token_hint(id));
    };
    // Envoy gets the path and may run elsewhere.
    let file = match std::path::absolute(path) {
        Ok(path) => TokenFile::new(path),
        Err(error) => {
            refuse(&error);
            return None;
        }
    };
    let content = match file.read() {
        Ok(content) => content,
        Err(error @ ReadError::Io(_)) => {
            problems.add(TOKEN, format_args!("`{shown}`: {error}"));
            return None;
        }
        Err(error) => {
            refuse(&error);
            return None;
        }
    };
    let inspected = Inspected::parse(content.token.expose());
    // How open a token of Kubernetes lies is the kubelet's to say.
    let is_ours = inspected.as_ref().map_or(true, Inspected::is_renewed);
    let found: Vec<Unfit> = match inspected {
        Ok(token) => token.problems(id, clock::now()),
        Err(unfit) => vec![unfit],
    };
    for unfit in &found {
        refuse(unfit);
    }
    if content.is_open && is_ours {
        let _ = writeln!(
            terminal.err,
            "warning: others than its owner can get at the token file `{shown}`\n\
             hint: `chmod 600 {shown}`"
        );
    }
    found.is_empty().then_some((file, content.is_bare))
}

fn binary(path: &Path, problems: &mut Problems) -> Option<PathBuf> {
    let variable = std::env::var_os("PATH");
    match program::find(path, variable.as_deref()) {
        Ok(found) => Some(found),
        Err(error) => {
            let is_missing = !matches!(error, ProgramError::NotExecutable(_));
            problems.add(BINARY, error);
            problems.hint(if is_missing {
                "install Envoy 1.40 or newer, or name the program with `--binary-path`"
            } else {
                "`chmod +x` makes a file executable"
            });
            None
        }
    }
}

fn ca(path: &Path, problems: &mut Problems) -> Option<String> {
    let shown = path.display();
    let limit = MAX_CA as u64 + 1;
    let pem = match read(path, limit) {
        Ok(pem) => pem,
        Err(error) => {
            problems.add(CA, format_args!("`{shown}`: {error}"));
            return None;
        }
    };
    if let Err(error) = check_ca(&pem) {
        problems.add(CA, format_args!("`{shown}`: {error}"));
        problems.hint("the CA is the file xds-ca.pem in the control plane's state folder");
        return None;
    }
    let pem = String::from_utf8(pem);
    if pem.is_err() {
        problems.add(CA, format_args!("`{shown}`: the file is not UTF-8"));
    }
    pem.ok()
}

/// Reads a Dataplane and prints what is wrong with it as `validate` does.
fn dataplane(
    path: &Path,
    id: &DataplaneId,
    problems: &mut Problems,
    terminal: &mut Terminal,
) -> Option<Resource> {
    let shown = path.display();
    let bytes = match read(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.add(DATAPLANE, format_args!("`{shown}`: {error}"));
            return None;
        }
    };
    let name: Arc<str> = path.to_string_lossy().into();
    let source = "default".parse().ok()?;
    let manifest = manifest::parse(&[(name, bytes.clone())], source);
    let mut found = manifest.diagnostics();
    // The Mesh is in Git.
    found.retain(|diagnostic| diagnostic.code != codes::UNKNOWN_MESH);
    if !found.is_empty() {
        let read = |_: &str| Some(String::from_utf8_lossy(&bytes).into_owned());
        let text = diagnostics::render(&found, "", terminal.color_err, &read);
        let _ = write!(terminal.err, "{text}");
    }
    let errors = found
        .iter()
        .filter(|found| Diagnostic::is_error(found))
        .count();
    if errors > 0 {
        let errors = count(errors, "error");
        problems.add(
            DATAPLANE,
            format_args!("`{shown}` has {errors}, printed above"),
        );
        return None;
    }
    let mut resources = manifest
        .desired()
        .meshes
        .values()
        .flat_map(|mesh| mesh.resources.values());
    let (Some(resource), None) = (resources.next(), resources.next()) else {
        let problem = format_args!("`{shown}` must hold one Dataplane and nothing else");
        problems.add(DATAPLANE, problem);
        return None;
    };
    let resource = resource.resource.clone();
    let Resource::Dataplane(dataplane) = &resource else {
        let key = resource.key();
        problems.add(
            DATAPLANE,
            format_args!("`{shown}` holds {key}, not a Dataplane"),
        );
        return None;
    };
    if dataplane.id() != *id {
        let actual = dataplane.id();
        let problem = format_args!("`{shown}` is dataplane {actual}, not {id}");
        problems.add(DATAPLANE, problem);
        return None;
    }
    Some(resource)
}

/// Reads at most `limit` bytes of a regular file.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| format!("the file cannot be read: {error}");
    if !fs::metadata(path).map_err(words)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(words)?;
    file.take(limit).read_to_end(&mut bytes).map_err(words)?;
    Ok(bytes)
}
