//! Clients that are slow, stuck or many, and the end of the servers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

use super::control_plane::{Answer, ControlPlane, get};

const BODY: &str = r#"{"name": "a", "mesh": "b"}"#;

fn begin_token_request(cp: &ControlPlane) -> TcpStream {
    let mut stream = TcpStream::connect(cp.admin).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    let (host, length) = (cp.admin, BODY.len());
    let head = format!(
        "POST /tokens HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn stopped(cp: &mut ControlPlane) {
    for server in std::mem::take(&mut cp.servers) {
        cp.runtime.block_on(async {
            let ended = timeout(Duration::from_secs(20), server).await;
            ended.expect("the server ends").unwrap();
        });
    }
}

#[test]
fn a_request_under_way_is_answered_before_the_server_ends() {
    let mut cp = ControlPlane::start();
    let mut stream = begin_token_request(&cp);
    cp.shutdown.cancel();
    stream.write_all(BODY.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(Answer::parse(&text).status, 200);
    stopped(&mut cp);
    assert!(TcpStream::connect(cp.admin).is_err());
}

#[test]
fn a_client_that_is_stuck_does_not_keep_the_server_from_ending() {
    let mut cp = ControlPlane::start();
    let mut stuck = begin_token_request(&cp);
    let _idle = TcpStream::connect(cp.api).unwrap();
    assert_eq!(get(cp.api, "/catalog").status, 200);
    cp.shutdown.cancel();
    stopped(&mut cp);
    assert!(matches!(stuck.read(&mut [0; 16]), Ok(0) | Err(_)));
}

/// Time jumps to the next deadline whenever nothing else is left to do.
#[test]
fn a_client_that_does_not_finish_its_headers_is_cut_off() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let cp = ControlPlane::on(runtime.unwrap());
    cp.runtime.block_on(async {
        let start = Instant::now();
        let mut stream = tokio::net::TcpStream::connect(cp.api).await.unwrap();
        stream.write_all(b"GET /catalog HT").await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        assert!(start.elapsed() <= Duration::from_secs(11));
    });
}

/// As is one that stays connected without a request.
#[test]
fn an_idle_connection_is_closed() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let cp = ControlPlane::on(runtime.unwrap());
    cp.runtime.block_on(async {
        let start = Instant::now();
        let mut stream = tokio::net::TcpStream::connect(cp.api).await.unwrap();
        let request = format!("GET /catalog HTTP/1.1\r\nHost: {}\r\n\r\n", cp.api);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(start.elapsed() <= Duration::from_secs(25));
    });
}

#[test]
fn clients_that_leave_give_their_place_back() {
    let cp = ControlPlane::start();
    let idle: Vec<_> = (0..256)
        .map(|_| TcpStream::connect(cp.api).unwrap())
        .collect();
    // Every place is taken; they are left, and the next client is served.
    let waiting = std::thread::spawn({
        let api = cp.api;
        move || get(api, "/catalog").status
    });
    drop(idle);
    assert_eq!(waiting.join().unwrap(), 200);
}
