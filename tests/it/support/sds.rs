//! Asks the daemon for secrets once, as a proxy does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Node};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use envoy_types::pb::google::rpc::Status;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use super::Daemon;

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a dataplane gets, as PEM.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    pub(crate) leaf: String,
    pub(crate) key: String,
    pub(crate) bundle: String,
}

/// `FetchSecrets` for both secrets, with a token made for it.
pub(crate) fn fetch(daemon: &Daemon, mesh: &str, dataplane: &str) -> Result<Secrets, String> {
    fetch_with(daemon, mesh, dataplane, &daemon.token(dataplane, mesh))
}

/// `FetchSecrets` for both secrets with that token.
pub(crate) fn fetch_with(
    daemon: &Daemon,
    mesh: &str,
    dataplane: &str,
    token: &str,
) -> Result<Secrets, String> {
    Caller::new(daemon, mesh, dataplane, token).fetch()
}

/// Who asks, and where: it needs no daemon at hand.
pub(crate) struct Caller {
    address: String,
    ca: Vec<u8>,
    node: String,
    token: String,
}

impl Caller {
    pub(crate) fn new(daemon: &Daemon, mesh: &str, dataplane: &str, token: &str) -> Self {
        Self {
            address: daemon.listeners().xds.clone(),
            ca: std::fs::read(daemon.xds_ca()).expect("the CA of the daemon"),
            node: format!("{mesh}.{dataplane}"),
            token: token.to_owned(),
        }
    }

    /// `FetchSecrets` for both secrets, once.
    pub(crate) fn fetch(&self) -> Result<Secrets, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let fetched = runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.call()).await });
        fetched.map_err(|error| error.to_string())?
    }

    async fn call(&self) -> Result<Secrets, String> {
        let channel = connect(&self.address, &self.ca).await?;
        let mut request = tonic::Request::new(DiscoveryRequest {
            node: Some(Node {
                id: self.node.clone(),
                ..Node::default()
            }),
            resource_names: vec!["identity_cert".to_owned(), "mesh_ca".to_owned()],
            type_url: SECRET.to_owned(),
            ..DiscoveryRequest::default()
        });
        let token = self.token.parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", token);
        let answer = SecretDiscoveryServiceClient::new(channel)
            .fetch_secrets(request)
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        let mut secrets = Secrets::default();
        for resource in answer.resources {
            let secret = Secret::decode(resource.value.as_slice()).map_err(|e| e.to_string())?;
            match secret.r#type {
                Some(Type::TlsCertificate(pair)) => {
                    secrets.leaf = text(pair.certificate_chain);
                    secrets.key = text(pair.private_key);
                }
                Some(Type::ValidationContext(context)) => secrets.bundle = text(context.trusted_ca),
                other => panic!("{other:?}"),
            }
        }
        Ok(secrets)
    }
}

async fn connect(address: &str, ca: &[u8]) -> Result<Channel, String> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name("localhost");
    let endpoint = Channel::from_shared(format!("https://{address}")).expect("a URL");
    let connected = endpoint.tls_config(tls).expect("a CA").connect().await;
    connected.map_err(|error| format!("{error:?}"))
}

fn text(source: Option<DataSource>) -> String {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).expect("PEM is ASCII"),
        other => panic!("{other:?}"),
    }
}

/// A proxy that asks for its secrets and stays, as long as the daemon does.
pub(crate) struct Proxy {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
}

/// What a [`Proxy`] was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// How many certificates of its own it took.
    pub(crate) leaves: usize,
    /// Why its stream ended.
    pub(crate) end: Option<String>,
}

impl Proxy {
    /// Opens a stream and answers all that comes: `judge` says of each bundle,
    /// as PEM, whether the proxy can use it.
    pub(crate) fn start(
        daemon: &Daemon,
        mesh: &str,
        name: &str,
        judge: impl Fn(&str) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self::start_with(daemon, mesh, name, daemon.token(name, mesh), judge)
    }

    /// The same with that token.
    pub(crate) fn start_with(
        daemon: &Daemon,
        mesh: &str,
        name: &str,
        token: String,
        judge: impl Fn(&str) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let ca = std::fs::read(daemon.xds_ca()).expect("the CA of the daemon");
        let (address, node) = (daemon.listeners().xds.clone(), format!("{mesh}.{name}"));
        let (seen, stop) = (
            Arc::new(Mutex::new(Seen::default())),
            CancellationToken::new(),
        );
        let proxy = Self {
            seen: Arc::clone(&seen),
            stop: stop.clone(),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().expect("a runtime");
            let stay = stay(&address, &ca, &node, &token, judge, &seen);
            let end = runtime.block_on(stop.run_until_cancelled(stay));
            seen.lock().unwrap().end = end.map(|end| format!("{end:?}"));
        });
        proxy
    }

    /// What it was sent by now.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Whether it was sent what is wanted.
    pub(crate) fn check(&self, wanted: impl Fn(&Seen) -> bool) -> Result<(), String> {
        let seen = self.seen();
        if wanted(&seen) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn stay(
    address: &str,
    ca: &[u8],
    node: &str,
    token: &str,
    judge: impl Fn(&str) -> Result<(), String>,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    let names = vec!["identity_cert".to_owned(), "mesh_ca".to_owned()];
    let request = |version: String, nonce: String, problem: Option<String>| DiscoveryRequest {
        node: Some(Node {
            id: node.to_owned(),
            ..Node::default()
        }),
        resource_names: names.clone(),
        type_url: SECRET.to_owned(),
        version_info: version,
        response_nonce: nonce,
        error_detail: problem.map(|message| Status {
            code: 13,
            message,
            ..Status::default()
        }),
        ..DiscoveryRequest::default()
    };
    let (requests, receiver) = tokio::sync::mpsc::channel(16);
    let first = request(String::new(), String::new(), None);
    requests
        .send(first)
        .await
        .map_err(|error| error.to_string())?;
    let mut opened = tonic::Request::new(ReceiverStream::new(receiver));
    let token = token.parse().expect("a token is ASCII");
    opened.metadata_mut().insert("authorization", token);
    let channel = connect(address, ca).await?;
    let mut client = SecretDiscoveryServiceClient::new(channel);
    let responses = client.stream_secrets(opened).await;
    let mut responses = responses.map_err(|status| status.to_string())?.into_inner();
    let mut version = String::new();
    while let Some(response) = responses.message().await.map_err(|it| it.to_string())? {
        let mut problem = None;
        for resource in &response.resources {
            let secret = Secret::decode(resource.value.as_slice()).map_err(|e| e.to_string())?;
            match secret.r#type {
                Some(Type::ValidationContext(context)) => {
                    problem = judge(&text(context.trusted_ca)).err().or(problem);
                }
                _ => seen.lock().unwrap().leaves += 1,
            }
        }
        if problem.is_none() {
            version.clone_from(&response.version_info);
        }
        let answer = request(version.clone(), response.nonce, problem);
        requests
            .send(answer)
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
