//! Who is on the other end: certificates on the wire, and who is turned away.

use std::net::TcpListener;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::network::{Network, permission};
use crate::support::echo::{Echo, Talk};
use crate::support::mesh_ca::{ClientIdentity, verify};
use crate::support::{MeshCa, echo, sds, tls, wait};

/// What the test offers as a service of the mesh, without an Envoy.
const WIRE: &str = "type: Dataplane\nmesh: demo\nname: dp-wire-1\n";

#[test]
pub(crate) fn strangers_are_refused_before_the_service_notices() {
    let mut network = Network::of(&["demo", "other"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    let inbound = network.inbound("backend");

    // Who is allowed gets in without an Envoy of its own.
    let own = sds::fetch(&network.daemon, "demo", "dp-web-1").expect("secrets of web");
    let own = ClientIdentity::from_pem(&own.leaf, &own.key);
    let mut talk = tls::open(&inbound, Some(&own))
        .and_then(Talk::over)
        .expect("web gets in");
    assert_eq!(talk.say("hello").as_deref(), Ok("backend of demo: hello"));
    let reached = |network: &Network| network.service("demo", "backend").accepted();
    let before = reached(&network);

    assert_eq!(echo::refuses_plaintext(&inbound), Ok(()));
    let nobody = tls::open(&inbound, None).and_then(Talk::over);
    assert!(
        nobody.is_err(),
        "without a certificate: {:?}",
        nobody.map(|talk| talk.greeting)
    );
    let foreign = sds::fetch(&network.daemon, "other", "dp-web-1").expect("secrets of another");
    let redis = sds::fetch(&network.daemon, "demo", "dp-redis-1").expect("secrets of redis");
    for (who, client) in [
        (
            "web of another mesh",
            ClientIdentity::from_pem(&foreign.leaf, &foreign.key),
        ),
        (
            "web of another root",
            MeshCa::for_mesh("demo").client("spiffe://demo/web"),
        ),
        (
            "redis, which may not",
            ClientIdentity::from_pem(&redis.leaf, &redis.key),
        ),
    ] {
        let answer = tls::open(&inbound, Some(&client)).and_then(Talk::over);
        assert!(
            answer.is_err(),
            "{who}: {:?}",
            answer.map(|talk| talk.greeting)
        );
    }
    assert_eq!(reached(&network), before, "the service was reached");
    network.wait_until_reached("demo", "backend");
}

#[test]
pub(crate) fn both_ends_prove_who_they_are_on_the_wire() {
    let mut network = Network::of(&["demo"]);
    let listener = TcpListener::bind((network.host.as_str(), 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let spare = Echo::start("never asked");
    let wire = format!(
        "{WIRE}networking:\n  address: {host}\n  inbound:\n    \
         - {{port: {port}, servicePort: {}, tags: {{service: wire}}}}\n",
        spare.port(),
        host = network.host,
    );
    let dataplanes = std::fs::read_to_string(network.site.repo.path().join("demo/dataplanes.yaml"))
        .expect("the dataplanes");
    let outbound = format!(
        "  outbound:\n    - {{address: {}, port: 12050, service: wire}}\n",
        network.host
    );
    let dataplanes = dataplanes.replacen("  outbound:\n", &outbound, 1);
    let allowed = permission("demo", "web", "wire");
    network.commit(
        &[
            ("demo/wire.yaml", Some(&wire)),
            ("demo/dataplanes.yaml", Some(&dataplanes)),
            ("demo/web-to-wire.yaml", Some(&allowed)),
        ],
        "a service on the wire",
    );
    network.start_proxies("demo");

    // The server is this test, as the service `wire`: it sees who web is.
    let own = sds::fetch(&network.daemon, "demo", "dp-wire-1").expect("secrets of wire");
    let server = tls::Server::new(listener, &own);
    let client = network.outbound(0, "wire");
    let asked = std::thread::spawn(move || echo::ask(&client, "hello"));
    let seen = server.answer_one("wire").expect("a handshake");
    assert_eq!(seen, ["spiffe://demo/web"]);
    assert_eq!(
        asked.join().expect("a client").as_deref(),
        Ok("wire: hello")
    );

    // A server with another identity of the same mesh is not believed.
    let impostor = sds::fetch(&network.daemon, "demo", "dp-redis-1").expect("secrets of redis");
    let server = server.with_identity(&impostor);
    let client = network.outbound(0, "wire");
    let asked = std::thread::spawn(move || echo::ask(&client, "hello"));
    let seen = server.answer_one("wire");
    assert!(seen.is_err(), "{seen:?}");
    drop(server);
    assert!(asked.join().expect("a client").is_err());

    // And what backend shows is its own, by the root of the mesh.
    let root = wait::until("the certificate of backend", || {
        let secrets = sds::fetch(&network.daemon, "demo", "dp-web-1")?;
        tls::certificate(&secrets.bundle)
    });
    let shown = tls::shown(&network.inbound("backend")).expect("a certificate");
    assert_eq!(
        verify(&shown, &root),
        Ok(vec!["spiffe://demo/backend".to_owned()])
    );
}

#[test]
pub(crate) fn no_session_is_resumed_past_a_permission_that_is_withdrawn() {
    let mut network = Network::of(&["demo"]);
    network.start_proxies("demo");
    network.wait_until_reached("demo", "backend");
    let inbound = network.inbound("backend");
    let own = sds::fetch(&network.daemon, "demo", "dp-web-1").expect("secrets of web");
    let own = ClientIdentity::from_pem(&own.leaf, &own.key);
    let clients = [&TLS12, &TLS13].map(|version| {
        let client = tls::Client::new(Some(&own), &[version]).expect("a client");
        for resumes in [false, true] {
            let mut talk = client.open(&inbound).and_then(Talk::over).expect("web");
            // With the answer, the tickets for the next one are there too.
            assert_eq!(talk.say("hello").as_deref(), Ok("backend of demo: hello"));
            let kind = talk.stream().conn.handshake_kind();
            assert_eq!(kind == Some(HandshakeKind::Resumed), resumes, "{kind:?}");
        }
        client
    });

    network.commit(&[("demo/web-to-backend.yaml", None)], "web may not");
    network.wait_until_denied("demo", "backend");
    let reached = network.service("demo", "backend").accepted();
    for client in clients {
        let answer = client.open(&inbound).and_then(Talk::over);
        assert!(
            answer.is_err(),
            "{:?}",
            answer.map(|talk| talk.stream().conn.handshake_kind())
        );
    }
    assert_eq!(network.service("demo", "backend").accepted(), reached);
}
