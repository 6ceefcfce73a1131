//! `windlass generate tls-certificate`

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::ServerName;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::super::{CliError, ErrorKind, Outcome, Terminal};
use crate::clock;

const LIFETIME: Duration = Duration::from_hours(24 * 3650);
/// How much earlier than now a certificate begins, for clocks that are behind.
const BACKDATE: Duration = Duration::from_hours(1);

/// Make a self-signed certificate for the public admin server or a client of it
///
/// A server's goes into `admin.public.tls`, a client's (without its key) as a
/// `.pem` file into `admin.public.clientCertsDir` of the control plane. It is
/// valid for ten years. Files that exist are not overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the certificate goes, PEM
    #[arg(long, value_name = "FILE")]
    cert_file: PathBuf,
    /// Where its private key goes, PEM, for its owner only
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Who it is for
    #[arg(long, value_name = "TYPE")]
    r#type: Kind,
    /// Host name or address that clients reach the server by (repeatable)
    #[arg(
        long = "cp-hostname",
        value_name = "HOST",
        required_if_eq("type", "server")
    )]
    cp_hostnames: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The public admin server
    Server,
    /// A client of it
    Client,
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write `{path}`")]
struct Unwritten {
    path: PathBuf,
    source: io::Error,
}

pub(super) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    if args.r#type == Kind::Client && !args.cp_hostnames.is_empty() {
        return Err(CliError::user(
            "--cp-hostname is for the certificate of a server",
        ));
    }
    for host in &args.cp_hostnames {
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(CliError::user(
                "--cp-hostname must be a host name or an IP address, without scheme and port",
            ));
        }
    }
    for path in [&args.cert_file, &args.key_file] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
    }
    let (certificate, key) =
        make(args).map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    write_new(&args.key_file, key.as_bytes(), 0o600)?;
    if let Err(error) = write_new(&args.cert_file, certificate.as_bytes(), 0o644) {
        // A key without its certificate is of no use, and in the way of the next try.
        let _ = fs::remove_file(&args.key_file);
        return Err(error);
    }
    // Closed or not, the files are there.
    let _ = writeln!(
        terminal.err,
        "wrote {} and {}",
        args.cert_file.display(),
        args.key_file.display()
    );
    Ok(Outcome::Done)
}

fn make(args: &Args) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    let now = clock::now();
    let mut params = CertificateParams::new(args.cp_hostnames.as_slice())?;
    let name = args.cp_hostnames.first();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        // A common name has at most 64 characters.
        name.filter(|name| name.len() <= 64)
            .map_or("windlass", String::as_str),
    );
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match args.r#type {
        Kind::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Kind::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.not_before = (now - BACKDATE).to_date_time();
    params.not_after = (now + LIFETIME).to_date_time();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Zeroizing::new(key.serialize_pem())))
}

fn exists(path: &Path) -> CliError {
    CliError::user(format!("`{}` exists already", path.display()))
        .hint("nothing is overwritten; choose another name or remove the file")
}

/// Writes a file that is not there yet, whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|parent| *parent != Path::new(""));
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            return exists(path);
        }
        let path = path.to_owned();
        CliError::user(Unwritten { path, source })
    })
}
