//! A real Postgres server in a temporary folder.
//!
//! Each value has a server of its own, out of a data folder that is made once
//! and copied. Its files do not wait for the disk: a server that is killed
//! loses nothing by that, only a machine would.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};
use tempfile::TempDir;
use windlass::model::PrivateKey;
use windlass::store::postgres::{Password, PostgresConfig, PostgresTls, TlsMode};
use zeroize::Zeroizing;

use super::wait;

/// The password of Windlass's role.
pub(crate) const PASSWORD: &str = "TOP-SECRET-password";
/// Who may come in: anyone over the socket, and with a password over the network.
const HBA: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
/// Whom the server runs as where the tests run as root: it refuses to be root.
const NOBODY: u32 = 65534;

/// A server. It ends with the value.
pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Child>,
}

impl Postgres {
    /// Starts a server with a role and a database `windlass`.
    pub(crate) fn start() -> Self {
        Self::with(HBA, &[], &[])
    }

    /// Starts a server that lets in whom `hba` says, with these files in its data
    /// folder and these settings.
    pub(crate) fn with(hba: &str, files: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        run(Command::new("cp")
            .arg("-a")
            .arg(template())
            .arg(folder.path().join("data")));
        own(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let mut server = Self {
            folder,
            port,
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
        };
        server.write("pg_hba.conf", hba);
        for (name, content) in files {
            server.write(name, content);
        }
        server.restart();
        server
    }

    /// Writes a file into the data folder; the server reads it when it starts.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.data().join(name);
        fs::write(&path, content).expect("a file of the server");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
        own(&path);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its Unix socket is.
    pub(crate) fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// How Windlass reaches it, without TLS.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "windlass".to_owned(),
            password: Password::Value(PrivateKey::new(Zeroizing::new(PASSWORD.to_owned()))),
            db_name: "windlass".to_owned(),
            tls: PostgresTls {
                mode: TlsMode::Disable,
                ca_path: None,
                client: None,
            },
            connection_timeout: Duration::from_secs(5),
            max_open_connections: 10,
        }
    }

    /// The variables that say the same to the daemon.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("TYPE", "postgres"),
            ("POSTGRES_PORT", &self.port.to_string()),
            ("POSTGRES_PASSWORD", PASSWORD),
        ];
        variables
            .iter()
            .map(|(name, value)| (format!("WINDLASS_STORE_{name}"), (*value).to_owned()))
            .collect()
    }

    /// Starts it, again or anew, and waits until it takes connections.
    pub(crate) fn restart(&mut self) {
        wait::within(wait::PATIENCE * 2, "a Postgres server", || {
            if self.process.is_none() {
                self.process = Some(self.spawn());
            }
            let child = self.process.as_mut().expect("it was started");
            // What is left of a server that was killed may be in the way for a while.
            if let Ok(Some(status)) = child.try_wait() {
                self.process = None;
                return Err(format!("{status}: {}", self.log()));
            }
            let pid = child.id().to_string();
            let state = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines();
            match (lines.next() == Some(&pid), lines.nth(6).map(str::trim)) {
                (true, Some("ready")) => Ok(()),
                _ => Err(self.log()),
            }
        });
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log");
        let mut command = Command::new(program("postgres"));
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.folder.path().display()
            ));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        as_nobody(&mut command).spawn().expect("the server starts")
    }

    /// Kills it, as a machine does that fails.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Stops it; it ends all connections.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Has it stand still, or go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a signal");
    }

    fn end(&mut self, signal: Signal) {
        if self.process.is_some() {
            self.signal(signal);
        }
        if let Some(mut process) = self.process.take() {
            wait::until("the server to end", || match process.try_wait() {
                Ok(Some(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }

    /// A connection of the server's own administrator to that database.
    pub(crate) async fn admin(&self, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .port(self.port)
            .username("postgres")
            .database(database);
        options.connect().await.expect("the administrator")
    }

    /// Does that in the database `windlass` as the administrator; returns how many
    /// rows it concerned.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        let mut connection = self.admin("windlass").await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await;
        done.expect("the statement").rows_affected()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            // One that stands still does not hear of it. What stands still below
            // it is killed by it after 5 s.
            self.signal(Signal::CONT);
        }
        self.end(Signal::QUIT);
    }
}

/// A data folder that is made once for all tests.
fn template() -> PathBuf {
    let version = Command::new(program("postgres"))
        .arg("--version")
        .output()
        .expect("Postgres; scripts/setup-test installs it");
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.split_whitespace().nth(2).unwrap_or("unknown");
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(home).expect("the folder of the tests");
    let template = home.join(format!("postgres-{version}-{}-1", geteuid().as_raw()));
    let lock = File::create(home.join("postgres.lock")).expect("a lock");
    lock.lock().expect("the lock");
    if !template.exists() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        own(folder.path());
        let data = folder.path().join("data");
        make(&data);
        let copy = home.join("postgres.new");
        let _ = fs::remove_dir_all(&copy);
        run(Command::new("cp").arg("-a").arg(&data).arg(&copy));
        fs::rename(&copy, &template).expect("the finished folder");
    }
    template
}

fn make(data: &Path) {
    let mut initdb = Command::new(program("initdb"));
    initdb.arg("-D").arg(data).args([
        "--no-sync",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--wal-segsize=1",
    ]);
    run(as_nobody(&mut initdb));
    let settings = "\nfsync = off\nsynchronous_commit = on\nfull_page_writes = off\n\
        max_wal_size = 64MB\nshared_buffers = 16MB\nmax_connections = 50\nautovacuum = off\n\
        log_line_prefix = '%m [%p] %a '\n";
    let mut file = File::options()
        .append(true)
        .open(data.join("postgresql.conf"))
        .expect("the settings");
    file.write_all(settings.as_bytes()).expect("the settings");

    let mut single = Command::new(program("postgres"));
    single.arg("--single").arg("-D").arg(data).arg("postgres");
    single.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut single = as_nobody(&mut single).spawn().expect("a server for one");
    let statements = format!(
        "CREATE ROLE windlass LOGIN PASSWORD '{PASSWORD}'\nCREATE DATABASE windlass OWNER windlass\n"
    );
    let mut input = single.stdin.take().expect("its input");
    input.write_all(statements.as_bytes()).expect("statements");
    drop(input);
    assert!(single.wait().expect("it ends").success());
}

/// A program of the server: Debian has them outside of the `PATH`.
fn program(name: &str) -> PathBuf {
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = folders
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

/// As someone whom the server may run as.
fn as_nobody(command: &mut Command) -> &mut Command {
    command.current_dir("/");
    if geteuid().is_root() {
        command.gid(NOBODY).uid(NOBODY);
    }
    command
}

fn own(path: &Path) {
    if geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("another owner");
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
}
