//! What outlives the daemon: the repository and the state folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use windlass::model::{Part, ProxyEvidence};
use windlass::store::postgres::PostgresStore;
use windlass::store::sqlite::SqliteStore;
use windlass::store::{Store, StoreError};

use super::repo::{EXAMPLES, Repo};
use super::{Cluster, Daemon, wait};

/// A repository and a state folder in a temporary folder.
pub(crate) struct Site {
    pub(crate) repo: Repo,
    settings: Vec<(String, String)>,
    cluster: Option<Cluster>,
    home: TempDir,
}

impl Site {
    /// A site that reconciles the sample repository.
    pub(crate) fn from_examples() -> Self {
        Self::new(Repo::from_examples)
    }

    /// A site that reconciles these files.
    pub(crate) fn from_files(files: &[(&str, &str)]) -> Self {
        Self::new(|path| {
            let repo = Repo::init(path);
            let files: Vec<(&str, Option<&str>)> = files
                .iter()
                .map(|(name, content)| (*name, Some(*content)))
                .collect();
            repo.commit(&files, "the first commit");
            repo
        })
    }

    fn new(make: impl FnOnce(&Path) -> Repo) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(home.path().join("state")).expect("a state folder");
        let identity = home.path().join("identity.txt");
        fs::copy(Path::new(EXAMPLES).join("demo-identity.txt"), &identity).expect("an identity");
        fs::set_permissions(&identity, Permissions::from_mode(0o600)).expect("a private identity");
        Self {
            repo: make(&home.path().join("repo")),
            settings: Vec::new(),
            cluster: None,
            home,
        }
        .on(Cluster::current())
    }

    /// The same on replicas that share a store.
    pub(crate) fn on(mut self, cluster: Option<Cluster>) -> Self {
        if let Some(cluster) = &cluster {
            let identity = self.home.path().join("store-identity.txt");
            fs::copy(self.home.path().join("identity.txt"), &identity).expect("an identity");
            let variables = cluster.variables();
            self.settings.extend(variables);
            self = self.set(
                "WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE",
                identity.to_str().expect("UTF-8"),
            );
        }
        self.cluster = cluster;
        self
    }

    /// The replicas that it is on, if it is on several.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Gives the daemon an environment variable, such as `WINDLASS_CA_LEAF_LIFETIME`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The environment variables beside the ones of every site.
    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// The state folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The configuration file, written anew.
    pub(crate) fn config(&self) -> PathBuf {
        let path = self.home.path().join("config.yaml");
        let text = format!(
            "source:\n  repo: '{repo}'\n  branch: main\n  decryption:\n    identityFile: '{identity}'\n\
             api: {{port: 0}}\nadmin: {{local: {{port: 0}}}}\nxds: {{port: 0}}\ndiagnostics: {{port: 0}}\n",
            repo = self.repo.path().display(),
            identity = self.home.path().join("identity.txt").display(),
        );
        // A replica that was started just before may be reading it.
        let next = path.with_extension("next");
        fs::write(&next, text).expect("a configuration file");
        fs::rename(&next, &path).expect("a configuration file");
        path
    }

    /// The store, to look at it.
    async fn store(&self) -> Result<Box<dyn Store>, StoreError> {
        if let Some(cluster) = &self.cluster {
            let config = cluster.postgres().lock().expect("the store").config();
            return Ok(Box::new(PostgresStore::open_for_reading(&config).await?));
        }
        let path = self.state_dir().join("windlass.db");
        Ok(Box::new(SqliteStore::open_for_reading(&path).await?))
    }

    /// Waits until the store has it, too, that so many proxies trust the present
    /// bundle: what is not there by the time of a crash is sent again.
    pub(crate) fn wait_until_trust_is_stored(&self, proxies: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        wait::until("the store to have the acknowledgements", || {
            runtime.block_on(async {
                let store = self.store().await;
                let store = store.map_err(|error| error.to_string())?;
                let (current, evidence) = (store.load().await, store.evidence().await);
                store.close().await;
                let meshes = current.map_err(|error| error.to_string())?.meshes;
                let evidence = evidence.map_err(|error| error.to_string())?;
                let trusts = |proxy: &&Arc<ProxyEvidence>| {
                    let mesh = meshes.get(&proxy.dataplane.mesh);
                    let mark = mesh.map(|mesh| mesh.progress.marks.bundle);
                    mark.is_some_and(|mark| proxy.has_acknowledged(Part::Bundle, mark))
                };
                if evidence.values().filter(trusts).count() == proxies {
                    Ok(())
                } else {
                    Err(format!("{evidence:?}"))
                }
            })
        });
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        let mut daemon = Daemon::spawn(self);
        daemon.wait_until_ready();
        daemon
    }
}
