//! A real Kubernetes API server with its etcd.
//!
//! Starting one takes seconds of both cores, and every test is a process of its
//! own. So servers are kept in a [`pool`]: a test has one for itself while its
//! [`Cluster`] lives, finds it as new, and leaves it for the next. What no test
//! has wanted for a while is ended. A server that a test has stopped or killed
//! is started or replaced when the next one takes it.

mod etcd;
mod pki;
mod pool;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::wait;
use pool::Lease;
use server::Server;

/// The audience of tokens that the server takes itself.
pub(crate) const API_AUDIENCE: &str = "https://kubernetes.default.svc";

/// An API server that nobody else uses while this lives.
pub(crate) struct Cluster {
    server: Server,
    // Given back last.
    _lease: Lease,
}

#[allow(
    dead_code,
    reason = "what the tests of several subjects take from here"
)]
impl Cluster {
    /// Takes an API server that holds nothing but what every new one holds.
    ///
    /// # Panics
    ///
    /// Panics where etcd, kube-apiserver or kubectl are missing or do not work.
    pub(crate) fn take() -> Self {
        kubectl_program();
        let lease = Lease::take();
        let server = Server::in_folder(lease.folder());
        Self {
            server,
            _lease: lease,
        }
    }

    /// The same, started with these flags beside the ones of every server.
    pub(crate) fn take_with(flags: &[&str]) -> Self {
        let cluster = Self::take();
        cluster.server.kill9();
        cluster.server.set_flags(flags);
        cluster.start();
        cluster
    }

    /// Where it listens: `https://127.0.0.1:<port>`.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.port())
    }

    /// The certificate that proves it, as PEM.
    pub(crate) fn ca(&self) -> String {
        self.server.ca()
    }

    /// The kubeconfig of one who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.write_kubeconfig("admin", &self.server.admin_token())
    }

    /// The kubeconfig of who has that token.
    pub(crate) fn kubeconfig_of(&self, token: &str) -> PathBuf {
        self.write_kubeconfig("token", token)
    }

    fn write_kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.server.folder().join(format!("{name}.kubeconfig"));
        let ca = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            self.ca().as_bytes(),
        );
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url(), "certificate-authority-data": ca,
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        });
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }

    /// A client of one who may do everything.
    pub(crate) async fn client(&self) -> kube::Client {
        Self::client_by(&self.kubeconfig()).await
    }

    /// A client with that kubeconfig.
    pub(crate) async fn client_by(kubeconfig: &Path) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        let config = config.await.expect("a configuration of the client");
        kube::Client::try_from(config).expect("a client")
    }

    /// `kubectl` as one who may do everything.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        Self::kubectl_by(&self.kubeconfig(), arguments)
    }

    /// `kubectl` with that kubeconfig.
    pub(crate) fn kubectl_by(kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(kubectl_program());
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--cache-dir"])
            .arg(kubeconfig.with_extension("cache"))
            .args(arguments)
            .env_remove("KUBECONFIG");
        command
    }

    /// What `kubectl` prints where it succeeds, and what it says where it fails.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        printed(self.kubectl(arguments))
    }

    /// What `kubectl` prints.
    ///
    /// # Panics
    ///
    /// Panics where it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments)
            .unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// `kubectl apply` of these documents.
    pub(crate) fn apply(&self, documents: &str) -> Result<String, String> {
        let file = self.server.folder().join("apply.yaml");
        fs::write(&file, documents).expect("a file with documents");
        self.try_run(&["apply", "-f", file.to_str().expect("a path that is text")])
    }

    /// `kubectl create token` for that audience.
    pub(crate) fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let audience = format!("--audience={audience}");
        let arguments = ["create", "token", "-n", namespace, account, &audience];
        self.run(&arguments).trim().to_owned()
    }

    /// A token that ends at `expires_at`, in seconds of Unix. The API itself
    /// makes none that is shorter than ten minutes.
    pub(crate) fn short_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
        expires_at: u64,
    ) -> String {
        let uid = [
            "get",
            "sa",
            "-n",
            namespace,
            account,
            "-o=jsonpath={.metadata.uid}",
        ];
        let uid = self.run(&uid);
        let claims = json!({
            "aud": [audience],
            "exp": expires_at,
            "iat": 1,
            "nbf": 1,
            "iss": API_AUDIENCE,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": uid},
            },
        });
        pki::sign_token(self.server.folder(), &claims)
    }

    /// Has a Service lead to an address, as the cluster does once a pod behind
    /// it is ready. The API itself would take no address of loopback.
    pub(crate) fn lead_to(&self, namespace: &str, service: &str, port: &str, address: &str) {
        let (host, number) = address.rsplit_once(':').expect("an address");
        let number: u16 = number.parse().expect("a port");
        let endpoints = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"namespace": namespace, "name": service, "uid": "of-the-test"},
            "subsets": [{
                "addresses": [{"ip": host}],
                "ports": [{"name": port, "port": number, "protocol": "TCP"}],
            }],
        });
        let key = format!("/registry/services/endpoints/{namespace}/{service}");
        self.server.etcd().put(&key, &endpoints);
    }

    /// Kills the API server as `kill -9` does.
    pub(crate) fn kill9(&self) {
        self.server.kill9();
    }

    /// Stops the API server by SIGTERM, and waits until it is gone.
    pub(crate) fn stop(&self) {
        self.server.terminate();
    }

    /// Starts the API server again, on the same port with the same data, and
    /// waits until it is ready.
    pub(crate) fn start(&self) {
        self.server.start_api_server();
        self.server.wait_until_ready();
    }

    /// Forgets all versions before the present one. Who then asks an API server
    /// that has no cache of watches to go on from an older one is told 410.
    pub(crate) fn compact(&self) {
        self.server.etcd().compact();
    }
}

