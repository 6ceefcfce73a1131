//! A real Envoy with the bootstrap of the first session.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;

use super::mesh_ca::ClientIdentity;
use super::{Daemon, http, tls, wait};

/// The bootstrap that the documentation gives to readers.
const BOOTSTRAP: &str = include_str!("../../../docs/first-session/envoy.yaml");

/// A running Envoy. Dropping it kills it.
pub(crate) struct Envoy {
    child: Child,
    admin: String,
    dir: TempDir,
}

/// The program, as `make test` installs it.
///
/// # Panics
///
/// Panics where it is missing: a test of Envoy without Envoy proves nothing.
pub(crate) fn program() -> PathBuf {
    let path = std::env::var_os("WINDLASS_TEST_ENVOY").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/envoy")),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "there is no Envoy at {}: run `make test`, or `make envoy` once, which installs it",
        path.display()
    );
    path
}

impl Envoy {
    /// Starts the Envoy of a dataplane, with a token from the command line.
    pub(crate) fn start(daemon: &Daemon, mesh: &str, dataplane: &str) -> Self {
        let generated = daemon
            .cli(&[
                "generate",
                "dataplane-token",
                "--name",
                dataplane,
                "--mesh",
                mesh,
            ])
            .output()
            .expect("the program starts");
        let words = String::from_utf8_lossy(&generated.stderr);
        assert!(generated.status.success(), "{words}\n{}", daemon.log());
        // As a reader does it, with `>`: gRPC refuses metadata that holds a line end.
        Self::with_token(daemon, mesh, dataplane, &generated.stdout)
    }

    /// Starts the Envoy of a dataplane with that token.
    pub(crate) fn with_token(daemon: &Daemon, mesh: &str, dataplane: &str, token: &[u8]) -> Self {
        let ca = fs::read(daemon.xds_ca()).expect("the CA of the daemon");
        let node = format!("{mesh}.{dataplane}");
        Self::of_server(&daemon.listeners().xds, &ca, &node, token)
    }

    /// Starts the Envoy with that node id on an xDS server that `ca` proves,
    /// and waits until its admin server answers.
    pub(crate) fn of_server(xds: &str, ca: &[u8], node: &str, token: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("dp-echo-1.token"), token).expect("a token file");
        fs::write(dir.path().join("xds-ca.pem"), ca).expect("a file for the CA");
        let (mesh, _) = node.split_once('.').expect("a node id");
        let bootstrap = [
            ("id: default.dp-echo-1 ", format!("id: {node} ")),
            ("target_uri: 127.0.0.1:5678", format!("target_uri: {xds}")),
            ("spiffe://default/", format!("spiffe://{mesh}/")),
            ("port_value: 9901", "port_value: 0".to_owned()),
            ("port_value: 11011", "port_value: 0".to_owned()),
        ]
        .iter()
        .fold(BOOTSTRAP.to_owned(), |text, (from, to)| {
            assert!(
                text.contains(from),
                "the bootstrap has no {from:?} any more"
            );
            text.replace(from, to)
        });
        Self::launch(dir, &bootstrap)
    }

    /// Starts an Envoy with a bootstrap that gets the path of a file with that
    /// token, and waits until its admin server answers.
    pub(crate) fn with_bootstrap(token: &str, bootstrap: impl FnOnce(&str) -> Value) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("token");
        fs::write(&path, token).expect("a token file");
        let bootstrap = bootstrap(path.to_str().expect("a path that is text"));
        Self::launch(dir, &bootstrap.to_string())
    }

    fn launch(dir: TempDir, bootstrap: &str) -> Self {
        fs::write(dir.path().join("envoy.yaml"), bootstrap).expect("a bootstrap file");
        let log = File::create(dir.path().join("envoy.log")).expect("a log file");
        let child = Command::new(program())
            .args([
                "--config-path",
                "envoy.yaml",
                "--admin-address-path",
                "admin.txt",
            ])
            .args([
                "--concurrency",
                "1",
                "--drain-time-s",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        let mut envoy = Self {
            child,
            admin: String::new(),
            dir,
        };
        envoy.admin = wait::until("Envoy's admin server", || {
            envoy.assert_running();
            let address = fs::read_to_string(envoy.dir.path().join("admin.txt"))
                .map_err(|error| error.to_string())?;
            http::get(&address, "/ready").map(|_| address)
        });
        envoy
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the process has not ended.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("Envoy's state") {
            panic!("Envoy ended with {status}:\n{}", self.log());
        }
    }

    /// All it has printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("envoy.log")).unwrap_or_default()
    }

    /// `GET` on its admin server, as JSON.
    pub(crate) fn admin(&self, path: &str) -> Result<Value, String> {
        Ok(http::get(&self.admin, path)?.ok()?.json())
    }

    /// `GET /certs`
    pub(crate) fn certs(&self) -> Result<Value, String> {
        self.admin("/certs")
    }

    /// The URI SANs of the certificates that `/certs` shows, and the serial
    /// numbers of the roots.
    pub(crate) fn identities(&self) -> Result<Vec<Identity>, String> {
        let certs = self.certs()?;
        let list = certs["certificates"].as_array().ok_or("no certificates")?;
        Ok(list.iter().filter_map(Identity::from_certs).collect())
    }

    /// The counter of that name.
    pub(crate) fn counter(&self, name: &str) -> Result<u64, String> {
        let stats = self.admin(&format!("/stats?format=json&filter=^{name}$"))?;
        stats["stats"][0]["value"]
            .as_u64()
            .ok_or_else(|| format!("no counter {name}: {stats}"))
    }

    /// Where its listener of that name has bound.
    fn listener(&self, name: &str) -> Result<String, String> {
        let listeners = self.admin("/listeners?format=json")?;
        let list = listeners["listener_statuses"]
            .as_array()
            .ok_or("no listeners")?;
        let bound = list
            .iter()
            .find(|listener| listener["name"] == name)
            .map(|listener| &listener["local_address"]["socket_address"]["port_value"])
            .and_then(Value::as_u64)
            .ok_or_else(|| format!("{name} is not there: {listeners}"))?;
        Ok(format!("127.0.0.1:{bound}"))
    }

    /// The certificate that the inbound listener shows to a client.
    pub(crate) fn shown(&self) -> Result<CertificateDer<'static>, String> {
        tls::shown(&self.listener("inbound")?)
    }

    /// The answer of the inbound listener to a client that proves itself so.
    pub(crate) fn ask(&self, client: &ClientIdentity) -> Result<String, String> {
        tls::ask(&self.listener("inbound")?, client)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One certificate of `/certs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uris: Vec<String>,
    pub(crate) serial: String,
    /// The serial numbers of the roots that it goes with.
    pub(crate) root_serials: Vec<String>,
}

impl Identity {
    fn from_certs(entry: &Value) -> Option<Self> {
        let leaf = entry["cert_chain"].get(0)?;
        let roots = entry["ca_cert"].as_array()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            uris: leaf["subject_alt_names"]
                .as_array()?
                .iter()
                .filter_map(|san| text(&san["uri"]))
                .collect(),
            serial: text(&leaf["serial_number"])?,
            root_serials: roots
                .iter()
                .filter_map(|root| text(&root["serial_number"]))
                .collect(),
        })
    }
}
