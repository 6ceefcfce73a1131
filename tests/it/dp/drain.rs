//! What becomes of open connections when `dp run` is told to stop.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, DpRun, Site, envoy, wait};

/// A `dp run` whose Envoy has one inbound listener, and a service behind it
/// that answers with what it gets.
struct Proxy {
    run: DpRun,
    address: String,
}

impl Proxy {
    /// Starts the real Envoy with the admin server that `dp run` chose, yet
    /// with a listener that needs no control plane.
    fn start(daemon: &Daemon, drain_time: &str) -> Self {
        let service = echo();
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let socket =
            |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let to = socket(service);
        let config = json!({"static_resources": {
            "clusters": [{"name": "service", "load_assignment": {
                "cluster_name": "service",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": to}}]}],
            }}],
            "listeners": [{
                "name": format!("inbound:{address}"),
                "traffic_direction": "INBOUND",
                "address": socket(address.port()),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "inbound",
                        "cluster": "service",
                    },
                }]}],
            }],
        }});
        let envoy = envoy::program();
        let script = format!(
            "socket=$(echo \"$TMPDIR\"/windlass-dp-*)/admin.sock\n\
             admin='{{\"admin\": {{\"address\": {{\"pipe\": {{\"path\": \"'$socket'\"}}}}}}}}'\n\
             cat > \"$TMPDIR/envoy.json\" <<'END'\n{config}\nEND\n\
             exec '{}' --config-path \"$TMPDIR/envoy.json\" --config-yaml \"$admin\" \
             --disable-hot-restart --log-level warning --concurrency 1",
            envoy.display()
        );
        let run = DpRun::new(daemon, "default", "dp-echo-1")
            .with(&["--drain-time", drain_time])
            .with_script(&script)
            .spawn();
        let address = address.to_string();
        Self { run, address }
    }

    fn connect(&mut self) -> TcpStream {
        wait::until("a connection", || {
            self.run.assert_running();
            let mut connection =
                TcpStream::connect(&self.address).map_err(|error| error.to_string())?;
            ping(&mut connection).map_err(|error| format!("{error}\n{}", self.run.log()))?;
            Ok::<_, String>(connection)
        })
    }

    fn wait_until_closed(&self) {
        wait::until("a closed listener", || {
            match TcpStream::connect(&self.address) {
                Ok(_) => Err("it takes connections".to_owned()),
                Err(_) => Ok(()),
            }
        });
    }
}

/// A service that sends back what it gets; returns its port.
fn echo() -> u16 {
    let service = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = service.local_addr().expect("its address").port();
    thread::spawn(move || {
        for connection in service.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &connection, &mut &connection));
        }
    });
    port
}

/// Checks that a connection reaches the service and back.
fn ping(connection: &mut TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.write_all(b"ping")?;
    let mut got = [0; 4];
    connection.read_exact(&mut got)?;
    assert_eq!(&got, b"ping");
    Ok(())
}

#[test]
pub(crate) fn open_connections_may_end_and_no_new_ones_are_taken() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut proxy = Proxy::start(&daemon, "1h");
    let mut open = proxy.connect();
    proxy.run.signal("TERM");
    proxy.wait_until_closed();
    ping(&mut open).expect("it is open");
    proxy.run.assert_running();
    drop(open);
    let status = proxy.run.wait();
    assert!(status.success(), "{status}\n{}", proxy.run.log());
    let log = proxy.run.log();
    assert!(log.contains("all connections have ended"), "{log}");
}

#[test]
pub(crate) fn connections_that_stay_are_cut_off_when_the_drain_time_is_over() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut proxy = Proxy::start(&daemon, "1s");
    let mut open = proxy.connect();
    proxy.run.signal("TERM");
    let status = proxy.run.wait();
    assert!(status.success(), "{status}\n{}", proxy.run.log());
    assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)));
    let log = proxy.run.log();
    assert!(log.contains("connections are still open"), "{log}");
}

#[test]
pub(crate) fn a_second_signal_does_not_wait_for_open_connections() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut proxy = Proxy::start(&daemon, "1h");
    let _open = proxy.connect();
    proxy.run.signal("TERM");
    proxy.wait_until_closed();
    proxy.run.assert_running();
    proxy.run.signal("INT");
    let status = proxy.run.wait();
    assert!(status.success(), "{status}\n{}", proxy.run.log());
}
