//! `windlass manage`

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use zeroize::Zeroizing;

use super::admin_server::admin_server;
use super::client::{Address, Client};
use super::output::{print, printable, table};
use super::seal::read;
use super::{CliError, ErrorKind, Outcome, Terminal};
use crate::api::{Items, SigningCertificate};
use crate::ca::CertificateInfo;
use crate::model::{AuthorityId, MeshName, PrivateKey};
use crate::source::decryption::MAX_KEY;

/// The largest certificate, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// Manage what is not a resource.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    address: Address,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Manage the certificate authorities of meshes
    #[command(subcommand)]
    Ca(Ca),
}

#[derive(Debug, Subcommand)]
enum Ca {
    /// Manage provided CAs
    #[command(subcommand)]
    Provided(Provided),
}

#[derive(Debug, Subcommand)]
enum Provided {
    /// Manage the certificates of a mesh's provided CA
    #[command(subcommand)]
    Certificates(Certificates),
}

#[derive(Debug, Subcommand)]
enum Certificates {
    Add(Add),
    List(List),
    Delete(Delete),
}

/// Add a root certificate and its key, and print the certificate's id
///
/// A Mesh with `mtls.ca.provided` then signs with it. The key is stored
/// encrypted, and nothing prints it again.
#[derive(Debug, clap::Args)]
struct Add {
    /// Mesh that the certificate is for
    #[arg(long, short, value_name = "MESH")]
    mesh: MeshName,
    /// Certificate, PEM
    #[arg(long, value_name = "FILE")]
    cert_file: PathBuf,
    /// Private key, PEM
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

/// List the certificates
#[derive(Debug, clap::Args)]
struct List {
    /// Mesh that the certificates are for
    #[arg(long, short, value_name = "MESH")]
    mesh: MeshName,
}

/// Delete a certificate and its key
///
/// One that signs, or is to, is refused.
#[derive(Debug, clap::Args)]
struct Delete {
    /// Mesh that the certificate is for
    #[arg(long, short, value_name = "MESH")]
    mesh: MeshName,
    /// Id of the certificate, as `list` prints it
    #[arg(long, value_name = "ID")]
    id: AuthorityId,
}

#[derive(Serialize)]
struct Pair<'a> {
    cert: &'a str,
    key: &'a str,
}

pub(crate) fn run(args: &Args, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let What::Ca(Ca::Provided(Provided::Certificates(wanted))) = &args.what;
    match wanted {
        Certificates::Add(wanted) => add(wanted, &args.address, terminal),
        Certificates::List(wanted) => list(wanted, &args.address, terminal),
        Certificates::Delete(wanted) => delete(wanted, &args.address, terminal),
    }
}

fn add(wanted: &Add, address: &Address, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let cert = read(&wanted.cert_file, MAX_CERTIFICATE)?;
    let key = PrivateKey::new(read(&wanted.key_file, MAX_KEY)?);
    let pair = Pair {
        cert: &cert,
        key: key.expose(),
    };
    // An escape takes six bytes at most. A body that grows leaves copies behind.
    let room = 6 * (cert.len() + key.expose().len()) + 64;
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *body, &pair)
        .map_err(|error| CliError::new(ErrorKind::Internal, error))?;
    let added: SigningCertificate = admin(address)?.post_bytes(&path(&wanted.mesh), &body)?;
    print(terminal, &format!("{}\n", added.id))
}

fn list(wanted: &List, address: &Address, terminal: &mut Terminal) -> Result<Outcome, CliError> {
    let list: Items<SigningCertificate> = admin(address)?.get(&path(&wanted.mesh))?;
    let rows = list.items.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let header = [
        "ID",
        "COMMON NAME",
        "SERIAL NUMBER",
        "NOT VALID BEFORE",
        "NOT VALID AFTER",
        "SHA-256 FINGERPRINT",
    ];
    print(terminal, &table(header, &rows))
}

fn row(certificate: &SigningCertificate) -> Result<[String; 6], CliError> {
    let info = CertificateInfo::from_pem(&certificate.cert)
        .map_err(|error| CliError::new(ErrorKind::Unavailable, error))?;
    let name = info.common_name.as_deref().unwrap_or("-");
    Ok([
        certificate.id.to_string(),
        printable(name).into_owned(),
        info.serial_number,
        info.not_before.to_string(),
        info.not_after.to_string(),
        info.id.0.to_hex(),
    ])
}

fn delete(
    wanted: &Delete,
    address: &Address,
    terminal: &mut Terminal,
) -> Result<Outcome, CliError> {
    admin(address)?.delete(&format!("{}/{}", path(&wanted.mesh), wanted.id))?;
    print(terminal, &format!("deleted {}\n", wanted.id))
}

fn admin(address: &Address) -> Result<Client, CliError> {
    admin_server(address, "certificates are managed")
}

fn path(mesh: &MeshName) -> String {
    format!("/meshes/{mesh}/ca/provided/certificates")
}
