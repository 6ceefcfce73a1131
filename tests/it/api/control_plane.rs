//! The HTTP servers in this process, over a state that the test knows.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass::api::{
    ApiContext, EvidenceSource, Writer, WriterParts, serve_admin, serve_api, serve_diagnostics,
};
use windlass::ca;
use windlass::ca::Issuing;
use windlass::config::{self, Overrides};
use windlass::model::{
    Acknowledgement, Authority, AuthorityId, AuthorityState, Current, DataplaneId, Diagnostic,
    Digest, Evidence, Generation, MeshName, MeshState, Nack, Origin, Part, Posture, PrivateKey,
    Progress, ProxyEvidence, Resource, StoredResource, Timestamp,
};
use windlass::reconcile::report::{Condition, ConditionStatus, ConditionType, SourceReport};
use windlass::replicas::Roster;
use windlass::state::Serving;
use windlass::store::Store;
use windlass::store::encryption::Vault;
use windlass::telemetry::Metrics;
use windlass::token::Keyring;
use windlass::xds::XdsMetrics;
use zeroize::Zeroizing;

use super::history_only::HistoryOnly;

/// A commit in text.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Making RSA keys is slow; one does for all tests of this process.
static TOKEN_KEY: LazyLock<PrivateKey> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    PrivateKey::new(Zeroizing::new(key.unwrap().serialize_pem()))
});

/// The instant at which everything in the state was made.
pub(crate) fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

