//! Who reaches the ports, and what one client can do to others.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Daemon, Site, http, sds};

/// The addresses at which a process listens, out of `/proc`.
fn listening(pid: u32) -> BTreeSet<SocketAddr> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        sockets.extend(
            target
                .strip_prefix("socket:[")
                .map(|id| id.trim_end_matches(']').to_owned()),
        );
    }
    let mut listening = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Local address, state (0A listens), inode.
            let (local, state, inode) = (words[1], words[3], words[9]);
            if state == "0A" && sockets.contains(inode) {
                assert_eq!(table, "tcp", "listens on IPv6: {line}");
                let (host, port) = local.split_once(':').unwrap();
                let host = u32::from_str_radix(host, 16).unwrap().swap_bytes();
                let port = u16::from_str_radix(port, 16).unwrap();
                listening.insert(SocketAddr::from((host.to_be_bytes(), port)));
            }
        }
    }
    listening
}

#[test]
fn every_listener_is_on_loopback_unless_asked_for_elsewhere() {
    // The site sets ports and no interface.
    let site = Site::from_examples();
    let daemon = site.start();
    let bound = daemon.listeners();
    let told = [&bound.api, &bound.admin, &bound.xds, &bound.diagnostics];
    let told: BTreeSet<SocketAddr> = told
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    assert_eq!(told.len(), 4);
    assert!(
        told.iter().all(|address| address.ip().is_loopback()),
        "{told:?}"
    );
    assert_eq!(listening(daemon.pid()), told, "there is another listener");
}

fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    // A server that refuses may close before all is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn assert_alive(daemon: &Daemon, what: &str) {
    daemon
        .status()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let healthy = http::get(&daemon.listeners().diagnostics, "/healthy");
    healthy.and_then(http::Answer::ok).unwrap();
    let secrets = sds::fetch(daemon, "default", "dp-echo-1");
    assert!(
        secrets.unwrap_or_default().leaf.contains("CERTIFICATE"),
        "{what}"
    );
}

#[test]
fn a_web_page_gets_no_token_and_a_large_body_is_refused() {
    let site = Site::from_examples();
    let daemon = site.start();
    let admin = &daemon.listeners().admin;
    let post = |lines: &str, body: &str| {
        let head = format!("POST /tokens HTTP/1.1\r\nConnection: close\r\n{lines}");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        exchange(admin, request.as_bytes())
    };
    let body = r#"{"name": "dp-echo-1", "mesh": "default"}"#;
    let own = format!("Host: {admin}\r\n");
    assert!(post(&own, body).starts_with("HTTP/1.1 200"));
    for (lines, status) in [
        (
            format!("{own}Origin: http://evil.example\r\nContent-Type: text/plain\r\n"),
            "403",
        ),
        (format!("{own}Origin: null\r\n"), "403"),
        ("Host: rebound.example\r\n".to_owned(), "421"),
    ] {
        let answer = post(&lines, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{lines}: {answer}"
        );
        assert!(!answer.contains("eyJ"), "{lines}: a token was given");
    }
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(10 << 20));
    let answer = post(&own, &large);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    let endless = format!("GET /{} HTTP/1.1\r\n{own}\r\n", "x".repeat(10 << 20));
    for address in [
        admin,
        &daemon.listeners().api,
        &daemon.listeners().diagnostics,
    ] {
        let answer = exchange(address, endless.as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    assert_alive(&daemon, "after large requests");
}

#[test]
fn slow_and_silent_clients_of_every_port_do_not_hold_up_others() {
    let site = Site::from_examples();
    let daemon = site.start();
    let bound = daemon.listeners();
    let mut open = Vec::new();
    for address in [&bound.api, &bound.admin, &bound.diagnostics, &bound.xds] {
        for number in 0..100 {
            let mut stream = TcpStream::connect(address).unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET /status HTTP/1.1\r\nHo").unwrap(),
                // The beginning of a TLS record that never comes.
                _ => stream.write_all(b"\x16\x03\x01\x40\x00\x01").unwrap(),
            }
            open.push(stream);
        }
    }
    assert_alive(&daemon, "beside slow clients");
    drop(open);
    assert_alive(&daemon, "after slow clients");
}
