//! The processes of one API server.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::etcd::Etcd;
use super::{API_AUDIENCE, pki, program, until};

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
/// The file with the flags that one test wants.
const FLAGS: &str = "flags";
/// How often to try other ports where someone else was faster.
const ATTEMPTS: usize = 3;

/// An etcd and an API server by the folder with their files.
pub(super) struct Server(PathBuf);

impl Server {
    /// What a folder holds, if anything.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Makes a new pair in a folder and waits until it is ready.
    pub(super) fn create(folder: &Path) {
        let server = Self::in_folder(folder);
        pki::create(folder);
        let token = format!("admin-{}", std::process::id());
        server.write(
            "tokens.csv",
            &format!("{token},admin,admin,system:masters\n"),
        );
        server.write("token", &token);
        for attempt in 1.. {
            server.write("etcd.port", &free_port());
            server.write("peer.port", &free_port());
            server.write("port", &free_port());
            server.start_etcd();
            let etcd = server.etcd();
            let started = until("etcd", || match (etcd.is_healthy(), server.pid(ETCD)) {
                (true, Some(_)) => Ok(true),
                (false, Some(_)) => Err(server.log(ETCD)),
                (_, None) => Ok(false),
            });
            if started {
                break;
            }
            assert!(attempt < ATTEMPTS, "etcd ended:\n{}", server.log(ETCD));
        }
        server.start_api_server();
        server.wait_until_ready();
        let baseline = until("what every API server holds", || {
            let keys = server.etcd().keys();
            let is_there = |key: &&str| keys.iter().any(|found| found == key);
            let awaited = [
                "/registry/namespaces/default",
                "/registry/namespaces/kube-node-lease",
                "/registry/namespaces/kube-public",
                "/registry/namespaces/kube-system",
                "/registry/services/specs/default/kubernetes",
                "/registry/services/endpoints/default/kubernetes",
                "/registry/endpointslices/default/kubernetes",
            ];
            match awaited.iter().find(|key| !is_there(key)) {
                None => Ok(keys),
                Some(missing) => Err(format!("{missing} is missing")),
            }
        });
        server.write("baseline", &baseline.join("\n"));
    }

