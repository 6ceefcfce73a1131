//! The pipe between the server's process and the proxies'.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PROXIES;
use crate::server::Server;

/// What the proxies have to know.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The port of the server.
    pub(crate) port: u16,
    /// The CA of its certificate, as PEM.
    pub(crate) ca_pem: String,
    /// Node ids and tokens.
    pub(crate) proxies: Vec<(String, String)>,
}

/// What the proxies are asked.
#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Connect all; answered with [`Said::Took`] once all are configured.
    Connect,
    /// Count from 0; answered with [`Said::Ready`] at once and with
    /// [`Said::At`] when so many listener updates have come.
    Expect(usize),
    /// Answered with [`Said::Told`].
    Count,
}

/// What the proxies answer.
#[derive(Serialize, Deserialize)]
pub(crate) enum Said {
    Took(Duration),
    Ready,
    /// Time since the epoch.
    At(Duration),
    Told(usize),
}

/// The time, which both processes share.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Duration {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.expect("a clock that is set")
}

/// The process of the proxies.
pub(crate) struct Proxies {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Proxies {
    pub(crate) fn start(server: &Server) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program)
            .arg(PROXIES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut asks = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        write_line(&mut asks, &server.setup());
        Self {
            child,
            asks,
            answers,
        }
    }

    pub(crate) fn connect(&mut self) -> Duration {
        write_line(&mut self.asks, &Ask::Connect);
        match self.read() {
            Said::Took(duration) => duration,
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn expect(&mut self, count: usize) {
        write_line(&mut self.asks, &Ask::Expect(count));
        assert!(matches!(self.read(), Said::Ready), "another answer");
    }

    pub(crate) fn reached(&mut self) -> Duration {
        match self.read() {
            Said::At(time) => time,
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn told(&mut self) -> usize {
        write_line(&mut self.asks, &Ask::Count);
        match self.read() {
            Said::Told(count) => count,
            _ => panic!("another answer"),
        }
    }

    pub(crate) fn stop(mut self) {
        drop(self.asks);
        self.child.wait().expect("the second process ends");
    }

    fn read(&mut self) -> Said {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("an answer of this program")
    }
}

fn write_line(to: &mut impl Write, value: &impl Serialize) {
    let mut line = serde_json::to_vec(value).expect("JSON");
    line.push(b'\n');
    to.write_all(&line).expect("the second process listens");
    to.flush().expect("the second process listens");
}
