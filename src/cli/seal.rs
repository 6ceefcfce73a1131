//! `windlass seal`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::check::{self, Rules, Violation};
use crate::clock;
use crate::manifest;
use crate::model::{MeshName, PrivateKey, ResourceName};
use crate::source::decryption::MAX_KEY;
use crate::source::seal::{self, RecipientError, Recipients};

/// The largest certificate or recipients file, in bytes.
const MAX_FILE: usize = 64 * 1024;
/// How long leaves live by default: a root that ends before one does is refused.
const LEAF_LIFETIME: Duration = Duration::from_hours(24);

/// Encrypt the key of a CA and print it with its certificate as a ProvidedCa
/// document, ready to be committed.
///
/// Only the recipients can open the key. One of them has to be the identity in
/// `source.decryption.identityFile` of the control plane.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Mesh that the CA is for
    #[arg(long, value_name = "MESH")]
    mesh: MeshName,
    /// Name of the CA inside the mesh
    #[arg(long, value_name = "NAME")]
    name: ResourceName,
    /// Certificate of the CA, PEM
    #[arg(long, value_name = "FILE")]
    cert_file: PathBuf,
    /// Private key of the CA, PEM
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Who can open the key: `age1…`, `ssh-ed25519 …` or `ssh-rsa …` (repeatable)
    #[arg(
        long = "recipient",
        value_name = "RECIPIENT",
        required_unless_present = "recipients_file"
    )]
    recipients: Vec<String>,
    /// File with recipients, one a line (repeatable)
    #[arg(long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let recipients = recipients(args)?;
    let cert = String::clone(&*read(&args.cert_file, MAX_FILE)?);
    let key = PrivateKey::new(read(&args.key_file, MAX_KEY)?);
    let violations = violations(&cert, &key);
    if !violations.is_empty() {
        return Err(refused(&violations));
    }

    let armor = seal::to_recipients(&key, &recipients)
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let document = manifest::provided_ca_yaml(&args.mesh, &args.name, &cert, &armor);
    terminal
        .out
        .write_all(document.as_bytes())
        .and_then(|()| terminal.out.flush())
        .map_err(|error| CliError::new(ErrorKind::Unavailable, error))?;
    Ok(Outcome::Done)
}

fn recipients(args: &Args) -> Result<Recipients, CliError> {
    let invalid = |origin: &str| {
        let origin = origin.to_owned();
        move |error: RecipientError| CliError::user(format!("{origin}: {error}"))
    };
    let mut all = None;
    if !args.recipients.is_empty() {
        let given = args.recipients.iter().map(String::as_str);
        all = Some(Recipients::parse(given).map_err(invalid("--recipient"))?);
    }
    for path in &args.recipients_file {
        let origin = format!("--recipients-file `{}`", path.display());
        let text = read(path, MAX_FILE)?;
        let more = Recipients::parse_file(&text).map_err(invalid(&origin))?;
        all = Some(match all {
            None => more,
            Some(all) => all.and(more).map_err(invalid(&origin))?,
        });
    }
    all.ok_or_else(|| CliError::user(RecipientError::None))
}

/// Everything that keeps the pair from being a mesh's authority.
fn violations(cert: &str, key: &PrivateKey) -> Vec<Violation> {
    let rules = Rules {
        now: clock::now(),
        leaf_lifetime: LEAF_LIFETIME,
    };
    let mut violations = check::certificate(cert, &rules);
    if let Some(violation) = check::key_pair(cert, key)
        && !violations.contains(&violation)
    {
        violations.push(violation);
    }
    violations
}

fn refused(violations: &[Violation]) -> CliError {
    let error = CliError::user("Could not seal the CA (Resource is not valid)");
    violations.iter().fold(error, |error, violation| {
        let error = error.cause(format!("{}: {}", violation.field, violation.message));
        match &violation.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// Reads a text file of at most `limit` bytes, which may be a secret.
pub(super) fn read(path: &Path, limit: usize) -> Result<Zeroizing<String>, CliError> {
    let failed = |error: io::Error| CliError::user(Unreadable(path.to_owned(), error));
    let file = File::open(path).map_err(failed)?;
    // Room for all of it from the start: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(limit + 1));
    file.take(limit as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() > limit {
        let problem = io::Error::other(format!("it is larger than {limit} bytes"));
        return Err(failed(problem));
    }
    Ok(text)
}

#[derive(Debug, thiserror::Error)]
#[error("failed to read `{0}`")]
struct Unreadable(PathBuf, #[source] io::Error);
