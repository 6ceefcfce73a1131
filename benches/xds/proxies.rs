//! The proxies: what an Envoy says over incremental ADS, without the Envoy.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic_prost::ProstCodec;
use windlass::xds::resource::ResourceType;

use crate::link::{Ask, Said, Setup, now};

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// How many connect at a time.
const AT_ONCE: usize = 64;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_mins(5);

/// A response, of which a proxy that does nothing has to know no more.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Named>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "3")]
    name: String,
}

/// What all proxies count together.
#[derive(Default)]
struct Counts {
    configured: AtomicUsize,
    listeners: AtomicUsize,
    expected: AtomicUsize,
}

/// Does what is asked on standard input.
pub(crate) async fn run() {
    let mut lines = std::io::stdin().lines();
    let mut read = || lines.next().map(|line| line.expect("a line"));
    let setup: Setup = serde_json::from_str(&read().expect("a setup")).expect("a setup");
    let setup = Arc::new(setup);
    let counts = Arc::new(Counts::default());
    while let Some(line) = read() {
        match serde_json::from_str(&line).expect("what is asked") {
            Ask::Connect => say(&Said::Took(connect(&setup, &counts).await)),
            Ask::Expect(count) => {
                counts.expected.store(count, Ordering::SeqCst);
                counts.listeners.store(0, Ordering::SeqCst);
                say(&Said::Ready);
            }
            Ask::Count => say(&Said::Told(counts.listeners.load(Ordering::SeqCst))),
        }
    }
    // The server is measured, not how its clients leave.
    std::process::exit(0);
}

#[allow(clippy::print_stdout, reason = "the pipe to the other process")]
fn say(said: &Said) {
    println!("{}", serde_json::to_string(said).expect("JSON"));
    std::io::stdout()
        .flush()
        .expect("the other process listens");
}

async fn connect(setup: &Arc<Setup>, counts: &Arc<Counts>) -> Duration {
    let start = now();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    for index in 0..setup.proxies.len() {
        let slot = slots.clone().acquire_owned().await.expect("a slot");
        let (setup, counts) = (Arc::clone(setup), Arc::clone(counts));
        tokio::spawn(async move {
            let mut proxy = Proxy::connect(&setup, index).await;
            while !proxy.is_configured() {
                proxy.answer_next(&counts).await;
            }
            counts.configured.fetch_add(1, Ordering::SeqCst);
            drop(slot);
            loop {
                proxy.answer_next(&counts).await;
            }
        });
    }
    let all = async {
        while counts.configured.load(Ordering::SeqCst) < setup.proxies.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, all).await;
    waited.expect("all proxies to be configured");
    now().saturating_sub(start)
}

struct Proxy {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: tonic::Streaming<Answer>,
    has_certificate: bool,
    has_listeners: bool,
}

impl Proxy {
    async fn connect(setup: &Setup, index: usize) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&setup.ca_pem))
            .domain_name("localhost");
        let channel = Channel::from_shared(format!("https://127.0.0.1:{}", setup.port))
            .expect("an address")
            .tls_config(tls)
            .expect("a TLS configuration")
            .connect()
            .await
            .expect("a connection");
        let (node, token) = &setup.proxies[index];
        let (requests, receiver) = mpsc::channel(8);
        let secrets = [ResourceType::Secret.type_url(), "mesh_ca", "identity_cert"];
        let mut first = subscribe(secrets[0], &secrets[1..]);
        first.node = Some(Node {
            id: node.clone(),
            ..Node::default()
        });
        for request in [
            first,
            subscribe(ResourceType::Cluster.type_url(), &[]),
            subscribe(ResourceType::Listener.type_url(), &[]),
        ] {
            requests.send(request).await.expect("an open stream");
        }
        let mut request = Request::new(ReceiverStream::new(receiver));
        let token = token.parse().expect("a token");
        request.metadata_mut().insert("authorization", token);
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.expect("a connection");
        let codec = ProstCodec::<DeltaDiscoveryRequest, Answer>::default();
        let answers = grpc
            .streaming(request, PATH.parse().expect("a path"), codec)
            .await
            .expect("a stream")
            .into_inner();
        Self {
            requests,
            answers,
            has_certificate: false,
            has_listeners: false,
        }
    }

    fn is_configured(&self) -> bool {
        self.has_certificate && self.has_listeners
    }

    /// Acknowledges the next response, and asks for the endpoints of new clusters.
    async fn answer_next(&mut self, counts: &Counts) {
        let answer = self.answers.message().await.expect("an open stream");
        let answer = answer.expect("an open stream");
        let kind = ResourceType::from_type_url(&answer.type_url).expect("a type");
        match kind {
            ResourceType::Listener => {
                self.has_listeners = true;
                let count = counts.listeners.fetch_add(1, Ordering::SeqCst) + 1;
                if count == counts.expected.load(Ordering::SeqCst) {
                    say(&Said::At(now()));
                }
            }
            ResourceType::Secret => {
                let is_leaf = |resource: &Named| resource.name == "identity_cert";
                self.has_certificate |= answer.resources.iter().any(is_leaf);
            }
            _ => {}
        }
        self.send(DeltaDiscoveryRequest {
            type_url: answer.type_url,
            response_nonce: answer.nonce,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
        if kind == ResourceType::Cluster {
            // The others are this proxy's own service, at a fixed address.
            let names = answer.resources.iter().map(|cluster| cluster.name.as_str());
            let names: Vec<&str> = names.filter(|name| !name.contains(':')).collect();
            if !names.is_empty() {
                self.send(subscribe(ResourceType::Endpoints.type_url(), &names))
                    .await;
            }
        }
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.expect("an open stream");
    }
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|&name| name.to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}
