//! A server with what it serves, and proxies that speak to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use windlass::ca::{self, Issuing, LeafKey, Signer};
use windlass::clock;
use windlass::model::{
    Authority, AuthorityId, AuthorityState, Current, Generation, MeshName, MeshState, Origin,
    Posture, PrivateKey, Progress, ProxyEvidence, Resource, StoredResource,
};
use windlass::state::Serving;
use windlass::store::encryption::Vault;
use windlass::store::memory::MemoryStore;
use windlass::store::{EvidenceChanges, MeshWrite, Operation, Store};
use windlass::token::Keyring;
use windlass::xds::{self, EvidenceBoard, Parts, ServerIdentity, XdsConfig, XdsMetrics, tls};

use super::proxy::{Delta, Sotw, authorized, id, node, with_node};

/// How long anything may take that is expected to happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The mesh `demo`, as a test wants it.
pub(super) struct Mesh {
    /// How its mTLS stands.
    pub(super) progress: Progress,
    /// Resources besides, in the Universal form.
    pub(super) besides: Vec<serde_json::Value>,
    /// The service of each dataplane.
    pub(super) dataplanes: BTreeMap<String, String>,
    pub(super) authorities: Vec<(Authority, PrivateKey)>,
    pub(super) exists: bool,
}

impl Mesh {
    /// Adds a builtin authority in a state.
    pub(super) fn add_authority(&mut self, state: AuthorityState) -> AuthorityId {
        let ordinal = u32::try_from(self.authorities.len()).unwrap() + 1;
        let mesh = "demo".parse().unwrap();
        let (authority, key) = ca::create_builtin(&mesh, ordinal, clock::now()).unwrap();
        let id = authority.id;
        self.authorities
            .push((Authority { state, ..authority }, key));
        id
    }

    fn resources(&self) -> Vec<Resource> {
        let mesh = serde_json::json!({
            "type": "Mesh", "name": "demo",
            "mtls": {"enabled": self.progress.posture != Posture::Plaintext, "ca": {"builtin": {}}},
        });
        let dataplanes = self.dataplanes.iter().map(|(name, service)| {
            serde_json::json!({
                "type": "Dataplane", "mesh": "demo", "name": name,
                "networking": {
                    "address": "127.0.0.1",
                    "inbound": [{"port": 11011, "tags": {"service": service}}],
                },
            })
        });
        std::iter::once(mesh)
            .chain(dataplanes)
            .chain(self.besides.iter().cloned())
            .map(|value| serde_json::from_value(value).unwrap())
            .collect()
    }

    fn serving(&self, generation: u64) -> Serving {
        let mut serving = Serving::default();
        if !self.exists {
            return serving;
        }
        let name: MeshName = "demo".parse().unwrap();
        let mut state = MeshState::absent(name.clone());
        state.generation = Generation(generation);
        state.progress = self.progress.clone();
        for resource in self.resources() {
            let stored = StoredResource::new(resource, Origin::Api {});
            state
                .resources
                .insert(stored.resource.key(), Arc::new(stored));
        }
        for (authority, key) in &self.authorities {
            state.authorities.insert(authority.id, authority.clone());
            if authority.state == AuthorityState::Active {
                let signer = Signer::new(authority, key).unwrap();
                serving.signers.insert(authority.id, Arc::new(signer));
            }
        }
        serving.current = Arc::new(Current {
            generation: Generation(generation),
            meshes: BTreeMap::from([(name, Arc::new(state))]),
        });
        serving
    }
}

