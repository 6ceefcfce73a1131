//! Asks the daemon for secrets once, as a proxy does.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Node};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use prost::Message as _;
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
    let token = daemon.token(dataplane, mesh);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let fetched = runtime.block_on(async {
        let fetched = call(daemon, format!("{mesh}.{dataplane}"), &token);
        tokio::time::timeout(TIMEOUT, fetched).await
    });
    fetched.map_err(|error| error.to_string())?
}

async fn call(daemon: &Daemon, node: String, token: &str) -> Result<Secrets, String> {
    let ca = std::fs::read(daemon.xds_ca()).expect("the CA of the daemon");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .domain_name("localhost");
    let channel = Channel::from_shared(format!("https://{}", daemon.listeners().xds))
        .expect("a URL")
        .tls_config(tls)
        .expect("a CA")
        .connect()
        .await
        .map_err(|error| format!("{error:?}"))?;
    let mut request = tonic::Request::new(DiscoveryRequest {
        node: Some(Node {
            id: node,
            ..Node::default()
        }),
        resource_names: vec!["identity_cert".to_owned(), "mesh_ca".to_owned()],
        type_url: SECRET.to_owned(),
        ..DiscoveryRequest::default()
    });
    let token = token.parse().expect("a token is ASCII");
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

fn text(source: Option<DataSource>) -> String {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).expect("PEM is ASCII"),
        other => panic!("{other:?}"),
    }
}
