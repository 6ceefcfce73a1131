//! A password in the repository's URL stays there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{contains, files_below};
use crate::support::daemon::{condition, windlass};
use crate::support::{Daemon, Site, http};

/// As it is, and as it stands in a URL.
const PASSWORD: &str = "hunter2+Q7w@9z";
const ENCODED: &str = "hunter2+Q7w%409z";

static FORMS: LazyLock<[String; 4]> = LazyLock::new(|| {
    [
        PASSWORD.to_owned(),
        ENCODED.to_owned(),
        STANDARD.encode(format!("git:{PASSWORD}")),
        STANDARD.encode(format!("git:{ENCODED}")),
    ]
});

fn assert_unsaid(place: &str, said: &[u8]) {
    for form in FORMS.iter() {
        assert!(
            !contains(said, form.as_bytes()),
            "the password is in {place}: {}",
            String::from_utf8_lossy(said)
        );
    }
}

/// A server that lets nobody in, and counts who shows a password.
fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&shown);
    // Ends with the process of the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let basic = format!("Basic {}", FORMS[2]);
            counted.fetch_add(
                head.iter().filter(|line| line.ends_with(&basic)).count(),
                Ordering::SeqCst,
            );
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    (port, shown)
}

#[test]
fn the_password_of_the_source_is_in_no_status_log_error_or_file() {
    let (port, shown) = server();
    let closed = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for port in [port, closed] {
        let url = format!("http://git:{ENCODED}@127.0.0.1:{port}/policy.git");
        let site = Site::from_files(&[])
            .set("WINDLASS_SOURCE_REPO", &url)
            .set("WINDLASS_LOG", "trace");
        let mut daemon = Daemon::spawn(&site);
        daemon.wait_until_listening();
        let status = daemon.wait_until("the source to be unavailable", |status| {
            condition(&status["sources"][0], "Healthy")
                .is_some_and(|found| found["status"] == "False")
        });
        let message = condition(&status["sources"][0], "Healthy").unwrap()["message"].to_string();
        assert!(
            message.contains(&format!("127.0.0.1:{port}/policy.git")),
            "{message}"
        );
        assert_unsaid("/status", status.to_string().as_bytes());
        for (address, path) in [
            (&daemon.listeners().api, "/history"),
            (&daemon.listeners().api, "/state"),
            (&daemon.listeners().api, "/catalog"),
            (&daemon.listeners().diagnostics, "/ready"),
            (&daemon.listeners().diagnostics, "/metrics"),
        ] {
            assert_unsaid(path, http::get(address, path).unwrap().body.as_bytes());
        }
        let printed = daemon.cli(&["status"]).output().unwrap();
        assert_unsaid("windlass status", &printed.stdout);
        let log = daemon.log();
        assert!(
            log.contains("reconciliation failed"),
            "this log proves nothing"
        );
        assert!(daemon.terminate().success());
        for (path, bytes) in files_below(&site.state_dir()) {
            assert_unsaid(&path, &bytes);
        }
        let plan = windlass()
            .args(["plan", "--base", "HEAD", "--repo", &url])
            .output()
            .unwrap();
        assert_eq!(plan.status.code(), Some(1));
        assert_unsaid("windlass plan", &[plan.stdout, plan.stderr].concat());
    }
    assert!(
        shown.load(Ordering::SeqCst) > 0,
        "the password was not used"
    );
}
