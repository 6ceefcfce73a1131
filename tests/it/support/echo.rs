//! Services behind proxies, and their clients: lines over plain TCP.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long one line may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A TCP server that greets with its name and answers every line with its name and the line.
pub(crate) struct Echo {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Echo {
    /// Starts one on a free port of 127.0.0.1. It ends with the process.
    pub(crate) fn start(name: &str) -> Self {
        Self::of(name, true)
    }

    /// The same without a greeting: the client speaks first.
    pub(crate) fn silent(name: &str) -> Self {
        Self::of(name, false)
    }

    fn of(name: &str, greets: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (name, count) = (name.to_owned(), Arc::clone(&accepted));
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let name = name.clone();
                // A client that goes away ends its thread.
                thread::spawn(move || serve(&name, greets, &stream?));
            }
        });
        Self { address, accepted }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections have reached it.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

fn serve(name: &str, greets: bool, mut stream: &TcpStream) -> std::io::Result<()> {
    if greets {
        writeln!(stream, "this is {name}")?;
    }
    for line in BufReader::new(stream).lines() {
        writeln!(stream, "{name}: {}", line?)?;
    }
    Ok(())
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Talk<S: Read + Write> {
    stream: BufReader<S>,
    /// What the server said first.
    pub(crate) greeting: String,
}

impl Talk<TcpStream> {
    /// Connects over plain TCP and waits for the greeting.
    pub(crate) fn open(address: &str) -> Result<Self, String> {
        let mut talk = Self::dial(address)?;
        talk.greeting = talk.line()?;
        Ok(talk)
    }

    /// Connects over plain TCP to who does not greet.
    pub(crate) fn dial(address: &str) -> Result<Self, String> {
        let address: SocketAddr = address.parse().expect("an address");
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(words)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(words)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(words)?;
        Ok(Self {
            stream: BufReader::new(stream),
            greeting: String::new(),
        })
    }

    /// Is quiet for that long, or until the other end has closed; returns
    /// whether it has.
    pub(crate) fn is_ended_within(&mut self, quiet: Duration) -> Result<bool, String> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(quiet)).map_err(words)?;
        let heard = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(TIMEOUT)).map_err(words)?;
        match heard {
            Ok(0) => Ok(true),
            Ok(_) => Err("it said something by itself".to_owned()),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(words(error)),
        }
    }

    /// Waits until the other end has closed, which a proxy does within its drain time.
    pub(crate) fn wait_until_closed(mut self, limit: Duration) -> Result<(), String> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(limit)).map_err(words)?;
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            other => Err(format!("still open: {other:?}")),
        }
    }
}

impl<S: Read + Write> Talk<S> {
    /// Waits for the greeting on a connection.
    pub(crate) fn over(stream: S) -> Result<Self, String> {
        let mut talk = Self {
            stream: BufReader::new(stream),
            greeting: String::new(),
        };
        talk.greeting = talk.line()?;
        Ok(talk)
    }

    /// Says a line and returns the answer.
    pub(crate) fn say(&mut self, line: &str) -> Result<String, String> {
        writeln!(self.stream.get_mut(), "{line}").map_err(words)?;
        self.line()
    }

    /// What it runs over.
    pub(crate) fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).map_err(words)? {
            0 => Err("the connection was closed".to_owned()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Whether a client without TLS is turned away: it speaks, and the connection
/// ends, or a fatal TLS alert comes first (RFC 8446, sections 5.1 and 6).
pub(crate) fn refuses_plaintext(address: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).map_err(words)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(words)?;
    stream.write_all(b"hello\n").map_err(words)?;
    let mut answer = [0; 64];
    match stream.read(&mut answer) {
        Ok(0) => Ok(()),
        Ok(7) if answer.starts_with(&[21, 3]) && answer[5] == 2 => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        other => Err(format!("not refused: {other:?}")),
    }
}

/// One question and its answer over a connection of its own.
pub(crate) fn ask(address: &str, line: &str) -> Result<String, String> {
    Talk::open(address)?.say(line)
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn words(error: std::io::Error) -> String {
    error.to_string()
}
