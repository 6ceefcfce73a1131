//! The xDS port: TLS and nothing else, whatever is thrown at it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rand::{RngCore as _, SeedableRng};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::support::{Daemon, Site, sds};

/// A TLS record that holds an alert (RFC 8446 5.1).
const ALERT: u8 = 21;
/// A TLS record of the handshake.
const HANDSHAKE: u8 = 22;
/// The alert `protocol_version` (RFC 8446 6.2).
const PROTOCOL_VERSION: u8 = 70;

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(&daemon.listeners().xds).unwrap();
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// All that the server answers to these bytes until it closes.
fn answer(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(daemon);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn tls(
    daemon: &Daemon,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> Result<StreamOwned<ClientConnection, TcpStream>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(daemon.xds_ca()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(daemon));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A ClientHello of TLS 1.0, 1.1 or 1.2 (minor 1, 2, 3).
fn client_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; ECDHE-ECDSA with AES in its modes GCM and CBC; no compression.
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x09, 1, 0]);
    // Extensions: P-256 as the group, uncompressed points, ECDSA with SHA-256.
    body.extend([0, 22, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0]);
    body.extend([0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[test]
fn only_tls_1_2_and_1_3_are_spoken() {
    let site = Site::from_examples();
    let daemon = site.start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        tls(&daemon, version, b"h2").unwrap();
        assert!(tls(&daemon, version, b"http/1.1").is_err(), "no HTTP/2");
    }
    for minor in [1, 2] {
        let answer = answer(&daemon, &client_hello(minor));
        assert_eq!(
            answer.first(),
            Some(&ALERT),
            "TLS 1.{}: {answer:?}",
            minor - 1
        );
        assert_eq!(answer.last(), Some(&PROTOCOL_VERSION), "{answer:?}");
    }
    // It is the version and nothing else: TLS 1.2 gets an answer.
    let answer = answer(&daemon, &client_hello(3));
    assert_eq!(answer.first(), Some(&HANDSHAKE), "{answer:?}");
}

#[test]
fn a_client_without_tls_is_refused() {
    let site = Site::from_examples();
    let daemon = site.start();
    for request in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice(),
        b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = answer(&daemon, request);
        // Not a byte of HTTP: nothing, or an alert of TLS.
        assert!(answer.is_empty() || answer[0] == ALERT, "{answer:?}");
        assert!(answer.len() < 16, "{answer:?}");
    }
}

#[test]
fn garbage_on_the_port_and_inside_of_tls_disturbs_nobody() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    let mut noise = vec![0; 1 << 14];
    for round in 0..60 {
        rng.fill_bytes(&mut noise);
        match round % 3 {
            0 => {}
            // What begins like a handshake, and like a record of data.
            1 => noise[..6].copy_from_slice(b"\x16\x03\x01\x02\x00\x01"),
            _ => noise[..5].copy_from_slice(b"\x17\x03\x03\x40\x00"),
        }
        let answer = answer(&daemon, &noise);
        assert!(answer.is_empty() || answer[0] == ALERT, "{answer:?}");
    }
    for round in 0..20 {
        let mut stream = tls(&daemon, &rustls::version::TLS13, b"h2").unwrap();
        rng.fill_bytes(&mut noise);
        if round % 2 == 0 {
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        let _ = stream.write_all(&noise).and_then(|()| stream.flush());
        // The server ends it, with a GOAWAY or without.
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let kind = ended.as_ref().err().map(std::io::Error::kind);
        assert_ne!(kind, Some(std::io::ErrorKind::WouldBlock), "it stays open");
    }
    let secrets = sds::fetch(&daemon, "default", "dp-echo-1").unwrap();
    assert!(secrets.leaf.contains("CERTIFICATE"));
}
