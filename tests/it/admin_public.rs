//! The admin server for other machines, as the reference sets it up.

mod clients;
mod control_planes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::windlass;
use crate::support::{Daemon, Site, http, sds};

/// Linux leads this address to loopback, and it does not look like it: whoever
/// uses it is taken for another machine.
const CP: &str = "0.0.0.0";

/// Somebody's machine: a home of its own.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        windlass()
            .args(args)
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap()
    }

    /// What a command prints that goes well.
    fn printed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when it fails.
    fn failure(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// `generate tls-certificate` into `NAME.pem` and `NAME.key`.
    fn certificate(&self, name: &str, kind: &[&str]) {
        let (cert, key) = (
            format!("--cert-file={name}.pem"),
            format!("--key-file={name}.key"),
        );
        let generate = ["generate", "tls-certificate", &cert, &key];
        self.printed(&[&generate, kind].concat());
    }
}

/// A control plane with the public admin server, set up on a machine of its own.
struct Office {
    machine: Machine,
    _site: Site,
    daemon: Daemon,
}

impl Office {
    fn open(set_up: impl FnOnce(&Path)) -> Self {
        let machine = Machine::new();
        machine.certificate("server", &["--type=server", "--cp-hostname", CP]);
        let clients = machine.path("clients");
        fs::create_dir(&clients).unwrap();
        set_up(&clients);
        let path = |name: &str| machine.path(name).display().to_string();
        let site = Site::from_examples()
            .set("KUMA_ADMIN_SERVER_PUBLIC_ENABLED", "true")
            .set("KUMA_GENERAL_ADVERTISED_HOSTNAME", CP)
            .set("KUMA_ADMIN_SERVER_PUBLIC_INTERFACE", "127.0.0.1")
            .set(
                "KUMA_ADMIN_SERVER_PUBLIC_TLS_CERT_FILE",
                &path("server.pem"),
            )
            .set("KUMA_ADMIN_SERVER_PUBLIC_TLS_KEY_FILE", &path("server.key"))
            .set(
                "KUMA_ADMIN_SERVER_PUBLIC_CLIENT_CERTS_DIR",
                &path("clients"),
            );
        let daemon = site.start();
        Self {
            machine,
            _site: site,
            daemon,
        }
    }

    /// The control plane's HTTP API, as other machines know it.
    fn url(&self) -> String {
        let api = &self.daemon.listeners().api;
        format!("http://{CP}:{}", port(api))
    }

    fn admin(&self) -> String {
        let listeners = self.daemon.listeners();
        listeners
            .admin_public
            .clone()
            .expect("a public admin server")
    }
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

#[test]
fn a_token_is_issued_to_another_machine_as_the_reference_says() {
    let laptop = Machine::new();
    laptop.certificate("me", &["--type=client"]);
    let office = Office::open(|clients| {
        fs::copy(laptop.path("me.pem"), clients.join("laptop.pem")).unwrap();
    });
    let catalog = http::get(&office.daemon.listeners().api, "/catalog").unwrap();
    let public = json!(format!("https://{CP}:{}", port(&office.admin())));
    assert_eq!(catalog.json()["apis"]["admin"]["publicUrl"], public);
    assert_eq!(
        catalog.json()["apis"]["dataplaneToken"]["publicUrl"],
        public
    );

    fs::copy(office.machine.path("server.pem"), laptop.path("cp.pem")).unwrap();
    laptop.printed(&[
        "config",
        "control-planes",
        "add",
        "--name=office",
        "--address",
        &office.url(),
        "--admin-client-cert=me.pem",
        "--admin-client-key=me.key",
        "--admin-ca-cert=cp.pem",
    ]);
    assert!(laptop.printed(&["get", "meshes"]).contains("default"));
    let generate = [
        "generate",
        "dataplane-token",
        "--name=dp-web-1",
        "--mesh=default",
    ];
    let token = laptop.printed(&generate);
    sds::fetch_with(&office.daemon, "default", "dp-web-1", &token).expect("a good token");
    // The address on the command line is that control plane, too.
    let url = office.url();
    let named = [&generate[..], &["--address", &url]].concat();
    assert!(laptop.printed(&named).starts_with("eyJ"));

    let refused = laptop.failure(&["generate", "dataplane-token", "--name=", "--mesh=default"]);
    assert_eq!(
        refused,
        "Error: Could not issue a token (Resource is not valid)\n* name: cannot be empty\n"
    );
    let stranger = Machine::new();
    let words = stranger.failure(&named);
    assert!(
        words.contains("is not on this machine's loopback"),
        "{words}"
    );
    assert!(words.contains("control-planes add"), "{words}");
}

#[test]
fn a_client_or_a_server_that_is_not_trusted_is_told_what_to_look_at() {
    let office = Office::open(|_| ());
    let laptop = Machine::new();
    laptop.certificate("me", &["--type=client"]);
    fs::copy(office.machine.path("server.pem"), laptop.path("cp.pem")).unwrap();
    let url = office.url();
    let add = [
        "config",
        "control-planes",
        "add",
        "--address",
        &url,
        "--admin-client-cert=me.pem",
        "--admin-client-key=me.key",
    ];
    let generate = ["generate", "dataplane-token", "--name=a", "--mesh=default"];
    laptop.printed(&[&add[..], &["--name=a", "--admin-ca-cert=cp.pem"]].concat());
    let words = laptop.failure(&generate);
    assert!(
        words.contains("no control plane answers at https://"),
        "{words}"
    );
    assert!(words.contains("clientCertsDir"), "{words}");
    // A server that is somebody else's.
    laptop.printed(&[&add[..], &["--name=b", "--admin-ca-cert=me.pem"]].concat());
    let words = laptop.failure(&generate);
    assert!(words.contains("--admin-ca-cert"), "{words}");
    fs::copy(laptop.path("me.pem"), office.machine.path("clients/me.pem")).unwrap();
    laptop.printed(&["config", "control-planes", "switch", "--name=a"]);
    assert!(laptop.printed(&generate).starts_with("eyJ"));
}