/// What a command prints where it succeeds, and what it says where it fails.
pub(crate) fn printed(mut command: Command) -> Result<String, String> {
    let output = command.output().expect("the program starts");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(out)
    } else {
        Err(format!("{out}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A program of `$KUBEBUILDER_ASSETS`, or as `make test` installs it.
///
/// # Panics
///
/// Panics where it is missing: a test of Kubernetes without it proves nothing.
fn program(name: &str) -> PathBuf {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty());
    let folder = assets.map_or_else(installed, PathBuf::from);
    existing(folder.join(name))
}

/// `kubectl` is always the project's own: others may be too old to make tokens.
fn kubectl_program() -> PathBuf {
    existing(installed().join("kubectl"))
}

fn installed() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools"))
}

fn existing(path: PathBuf) -> PathBuf {
    assert!(
        path.is_file(),
        "there is no {}: run `make test`, or `make kubernetes` once, which installs it",
        path.display()
    );
    path
}

#[test]
fn a_cluster_is_as_new_for_everyone_who_takes_it() {
    for _ in 0..2 {
        let cluster = Cluster::take();
        let listed = cluster.run(&["get", "namespaces", "-o=name"]);
        assert!(!listed.contains("left-behind"), "{listed}");
        cluster.run(&["create", "namespace", "left-behind"]);
        cluster.run(&["create", "serviceaccount", "-n", "left-behind", "web"]);
        let review = |token: &str| {
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": token, "audiences": ["windlass"]},
            });
            let file = cluster.server.folder().join("review.json");
            fs::write(&file, review.to_string()).expect("a file");
            let made = ["create", "-o=json", "-f", file.to_str().expect("text")];
            let answer: Value = serde_json::from_str(&cluster.run(&made)).expect("JSON");
            answer["status"]["authenticated"] == json!(true)
        };
        assert!(review(&cluster.token("left-behind", "web", "windlass")));
        assert!(!review(&cluster.token("left-behind", "web", "another")));
        let at = |seconds| cluster.short_token("left-behind", "web", "windlass", seconds);
        assert!(review(&at(4_000_000_000)));
        assert!(!review(&at(1_000_000_000)));
    }
}

#[test]
fn an_api_server_comes_back_with_what_it_held() {
    let cluster = Cluster::take();
    cluster.run(&["create", "namespace", "kept"]);
    cluster.kill9();
    cluster.try_run(&["get", "namespace", "kept"]).unwrap_err();
    cluster.compact();
    cluster.start();
    cluster.run(&["get", "namespace", "kept"]);
    cluster.stop();
    // The next one finds it running all the same.
    drop(cluster);
    Cluster::take().run(&["get", "namespaces"]);
}

/// Waits for an API server, which may have to start on a busy machine.
fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    wait::every(
        std::time::Duration::from_millis(50),
        std::time::Duration::from_mins(2),
        what,
        look,
    )
}
