//! Every kind of provided root, and of leaf key, with a real Envoy on both sides of it.

use std::fs;
use std::path::Path;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Node};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use crate::support::mesh_ca::{ClientIdentity, provided_ca, verify};
use crate::support::{Daemon, Envoy, Site, wait};

const ROOTS: &[(&str, &str)] = &[
    ("rsa2048", "pkcs1"),
    ("rsa4096", "pkcs8"),
    ("p256", "sec1"),
    ("p384", "pkcs8"),
    ("ed25519", "pkcs8"),
];

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ca");
    fs::read_to_string(folder.join(name)).expect("a fixture")
}

/// A mesh of that root with two dataplanes.
fn files((root, form): (&str, &str)) -> [(String, String); 3] {
    let dataplane = |name: &str, service: &str| {
        format!(
            "type: Dataplane\nmesh: {root}\nname: {name}\nnetworking:\n  address: 127.0.0.1\n  \
             inbound: [{{port: 8080, tags: {{service: {service}}}}}]\n"
        )
    };
    [
        (
            format!("{root}/mesh.yaml"),
            format!("type: Mesh\nname: {root}\nmtls: {{enabled: true, ca: {{provided: {{}}}}}}\n"),
        ),
        (
            format!("{root}/ca.yaml"),
            provided_ca(
                root,
                "root",
                &fixture(&format!("{root}.crt")),
                &fixture(&format!("{root}.{form}")),
            ),
        ),
        (
            format!("{root}/dataplanes.yaml"),
            format!(
                "{}---\n{}",
                dataplane("dp-echo-1", "echo"),
                dataplane("dp-web-1", "web")
            ),
        ),
    ]
}

fn site(roots: &[(&str, &str)]) -> Site {
    let files: Vec<(String, String)> = roots.iter().copied().flat_map(files).collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect();
    Site::from_files(&files)
}

fn bytes(source: Option<DataSource>) -> Vec<u8> {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

/// The identity that the control plane gives to a dataplane, by one fetch.
fn identity(daemon: &Daemon, mesh: &str, name: &str) -> ClientIdentity {
    let token = daemon.token(name, mesh);
    let ca = fs::read(daemon.xds_ca()).expect("the CA of the daemon");
    let address = format!("https://{}", daemon.listeners().xds);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let response = runtime.block_on(async {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name("localhost");
        let channel = Channel::from_shared(address).unwrap();
        let channel = channel.tls_config(tls).unwrap().connect().await.unwrap();
        let mut request = Request::new(DiscoveryRequest {
            node: Some(Node {
                id: format!("{mesh}.{name}"),
                ..Node::default()
            }),
            resource_names: vec!["identity_cert".to_owned()],
            ..DiscoveryRequest::default()
        });
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.parse().unwrap());
        let mut client = SecretDiscoveryServiceClient::new(channel);
        client.fetch_secrets(request).await.unwrap().into_inner()
    });
    let secret = Secret::decode(response.resources[0].value.as_slice()).expect("a secret");
    let Some(Type::TlsCertificate(pair)) = secret.r#type else {
        panic!("{}", secret.name);
    };
    ClientIdentity {
        certificate: CertificateDer::from_pem_slice(&bytes(pair.certificate_chain)).unwrap(),
        key: PrivateKeyDer::from_pem_slice(&bytes(pair.private_key)).unwrap(),
    }
}

/// Checks both directions: the Envoy of `echo` shows a leaf of the mesh's root,
/// and lets in who has another leaf of it.
fn assert_serves(daemon: &Daemon, root: &str) {
    let mut envoy = Envoy::start(daemon, root, "dp-echo-1");
    let pem = fixture(&format!("{root}.crt"));
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let uris = wait::until(&format!("a chain to {root}"), || {
        envoy.assert_running();
        let shown = envoy
            .shown()
            .map_err(|error| format!("{error}\n{}", envoy.log()))?;
        verify(&shown, &certificate).map_err(|error| error.to_string())
    });
    assert_eq!(uris, [format!("spiffe://{root}/echo")]);
    let web = identity(daemon, root, "dp-web-1");
    let answer = envoy.ask(&web);
    assert!(
        answer.as_ref().is_ok_and(|text| text.ends_with("echo\n")),
        "{root}: {answer:?}\n{}",
        envoy.log()
    );
    for secret in ["identity_cert", "mesh_ca"] {
        let count = |what: &str| envoy.counter(&format!("sds.{secret}.{what}"));
        assert_eq!(count("update_rejected"), Ok(0), "{root} {secret}");
        assert_eq!(count("update_success"), Ok(1), "{root} {secret}");
    }
}

#[test]
pub(crate) fn envoy_takes_the_leaves_of_every_kind_of_provided_root() {
    let site = site(ROOTS);
    let daemon = site.start();
    for (root, _) in ROOTS {
        assert_serves(&daemon, root);
    }
    let stranger = identity(&daemon, "p256", "dp-web-1");
    let envoy = Envoy::start(&daemon, "p384", "dp-echo-1");
    wait::until("a certificate", || envoy.shown());
    let answer = envoy.ask(&stranger);
    assert!(answer.is_err(), "another mesh's leaf is let in: {answer:?}");
}

#[test]
pub(crate) fn envoy_takes_leaves_with_rsa_keys() {
    let site = site(&ROOTS[2..3]).set("WINDLASS_CA_LEAF_KEY", "rsa2048");
    let daemon = site.start();
    assert_serves(&daemon, "p256");
    let web = identity(&daemon, "p256", "dp-web-1");
    let key = web.key.secret_der();
    assert!(key.len() > 1000, "{} bytes are no RSA key", key.len());
}
