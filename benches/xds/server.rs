//! The server as the daemon runs it, on a SQLite store or one that others share.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass::ca::{self, LeafKey};
use windlass::clock;
use windlass::follow::Follower;
use windlass::model::{AuthorityState, Current, DataplaneId, Generation, MeshName, Posture};
use windlass::state::Publisher;
use windlass::store::encryption::Vault;
use windlass::store::sqlite::SqliteStore;
use windlass::store::{MeshWrite, Operation, Store};
use windlass::token::Keyring;
use windlass::xds::{self, EvidenceBoard, Parts, ServerIdentity, XdsConfig, XdsMetrics, tls};

use crate::link::Setup;
use crate::mesh;

/// How long the server may take for what follows a change, evidence among it.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) struct Server {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    keyring: Arc<Keyring>,
    ca_pem: Arc<str>,
    port: u16,
    dataplanes: usize,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), xds::ServeError>>,
    _state_dir: Option<TempDir>,
}

impl Server {
    pub(crate) async fn start(dataplanes: usize) -> Self {
        let state_dir = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&state_dir.path().join("windlass.db")).await;
        let store: Arc<dyn Store> = Arc::new(store.expect("a store"));
        let server = Self::on(store, false, dataplanes).await;
        Self {
            _state_dir: Some(state_dir),
            ..server
        }
    }

    /// The server on a store that is empty; `shared` where others write to it, too.
    pub(crate) async fn on(store: Arc<dyn Store>, shared: bool, dataplanes: usize) -> Self {
        let vault = Arc::new(Vault::ephemeral());
        fill(&*store, &vault, dataplanes).await;
        let publisher = Arc::new(Publisher::new(Arc::clone(&store), Arc::clone(&vault)));
        let current = store.load().await.expect("the store");
        assert!(publisher.publish(Arc::new(current)).await, "no signer");

        let keyring = Keyring::load_or_create(&*store, &vault).await;
        let keyring = Arc::new(keyring.expect("a keyring"));
        let names = tls::server_names(None);
        let identity = ServerIdentity::open_or_create(&*store, &vault, names, clock::now()).await;
        let identity = identity.expect("a certificate");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let shutdown = CancellationToken::new();
        let parts = Parts {
            state: publisher.subscribe(),
            tokens: Arc::clone(&keyring),
            accounts: None,
            vault,
            evidence: Arc::new(EvidenceBoard::default()),
            store: Arc::clone(&store),
            shared,
            look: Arc::default(),
            config: XdsConfig {
                issuing: windlass::ca::Issuing::default(),
                leaf_key: LeafKey::EcP256,
            },
            metrics: XdsMetrics::default(),
        };
        let config = identity.config().expect("a TLS configuration");
        let task = tokio::spawn(xds::serve(listener, config, parts, shutdown.clone()));
        Self {
            store,
            publisher,
            keyring,
            ca_pem: identity.ca_pem(),
            port,
            dataplanes,
            shutdown,
            task,
            _state_dir: None,
        }
    }

    /// Serves what others write from now on, as a replica that follows does.
    pub(crate) fn follow(&self) {
        let (store, publisher) = (Arc::clone(&self.store), Arc::clone(&self.publisher));
        let current = Arc::clone(&publisher.serving().current);
        let mut news = store.news();
        let mut follower = Follower::new(store, publisher, None, current);
        let following = async move {
            while news.changed().await.is_ok() {
                follower.refresh().await.expect("the store");
            }
        };
        tokio::spawn(self.shutdown.clone().run_until_cancelled_owned(following));
    }

    pub(crate) fn setup(&self) -> Setup {
        let proxies = (0..self.dataplanes).map(|number| {
            let id = DataplaneId {
                mesh: mesh::MESH.parse().expect("a name"),
                name: mesh::dataplane(number).parse().expect("a name"),
            };
            let token = self
                .keyring
                .issue(&id, Duration::from_hours(1), clock::now());
            (id.node_id(), token.expect("a token"))
        });
        Setup {
            port: self.port,
            ca_pem: self.ca_pem.to_string(),
            proxies: proxies.collect(),
        }
    }

    /// Writes the permission, or takes it away, and returns what is then to be served.
    pub(crate) async fn with_permission(&self, service: Option<usize>, there: bool) -> Current {
        let before = Arc::clone(&self.publisher.serving().current);
        self.write(&*self.store, service, there).await;
        let changes = self.store.changes_since(before.generation).await;
        // As the reconciler does it: what did not change stays the same in memory.
        windlass::state::merge(&before, &changes.expect("the changes"))
    }

    /// The same by whoever has the store, too; nothing is published for it.
    pub(crate) async fn write(&self, by: &dyn Store, service: Option<usize>, there: bool) {
        let passing = mesh::passing(service);
        let operation = if there {
            Operation::PutResource(passing)
        } else {
            Operation::DeleteResource(passing.resource.key())
        };
        let before = Arc::clone(&self.publisher.serving().current);
        let name: MeshName = mesh::MESH.parse().expect("a name");
        let write = MeshWrite {
            expected: before.meshes[&name].generation,
            mesh: name,
            operations: vec![operation],
            history: None,
        };
        by.write(&write).await.expect("a write");
    }

    pub(crate) async fn publish(&self, current: Current) {
        self.publisher.publish(Arc::new(current)).await;
    }

    pub(crate) async fn settle(&self) {
        tokio::time::sleep(SETTLE).await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = self.task.await.expect("the server's task");
        ended.expect("the server");
        self.store.close().await;
    }
}

async fn fill(store: &dyn Store, vault: &Vault, dataplanes: usize) {
    let name: MeshName = mesh::MESH.parse().expect("a name");
    let (authority, key) = ca::create_builtin(&name, 1, clock::now()).expect("an authority");
    let id = authority.id;
    let sealed = vault.seal(&key).expect("a sealed key");
    let mut operations: Vec<Operation> = mesh::resources(dataplanes)
        .into_iter()
        .map(Operation::PutResource)
        .collect();
    operations.push(Operation::AddAuthority(authority, sealed));
    for state in [AuthorityState::Prepared, AuthorityState::Active] {
        operations.push(Operation::MoveAuthority(id, state));
    }
    operations.push(Operation::Secure(Posture::Strict));
    let write = MeshWrite {
        mesh: name,
        expected: Generation(0),
        operations,
        history: None,
    };
    store.write(&write).await.expect("a write");
}