    /// Has a pair that was used as new again. Whether it could.
    pub(super) fn revive(&self) -> bool {
        if self.pid(ETCD).is_none() || !self.etcd().is_healthy() {
            return false;
        }
        let baseline: Vec<String> = self.read("baseline").lines().map(str::to_owned).collect();
        let deleted = self.etcd().delete_all_but(&baseline);
        if self.0.join(FLAGS).exists() {
            self.kill9();
            fs::remove_file(self.0.join(FLAGS)).expect("the flags of a test go");
        }
        if self.pid(API_SERVER).is_none() {
            self.start_api_server();
        }
        self.wait_until_ready();
        // It hears of what is gone by and by: of webhooks first, of resources last.
        if deleted
            .iter()
            .any(|key| key.contains("customresourcedefinitions"))
        {
            until("the API server to forget", || {
                let groups = self.get("/apis")?;
                if groups.contains("kuma.io") || groups.contains("windlass.io") {
                    Err(groups)
                } else {
                    Ok(())
                }
            });
        }
        true
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn port(&self) -> String {
        self.read("port")
    }

    pub(super) fn ca(&self) -> String {
        self.read("ca.pem")
    }

    pub(super) fn admin_token(&self) -> String {
        self.read("token")
    }

    pub(super) fn etcd(&self) -> Etcd {
        Etcd(format!("127.0.0.1:{}", self.read("etcd.port")))
    }

    fn start_etcd(&self) {
        let client = format!("http://127.0.0.1:{}", self.read("etcd.port"));
        let peer = format!("http://127.0.0.1:{}", self.read("peer.port"));
        let data = self.path("data");
        let _ = fs::remove_dir_all(self.0.join("data"));
        self.spawn(
            ETCD,
            &[
                format!("--data-dir={data}"),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
            ],
        );
    }

    /// Starts the API server with these flags, too, until another test has it.
    pub(super) fn set_flags(&self, flags: &[&str]) {
        self.write(FLAGS, &flags.join("\n"));
    }

    pub(super) fn start_api_server(&self) {
        let flags = fs::read_to_string(self.0.join(FLAGS)).unwrap_or_default();
        let flags = flags.lines().map(str::to_owned);
        let all = self.api_server_flags().into_iter().chain(flags);
        // One that was killed may not have let go of it yet.
        until("its port", || {
            TcpListener::bind(format!("127.0.0.1:{}", self.port())).map_err(|it| it.to_string())
        });
        self.spawn(API_SERVER, &all.collect::<Vec<_>>());
    }

    fn api_server_flags(&self) -> Vec<String> {
        vec![
            format!("--etcd-servers=http://{}", self.etcd().0),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port()),
            format!("--tls-cert-file={}", self.path("server.pem")),
            format!("--tls-private-key-file={}", self.path("server.key")),
            format!("--cert-dir={}", self.path("certificates")),
            format!("--token-auth-file={}", self.path("tokens.csv")),
            format!("--service-account-key-file={}", self.path("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                self.path("accounts.key")
            ),
            format!("--service-account-issuer={API_AUDIENCE}"),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // It waits for a controller that is not here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--shutdown-delay-duration=0s".to_owned(),
            // A Service leads to its endpoints: there is no kube-proxy.
            "--enable-aggregator-routing=true".to_owned(),
        ]
    }

    /// Starts a program that outlives this process.
    fn spawn(&self, name: &str, arguments: &[String]) {
        let mut log = File::options();
        let log = log.create(true).append(true);
        let log = log.open(self.0.join(format!("{name}.log"))).expect("a log");
        let mut child = Command::new(program(name))
            .args(arguments)
            .current_dir(&self.0)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        self.write(&format!("{name}.pid"), &child.id().to_string());
        // For a moment it goes by the command line of this process.
        until("a process to go by its name", || {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            match (self.pid(name), ended) {
                (None, None) => Err(format!("{name} has none")),
                _ => Ok(()),
            }
        });
        // Collects it where it ends before this process does.
        std::thread::spawn(move || child.wait());
    }

    /// Waits until the API server says that it is ready.
    pub(super) fn wait_until_ready(&self) {
        until("the API server", || match self.pid(API_SERVER) {
            None => panic!("the API server ended:\n{}", self.log(API_SERVER)),
            Some(_) => self.get("/readyz"),
        });
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let ca = Certificate::from_pem(self.ca().as_bytes()).map_err(|error| error.to_string())?;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca]));
        let agent: Agent = Agent::config_builder()
            .proxy(None)
            .tls_config(tls.build())
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let url = format!("https://127.0.0.1:{}{path}", self.port());
        let request = agent.get(url);
        let request = request.header("authorization", format!("Bearer {}", self.admin_token()));
        let mut answer = request.call().map_err(|error| error.to_string())?;
        let body = answer.body_mut().read_to_string();
        body.map_err(|error| error.to_string())
    }

    /// The process of that name, if it runs: its number alone proves nothing.
    fn pid(&self, name: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.0.join(format!("{name}.pid"))).ok()?;
        let pid = pid.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains(self.0.to_str()?).then_some(pid)
    }

    pub(super) fn kill9(&self) {
        self.end(API_SERVER, "-KILL");
    }

    pub(super) fn terminate(&self) {
        self.end(API_SERVER, "-TERM");
    }

    pub(super) fn kill_all(&self) {
        self.end(API_SERVER, "-KILL");
        self.end(ETCD, "-KILL");
    }

    fn end(&self, name: &str, signal: &str) {
        let Some(pid) = self.pid(name) else { return };
        // It may be gone by now.
        let _ = Command::new("sh")
            .args(["-c", "kill \"$0\" \"$1\"", signal, &pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .expect("a shell");
        until("a process to end", || match self.pid(name) {
            Some(pid) => Err(format!("{pid} runs")),
            None => Ok(()),
        });
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(format!("{name}.log"))).unwrap_or_default()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        let path = self.0.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.0.join(name), content).expect("a file in the folder");
    }
}

/// A port that is free, and none that clients are given: a server that restarts
/// finds it free again.
fn free_port() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let pid = std::process::id() % 1000;
    let start = u16::try_from(pid).expect("a small number") * 10;
    (0..10_000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
        .to_string()
}