/// The servers; they end with the value.
pub(crate) struct ControlPlane {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) diagnostics: SocketAddr,
    pub(crate) current: Arc<Current>,
    pub(crate) tokens: Arc<Keyring>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<HistoryOnly>,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) servers: Vec<JoinHandle<()>>,
    pub(crate) runtime: Runtime,
    _reports: watch::Sender<Arc<Vec<SourceReport>>>,
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        Self::on(Runtime::new().unwrap())
    }

    pub(crate) fn on(runtime: Runtime) -> Self {
        let history = Arc::new(HistoryOnly::default());
        let store: Arc<dyn Store> = history.clone();
        Self::over(runtime, current(), store, history, Arc::new(evidence))
    }

    /// The same over another state. What is written to `store` is served.
    pub(crate) fn over(
        runtime: Runtime,
        current: Current,
        kept: Arc<dyn Store>,
        store: Arc<HistoryOnly>,
        evidence: EvidenceSource,
    ) -> Self {
        let bind = || {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            (listener, address)
        };
        let ((api_listener, api), (admin_listener, admin)) = (bind(), bind());
        let (diagnostics_listener, diagnostics) = bind();
        let overrides = Overrides {
            state_dir: Some("/nowhere".into()),
            settings: [("general.advertisedHostname", "cp.example")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        let mut config = config::load(None, &[].into(), &overrides).unwrap();
        (config.api, config.admin_local) = (api, admin);

        let current = Arc::new(current);
        let serving = Serving {
            current: current.clone(),
            ..Serving::default()
        };
        let (serving_sender, serving) = watch::channel(Arc::new(serving));
        let (reports_sender, reports) = watch::channel(Arc::new(vec![report()]));
        let (ready, ready_receiver) = watch::channel(false);
        let tokens = Arc::new(Keyring::from_keys(&[(1, TOKEN_KEY.clone())]).unwrap());
        let shutdown = CancellationToken::new();
        let mut metrics = Metrics::new();
        XdsMetrics::register(metrics.registry_mut());
        let metrics = Arc::new(metrics);
        let writer = Writer::new(WriterParts {
            store: kept.clone(),
            vault: Arc::new(Vault::ephemeral()),
            serving: serving.clone(),
            evidence: evidence.clone(),
            issuing: Issuing {
                leaf_lifetime: config.ca.leaf_lifetime,
                ..Issuing::default()
            },
        });
        let ctx = ApiContext {
            serving,
            writer: Arc::new(writer),
            reports,
            evidence,
            tokens: tokens.clone(),
            store: kept.clone(),
            metrics: metrics.clone(),
            roster: watch::channel(Roster::default()).1,
            replica: "cp-0".into(),
            xds_ca_pem: "-----BEGIN CERTIFICATE-----\n".into(),
            config: Arc::new(config),
            ready: ready_receiver,
        };
        // Before anyone can write: the task may begin later.
        let mut news = kept.news();
        runtime.spawn(async move {
            while news.changed().await.is_ok() {
                let current = Arc::new(kept.load().await.unwrap());
                let signers = std::collections::BTreeMap::new();
                serving_sender.send_replace(Arc::new(Serving { current, signers }));
            }
        });
        let never_fails = |served: Result<(), std::convert::Infallible>| served.unwrap();
        let servers = vec![
            runtime.spawn({
                let served = serve_api(api_listener, ctx.clone(), shutdown.clone());
                async move { never_fails(served.await) }
            }),
            runtime.spawn({
                let served = serve_admin(admin_listener, ctx.clone(), shutdown.clone());
                async move { never_fails(served.await) }
            }),
            runtime.spawn({
                let served = serve_diagnostics(diagnostics_listener, ctx, shutdown.clone());
                async move { never_fails(served.await) }
            }),
        ];
        Self {
            api,
            admin,
            diagnostics,
            current,
            tokens,
            metrics,
            store,
            ready,
            shutdown,
            servers,
            runtime,
            _reports: reports_sender,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.api)
    }
}

fn resource(value: Value) -> Arc<StoredResource> {
    let resource: Resource = serde_json::from_value(value).unwrap();
    let origin = Origin::Source {
        source: "default".parse().unwrap(),
        file: "mesh.yaml".into(),
        revision: format!("main@sha1:{COMMIT}").parse().unwrap(),
    };
    Arc::new(StoredResource::new(resource, origin))
}

fn mesh(
    name: &str,
    generation: u64,
    authorities: Vec<Authority>,
    resources: Vec<Value>,
) -> (MeshName, Arc<MeshState>) {
    let name: MeshName = name.parse().unwrap();
    let resources = resources.into_iter().map(resource);
    let state = MeshState {
        name: name.clone(),
        generation: Generation(generation),
        resources: resources
            .map(|stored| (stored.resource.key(), stored))
            .collect(),
        authorities: authorities
            .into_iter()
            .map(|authority| (authority.id, authority))
            .collect(),
        progress: Progress {
            posture: if generation == 7 {
                Posture::Strict
            } else {
                Posture::Plaintext
            },
            ..Progress::default()
        },
    };
    (name, Arc::new(state))
}

/// Two meshes: `default` has a builtin authority, a revoked one, a permission
/// and two dataplanes; `off` has a dataplane.
fn current() -> Current {
    let name: MeshName = "default".parse().unwrap();
    let authority = |ordinal, state| Authority {
        state,
        ..ca::create_builtin(&name, ordinal, now()).unwrap().0
    };
    let authorities = vec![
        authority(1, AuthorityState::Revoked { at: now() }),
        authority(2, AuthorityState::Active),
    ];
    let default = mesh(
        "default",
        7,
        authorities,
        vec![
            json!({"type": "Mesh", "name": "default", "mtls": {"enabled": true, "ca": {"builtin": {}}}}),
            json!({"type": "TrafficPermission", "mesh": "default", "name": "all",
            "sources": [{"match": {"service": "*"}}], "destinations": [{"match": {"service": "echo"}}]}),
            json!({"type": "Dataplane", "mesh": "default", "name": "dp-echo-1", "networking": {"address": "127.0.0.1",
            "inbound": [{"port": 11011, "servicePort": 11012, "tags": {"service": "echo", "version": "v1"}},
                        {"port": 11013, "tags": {"service": "admin"}}],
            "outbound": [{"port": 33033, "service": "redis"}]}}),
            json!({"type": "Dataplane", "mesh": "default", "name": "edge", "networking": {"address": "127.0.0.2",
            "gateway": {"tags": {"service": "edge"}}}}),
        ],
    );
    let off = mesh(
        "off",
        3,
        Vec::new(),
        vec![
            json!({"type": "Mesh", "name": "off", "mtls": {"enabled": false, "ca": {"provided": {"name": "root"}}}}),
            json!({"type": "Dataplane", "mesh": "off", "name": "edge", "networking": {"address": "127.0.0.3",
            "gateway": {"tags": {"service": "edge"}}}}),
        ],
    );
    Current {
        generation: Generation(7),
        meshes: [default, off].into(),
    }
}

/// `default/dp-echo-1` is connected, `default/edge` was, and a dataplane that
/// the store does not know any more is.
fn evidence() -> Evidence {
    let proxy = |name: &str, connected| {
        let dataplane = DataplaneId {
            mesh: "default".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let mut proxy = ProxyEvidence::none(dataplane, now());
        proxy.connected_since = connected;
        proxy.replica = Some("cp-0".into());
        if name == "dp-echo-1" {
            tell(&mut proxy);
        }
        (proxy.dataplane.clone(), proxy.into())
    };
    [
        proxy("dp-echo-1", Some(now())),
        proxy("edge", None),
        proxy("gone", Some(now())),
    ]
    .into()
}

/// What a proxy may have said, in words of its own.
fn tell(proxy: &mut ProxyEvidence) {
    proxy.token_expires_at = Some(now() + Duration::from_hours(720));
    proxy.leaf_issuer = Some(AuthorityId(Digest::of(b"an old root")));
    proxy.leaf_not_after = Some(now() + Duration::from_hours(12));
    proxy.versions = [("cluster".to_owned(), "sha256:c1".to_owned())].into();
    proxy.asks = [Part::Bundle, Part::Leaf].into();
    let known = Acknowledgement { mark: 0, at: now() };
    proxy.acknowledged = [(Part::Bundle, known)].into();
    proxy.refused = ["listener".to_owned()].into();
    proxy.last_nack = Some(Nack {
        at: now(),
        resource: "listener".to_owned(),
        message: "bell \u{7} rung\u{1b}[2J\u{202e}".to_owned(),
    });
}

fn condition(r#type: ConditionType, status: ConditionStatus, reason: &str) -> Condition {
    Condition {
        r#type,
        status,
        reason: reason.to_owned(),
        message: format!("{reason} it is"),
        last_transition_time: now(),
    }
}

fn report() -> SourceReport {
    let revision = format!("main@sha1:{COMMIT}").parse().unwrap();
    let stalled = condition(ConditionType::Stalled, ConditionStatus::True, "Invalid");
    SourceReport {
        name: "default".parse().unwrap(),
        repo: "/srv/mesh".to_owned(),
        branch: "main".to_owned(),
        path: ".".to_owned(),
        attempted: Some(revision),
        applied: None,
        conditions: vec![condition(
            ConditionType::Ready,
            ConditionStatus::False,
            "MeshesHeldBack",
        )],
        diagnostics: vec![
            Diagnostic::error("WL0104", "no good")
                .on_field("mtls.ca")
                .hint("do better"),
        ],
        meshes: [("off".parse().unwrap(), vec![stalled])].into(),
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request byte by byte as it is and reads until the server closes.
pub(crate) fn exchange(to: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::parse(&text)
}

/// A request with a `Host` of the server's own address.
pub(crate) fn call(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(to, &request)
}

pub(crate) fn get(to: SocketAddr, path: &str) -> Answer {
    call(to, "GET", path, "", "")
}
