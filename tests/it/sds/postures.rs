//! A real Envoy through every posture, up and down, under constant connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, block_in_place};
use windlass::dataplane::bootstrap::{AdminAddress, BootstrapParams, Protocol, bootstrap_over};
use windlass::model::Posture;

use super::harness::{DEADLINE, Site};
use crate::support::echo::Echo;
use crate::support::{Envoy, wait};

/// A new connection every so often.
const PAUSE: Duration = Duration::from_millis(5);

/// What clients have seen.
#[derive(Default)]
struct Seen {
    /// Connections that were answered.
    answered: AtomicU64,
    /// Connections that lasted until the proxy closed them.
    ended: AtomicU64,
    /// That one of these has risen.
    more: Notify,
}

/// Opens a connection, says something and waits for the answer.
async fn ask(address: &str) -> std::io::Result<BufReader<TcpStream>> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(b"hello\n").await?;
    for expected in ["this is web\n", "web: hello\n"] {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if line != expected {
            return Err(std::io::Error::other(format!("{line:?}")));
        }
    }
    Ok(stream)
}

/// Asks and asks; each time within the deadline, or it is a failure.
async fn many(address: Arc<str>, seen: Arc<Seen>) {
    let mut ticks = tokio::time::interval(PAUSE);
    let mut asked = JoinSet::new();
    loop {
        ticks.tick().await;
        let (address, seen) = (address.clone(), seen.clone());
        asked.spawn(async move {
            let answer = tokio::time::timeout(DEADLINE, ask(&address)).await;
            drop(answer.expect("an answer in time").expect("an answer"));
            seen.answered.fetch_add(1, Ordering::SeqCst);
            seen.more.notify_one();
        });
        while let Some(result) = asked.try_join_next() {
            result.expect("a connection");
        }
    }
}

/// Keeps one connection, and opens the next as soon as it ends.
async fn long(address: Arc<str>, seen: Arc<Seen>) {
    loop {
        let mut stream = ask(&address).await.expect("a long-lived connection");
        let mut line = String::new();
        let end = stream.read_line(&mut line).await;
        assert_eq!(end.expect("an end without a reset"), 0, "{line}");
        seen.ended.fetch_add(1, Ordering::SeqCst);
        seen.more.notify_one();
    }
}

struct Case {
    site: Site,
    envoy: Envoy,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

impl Case {
    /// The proxy of `loop`, which calls itself.
    async fn start() -> Self {
        let pid = std::process::id();
        let host = format!("127.200.{}.{}", (pid >> 8) & 255, pid & 255);
        let echo = Echo::start("web");
        let mut site = Site::start().await;
        site.mesh.progress.posture = Posture::Plaintext;
        let web = json!([{"match": {"service": "web"}}]);
        site.mesh.besides = vec![
            json!({"type": "Dataplane", "mesh": "demo", "name": "loop", "networking": {
                "address": host,
                "inbound": [{"port": 11031, "servicePort": echo.port(), "tags": {"service": "web"}}],
                "outbound": [{"address": host, "port": 12031, "service": "web"}],
            }}),
            json!({"type": "TrafficPermission", "mesh": "demo", "name": "web-to-web",
                   "sources": web, "destinations": web}),
        ];
        // Whoever else offers it is not there.
        site.mesh.dataplanes.clear();
        site.publish();
        let (token, xds) = (site.token("loop"), site.address.to_string());
        let ca_pem = site.ca_pem.clone();
        let envoy = block_in_place(|| {
            Envoy::with_bootstrap(&token, |token_path| {
                bootstrap_over(
                    Protocol::Delta,
                    &BootstrapParams {
                        mesh: "demo",
                        name: "loop",
                        admin: Some(AdminAddress::Port(0)),
                        token_path,
                        xds: &xds,
                        ca_pem: &ca_pem,
                        drain_seconds: Some(1),
                    },
                )
            })
        });
        let mut case = Self {
            site,
            envoy,
            seen: Arc::default(),
            clients: Vec::new(),
        };
        let address: Arc<str> = format!("{host}:12031").into();
        case.wait_for("listener_manager.total_listeners_active", 2);
        while ask(&address).await.is_err() {}
        let seen = &case.seen;
        case.clients
            .push(tokio::spawn(many(address.clone(), seen.clone())));
        for _ in 0..3 {
            let client = long(address.clone(), seen.clone());
            case.clients.push(tokio::spawn(client));
        }
        case
    }

