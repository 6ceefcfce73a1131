//! Clients that never stop, and count.

use std::fmt;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::echo::Talk;

/// How many clients open connections.
const CLIENTS: u32 = 32;
/// How often each opens one.
const INTERVAL: Duration = Duration::from_millis(128);
/// How many connections are held open.
pub(super) const HELD: u32 = 6;
/// How long a held connection is quiet between two lines.
const QUIET: Duration = Duration::from_millis(300);
/// The most failures that are told in full.
const TOLD: usize = 20;

/// Clients of one address: each new connection is greeted, says a line and
/// hears the answer, or is a failure.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    started: Instant,
    clients: Vec<JoinHandle<()>>,
}

/// How a client connects.
type Dial = fn(&str) -> Result<Talk<TcpStream>, String>;

/// One client.
struct Client {
    dial: Dial,
    address: String,
    name: String,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

impl Client {
    fn dial(&self) -> Result<Talk<TcpStream>, String> {
        (self.dial)(&self.address)
    }

    fn is_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn hears(&self, answer: &str, line: &str) -> bool {
        answer == format!("{}: {line}", self.name)
    }
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    said: AtomicU64,
    ended: AtomicU64,
    cut: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// Connections that were opened for one line each.
    pub(super) opened: u64,
    /// Lines that held connections said and heard the answer of.
    pub(super) said: u64,
    /// Held connections that the proxies ended while they were quiet; each was
    /// opened anew at once.
    pub(super) ended: u64,
    /// Held connections that the proxies ended while a line was on its way: it
    /// was said again on a new one. Nothing tells a TCP client beforehand.
    pub(super) cut: u64,
    /// Connections and lines that failed.
    pub(super) failed: u64,
    /// Connections opened in a second.
    pub(super) rate: f64,
    failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections opened ({:.0}/s), {} lines on held ones, of which {} were ended \
             quiet and {} with a line on its way; {} failed",
            self.opened, self.rate, self.said, self.ended, self.cut, self.failed
        )?;
        self.failures
            .iter()
            .try_for_each(|it| write!(f, "\n  {it}"))
    }
}

impl Report {
    /// Checks that nothing failed and that there was enough of it. How many held
    /// connections may end is for those to say who know of the drains.
    pub(super) fn assert_flawless(&self) {
        assert_eq!(self.failed, 0, "{self}");
        assert!(self.rate >= 200.0, "too slow to prove anything: {self}");
        assert!(self.said > 0, "no connection was held: {self}");
    }
}

impl Load {
    /// Starts clients of `address`, which answers lines with `<name>: <line>`.
    pub(super) fn start(address: &str, name: &str) -> Self {
        Self::of((CLIENTS, HELD), Talk::open, address, name)
    }

    /// The same of a service that does not greet.
    pub(super) fn on_silent(address: &str, name: &str) -> Self {
        Self::of((CLIENTS, HELD), Talk::dial, address, name)
    }

    /// The same with so few that several are no burden.
    pub(super) fn light(address: &str, name: &str) -> Self {
        Self::of((1, 1), Talk::open, address, name)
    }

    fn of((openers, holders): (u32, u32), dial: Dial, address: &str, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let started = Instant::now();
        let client = |work: fn(&Client, Instant), first: Instant| {
            let client = Client {
                dial,
                address: address.to_owned(),
                name: name.to_owned(),
                stop: Arc::clone(&stop),
                counts: Arc::clone(&counts),
            };
            thread::spawn(move || work(&client, first))
        };
        let openers = (0..openers).map(|index| client(open, started + INTERVAL * index / CLIENTS));
        let holders = (0..holders).map(|index| client(hold, started + QUIET * index / HELD));
        let clients = openers.chain(holders).collect();
        Self {
            stop,
            counts,
            started,
            clients,
        }
    }

    /// How it goes.
    pub(super) fn report(&self) -> Report {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let opened = get(&self.counts.opened);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = opened as f64 / self.started.elapsed().as_secs_f64();
        Report {
            opened,
            said: get(&self.counts.said),
            ended: get(&self.counts.ended),
            cut: get(&self.counts.cut),
            failed: get(&self.counts.failed),
            rate,
            failures: self.counts.failures.lock().unwrap().clone(),
        }
    }

    /// Stops every client, and says how it went.
    pub(super) fn finish(mut self) -> Report {
        let report = self.report();
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client");
        }
        report
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Counts {
    fn fail(&self, started: Instant, what: &str, reason: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < TOLD {
            let at = started.elapsed().as_secs_f64();
            failures.push(format!("after {at:.3} s {what}: {reason}"));
        }
    }
}

/// Opens one connection after the other at its pace.
fn open(client: &Client, first: Instant) {
    let mut at = first;
    while client.is_on() {
        thread::park_timeout(at.saturating_duration_since(Instant::now()));
        at += INTERVAL;
        let answer = client.dial().and_then(|mut talk| talk.say("hello"));
        client.counts.opened.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(answer) if client.hears(&answer, "hello") => {}
            other => {
                let reason = format!("{other:?}");
                client.counts.fail(first, "a new connection", &reason);
            }
        }
    }
}

/// Holds one connection, and says a line now and then.
fn hold(client: &Client, first: Instant) {
    thread::park_timeout(first.saturating_duration_since(Instant::now()));
    let counts = &client.counts;
    let mut open: Option<Talk<_>> = None;
    while client.is_on() {
        let was_open = open.is_some();
        let mut talk = match open.take().map_or_else(|| client.dial(), Ok) {
            Ok(talk) => talk,
            Err(reason) => {
                counts.fail(first, "a held connection", &reason);
                continue;
            }
        };
        match talk.say("still here") {
            Ok(answer) if client.hears(&answer, "still here") => {
                counts.said.fetch_add(1, Ordering::Relaxed);
            }
            // Only one that was held before; and the next one has to do.
            Err(_) if was_open => {
                counts.cut.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            other => {
                let reason = format!("{other:?}");
                counts.fail(first, "a line on a held connection", &reason);
                continue;
            }
        }
        match talk.is_ended_within(QUIET) {
            Ok(true) => {
                counts.ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok(false) => open = Some(talk),
            Err(reason) => counts.fail(first, "a quiet connection", &reason),
        }
    }
}