/// A running server.
pub(super) struct Site {
    pub(super) mesh: Mesh,
    pub(super) keyring: Arc<Keyring>,
    pub(super) evidence: Arc<EvidenceBoard>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) vault: Arc<Vault>,
    pub(super) address: SocketAddr,
    pub(super) ca_pem: String,
    pub(super) shutdown: CancellationToken,
    pub(super) server: JoinHandle<Result<(), xds::ServeError>>,
    state: watch::Sender<Arc<Serving>>,
    generation: u64,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Site {
    /// Mesh `demo` with the dataplanes `web` and `backend`, mTLS enabled.
    pub(super) async fn start() -> Self {
        Self::with_leaves_of(Duration::from_hours(24)).await
    }

    pub(super) async fn with_leaves_of(leaf_lifetime: Duration) -> Self {
        let mut mesh = Mesh {
            progress: Progress::default(),
            besides: Vec::new(),
            dataplanes: ["web", "backend"]
                .map(|name| (name.to_owned(), name.to_owned()))
                .into(),
            authorities: Vec::new(),
            exists: true,
        };
        let store = Arc::new(MemoryStore::new());
        // The store keeps the evidence of dataplanes that it knows.
        let write = MeshWrite {
            mesh: "demo".parse().unwrap(),
            expected: Generation(0),
            operations: (mesh.resources().into_iter())
                .map(|resource| StoredResource::new(resource, Origin::Api {}))
                .map(Operation::PutResource)
                .collect(),
            history: None,
        };
        store.write(&write).await.unwrap();
        mesh.progress.posture = Posture::Strict;
        mesh.add_authority(AuthorityState::Active);
        let (state, watch) = watch::channel(Arc::new(mesh.serving(1)));
        let vault = Arc::new(Vault::ephemeral());
        let keyring = Keyring::load_or_create(&*store, &vault).await.unwrap();
        let keyring = Arc::new(keyring);
        let names = tls::server_names(None);
        let identity = ServerIdentity::open_or_create(&*store, &vault, names, clock::now())
            .await
            .unwrap();
        let evidence = Arc::new(EvidenceBoard::restore(
            EvidenceChanges::default(),
            "cp-0",
            leaf_lifetime,
            clock::now(),
        ));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let parts = Parts {
            state: watch,
            tokens: keyring.clone(),
            accounts: None,
            vault: vault.clone(),
            evidence: evidence.clone(),
            store: store.clone(),
            shared: false,
            look: Arc::default(),
            config: XdsConfig {
                issuing: Issuing {
                    leaf_lifetime,
                    ..Issuing::default()
                },
                leaf_key: LeafKey::EcP256,
            },
            metrics: XdsMetrics::default(),
        };
        let tls = identity.config().unwrap();
        let server = tokio::spawn(xds::serve(listener, tls, parts, shutdown.clone()));
        Self {
            mesh,
            keyring,
            evidence,
            store,
            vault,
            address,
            ca_pem: identity.ca_pem().to_string(),
            shutdown,
            server,
            state,
            generation: 1,
        }
    }

    /// Publishes the mesh as it is now.
    pub(super) fn publish(&mut self) {
        self.generation += 1;
        let serving = self.mesh.serving(self.generation);
        self.state.send_replace(Arc::new(serving));
    }

    /// Adds one more trusted authority and publishes: `mesh_ca` changes.
    pub(super) fn change_bundle(&mut self) -> AuthorityId {
        let id = self.mesh.add_authority(AuthorityState::Prepared);
        self.publish();
        id
    }

    pub(super) fn token(&self, name: &str) -> String {
        self.token_for(name, Duration::from_hours(1))
    }

    pub(super) fn token_for(&self, name: &str, valid_for: Duration) -> String {
        self.keyring
            .issue(&id(name), valid_for, clock::now())
            .unwrap()
    }

    pub(super) async fn channel(&self) -> Channel {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca_pem))
            .domain_name("localhost");
        Channel::from_shared(format!("https://{}", self.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(super) async fn client(&self) -> SecretDiscoveryServiceClient<Channel> {
        SecretDiscoveryServiceClient::new(self.channel().await)
    }

    /// A state-of-the-world stream of a dataplane.
    pub(super) async fn sotw(&self, name: &str, first: DiscoveryRequest) -> Sotw {
        self.sotw_with(Some(self.token(name)), with_node(name, first))
            .await
    }

    pub(super) async fn sotw_with(&self, token: Option<String>, first: DiscoveryRequest) -> Sotw {
        let (requests, receiver) = mpsc::channel(16);
        requests.send(first).await.unwrap();
        let request = authorized(ReceiverStream::new(receiver), token);
        let responses = self.client().await.stream_secrets(request).await;
        Sotw {
            requests,
            responses: responses.map(tonic::Response::into_inner),
            names: Vec::new(),
        }
    }

    pub(super) async fn delta(&self, name: &str, first: DeltaDiscoveryRequest) -> Delta {
        let first = DeltaDiscoveryRequest {
            node: Some(node(&format!("demo.{name}"))),
            ..first
        };
        self.delta_with(Some(self.token(name)), first).await
    }

    pub(super) async fn delta_with(
        &self,
        token: Option<String>,
        first: DeltaDiscoveryRequest,
    ) -> Delta {
        let (requests, receiver) = mpsc::channel(16);
        requests.send(first).await.unwrap();
        let request = authorized(ReceiverStream::new(receiver), token);
        let responses = self.client().await.delta_secrets(request).await;
        Delta {
            requests,
            responses: responses.map(tonic::Response::into_inner),
        }
    }

    /// Waits until the evidence of a dataplane is as it should be.
    pub(super) async fn evidence(
        &self,
        name: &str,
        is_there: impl Fn(&ProxyEvidence) -> bool,
    ) -> Arc<ProxyEvidence> {
        let mut changes = self.evidence.subscribe();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(evidence) = self.evidence.of(&id(name))
                    && is_there(&evidence)
                {
                    return evidence;
                }
                changes.changed().await.unwrap();
            }
        };
        let result = tokio::time::timeout(DEADLINE, wait).await;
        result.unwrap_or_else(|_| panic!("{:?}", self.evidence.of(&id(name))))
    }

    /// Waits until the store's copy of the evidence is as it should be.
    pub(super) async fn stored_evidence(&self, is_there: impl Fn(&[Arc<ProxyEvidence>]) -> bool) {
        let wait = async {
            loop {
                let stored: Vec<_> = self.store.evidence().await.unwrap().into_values().collect();
                if is_there(&stored) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap();
    }
}
