//! One address for several servers: connections are spread over those that live.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// An address that stays while servers come and go. It ends with the value, and
/// its port is free then.
pub(crate) struct Balancer {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    clients: Arc<Mutex<Vec<Weak<TcpStream>>>>,
    stopped: Arc<AtomicBool>,
    listens: Option<JoinHandle<()>>,
}

impl Balancer {
    /// An address for that many servers, none of which is there yet; on that
    /// port of loopback, where 0 is any.
    pub(crate) fn start(port: u16, servers: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port of the balancer");
        let address = listener.local_addr().expect("its address");
        let servers = Arc::new(Mutex::new(vec![None; servers]));
        let stopped = Arc::new(AtomicBool::new(false));
        let (of, is_stopped) = (Arc::clone(&servers), Arc::clone(&stopped));
        let clients = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::clone(&clients);
        let listens = thread::spawn(move || {
            let turn = Arc::new(AtomicUsize::new(0));
            for client in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let client = Arc::new(client);
                let mut open = open.lock().expect("the clients");
                open.retain(|client: &Weak<TcpStream>| client.strong_count() > 0);
                open.push(Arc::downgrade(&client));
                drop(open);
                let (of, turn) = (Arc::clone(&of), Arc::clone(&turn));
                thread::spawn(move || {
                    if let Some(server) = dial(&of, &turn) {
                        splice(&client, server);
                    }
                });
            }
        });
        Self {
            address,
            servers,
            clients,
            stopped,
            listens: Some(listens),
        }
    }

    /// Ends all connections. Returns how many.
    pub(crate) fn cut(&self) -> usize {
        let clients = std::mem::take(&mut *self.clients.lock().expect("the clients"));
        let clients = clients.iter().filter_map(Weak::upgrade);
        clients
            .filter(|client| client.shutdown(Shutdown::Both).is_ok())
            .count()
    }

    /// The address.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The server of that number listens there, or no longer.
    pub(crate) fn set(&self, number: usize, server: Option<&str>) {
        let server = server.map(|it| it.parse().expect("an address"));
        self.servers.lock().expect("the servers")[number] = server;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(listens) = self.listens.take() {
            let _ = listens.join();
        }
    }
}

/// The next server in turn that accepts a connection.
fn dial(servers: &Mutex<Vec<Option<SocketAddr>>>, turn: &AtomicUsize) -> Option<TcpStream> {
    let known = servers.lock().expect("the servers").clone();
    for _ in 0..known.len() {
        let number = turn.fetch_add(1, Ordering::SeqCst) % known.len();
        let Some(server) = known[number] else {
            continue;
        };
        if let Ok(stream) = TcpStream::connect_timeout(&server, CONNECT) {
            return Some(stream);
        }
    }
    None
}

/// Carries bytes both ways until either side is done.
fn splice(client: &TcpStream, server: TcpStream) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (Ok(from), Ok(back), Ok(to)) = (client.try_clone(), client.try_clone(), server.try_clone())
    else {
        return;
    };
    let up = thread::spawn(move || carry(from, to));
    carry(server, back);
    let _ = up.join();
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(read) if read > 0 => {
                if to.write_all(&buffer[..read]).is_err() {
                    let _ = from.shutdown(Shutdown::Both);
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => {
                let how = if ended.is_ok() {
                    Shutdown::Write
                } else {
                    Shutdown::Both
                };
                let _ = to.shutdown(how);
                return;
            }
        }
    }
}