    fn wait_for(&mut self, counter: &str, expected: u64) {
        let envoy = &mut self.envoy;
        block_in_place(|| {
            wait::until(counter, || {
                envoy.assert_running();
                match envoy.counter(counter)? {
                    found if found == expected => Ok(()),
                    found => Err(format!("{found}, not {expected}\n{}", envoy.log())),
                }
            });
        });
    }

    fn count(&self, counter: &str) -> u64 {
        block_in_place(|| self.envoy.counter(counter)).unwrap()
    }

    /// Publishes and waits until Envoy has changed so many listeners (in place)
    /// and clusters since it started, and clients have been answered since.
    async fn change(&mut self, listeners: u64, in_place: u64, clusters: u64) {
        self.site.publish();
        self.wait_for("listener_manager.listener_modified", listeners);
        self.wait_for("listener_manager.listener_in_place_updated", in_place);
        self.wait_for("cluster_manager.cluster_modified", clusters);
        self.wait_for("listener_manager.total_listeners_warming", 0);
        self.wait_for("cluster_manager.warming_clusters", 0);
        self.wait_for("listener_manager.total_filter_chains_draining", 0);
        self.wait_for("listener_manager.total_listeners_draining", 0);
        let before = self.seen.answered.load(Ordering::SeqCst);
        self.wait_until(|seen| seen.answered.load(Ordering::SeqCst) >= before + 100)
            .await;
        for counter in [
            "listener_manager.lds.update_rejected",
            "cluster_manager.cds.update_rejected",
        ] {
            assert_eq!(self.count(counter), 0, "{}", self.envoy.log());
        }
    }

    async fn posture(&mut self, posture: Posture, changed: [u64; 3]) {
        self.site.mesh.progress.posture = posture;
        let [listeners, in_place, clusters] = changed;
        self.change(listeners, in_place, clusters).await;
    }

    async fn wait_until(&mut self, is_seen: impl Fn(&Seen) -> bool) {
        let waiting = async {
            while !is_seen(&self.seen) {
                for client in &mut self.clients {
                    if client.is_finished() {
                        client.await.expect("a client that goes on");
                    }
                }
                self.seen.more.notified().await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    }

    fn plaintext(&self) -> u64 {
        self.count("tcp.inbound_plaintext.web.downstream_cx_total")
    }

    fn ended(&self) -> u64 {
        self.seen.ended.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_fails_through_every_posture_up_and_down_and_a_drain() {
    let mut case = Case::start().await;
    case.posture(Posture::Identified, [0, 0, 0]).await;
    case.posture(Posture::Permissive, [1, 0, 0]).await;
    case.posture(Posture::Encrypting, [1, 0, 1]).await;
    assert!(case.plaintext() > 100);
    let ended = case.ended();
    case.posture(Posture::Strict, [2, 1, 1]).await;
    case.wait_until(|seen| seen.ended.load(Ordering::SeqCst) == ended + 3)
        .await;

    // Connections end once they were authenticated before the drain.
    case.site.mesh.progress.drained = 1;
    case.change(3, 2, 1).await;
    case.wait_until(|seen| seen.ended.load(Ordering::SeqCst) == ended + 6)
        .await;
    // And go on when nothing but plaintext is let in besides.
    case.posture(Posture::Encrypting, [4, 3, 1]).await;
    // What was counted before went with the chain.
    assert_eq!(case.plaintext(), 0, "all of it is encrypted");
    case.posture(Posture::Permissive, [4, 3, 2]).await;
    assert_eq!(case.ended(), ended + 6);
    case.posture(Posture::Identified, [5, 3, 2]).await;
    case.posture(Posture::Plaintext, [5, 3, 2]).await;
    case.wait_until(|seen| seen.ended.load(Ordering::SeqCst) == ended + 9)
        .await;
    for client in &case.clients {
        client.abort();
    }
}
