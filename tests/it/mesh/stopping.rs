//! `dp run` is told to stop in the middle of a mesh.

use std::net::TcpStream;

use super::network::{Network, mesh_document};
use crate::support::echo::Talk;
use crate::support::{DpRun, wait};

/// A proxy that waits for open connections as long as it takes.
fn patient(network: &Network, service: &str) -> DpRun {
    let run = DpRun::new(&network.daemon, "demo", &format!("dp-{service}-1"));
    run.with(&["--drain-time", "1h"]).start()
}

fn wait_until_closed(address: &str) {
    wait::until("a closed listener", || match TcpStream::connect(address) {
        Ok(_) => Err("it takes connections"),
        Err(_) => Ok(()),
    });
}

fn assert_drained(mut run: DpRun) {
    let status = run.wait();
    let log = run.log();
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("all connections have ended"), "{log}");
}

#[test]
pub(crate) fn an_open_connection_of_the_mesh_goes_on_while_its_proxy_takes_no_new_ones() {
    let network = Network::of(&["demo"]);
    let (_web, mut backend) = (patient(&network, "web"), patient(&network, "backend"));
    let reach = network.outbound(0, "backend");
    let mut open = wait::until("web to reach backend", || Talk::open(&reach));
    backend.signal("TERM");
    wait_until_closed(&network.inbound("backend"));
    assert!(Talk::open(&reach).is_err(), "a new connection got in");
    let answer = open.say("still here?");
    assert_eq!(answer.as_deref(), Ok("backend of demo: still here?"));
    backend.assert_running();
    drop(open);
    assert_drained(backend);
}

#[test]
pub(crate) fn a_service_that_finishes_its_work_can_still_call_others() {
    let network = Network::of(&["demo"]);
    let off = mesh_document("demo", false);
    network.commit(&[("demo/mesh.yaml", Some(&off))], "mTLS off");
    let (mut web, _backend) = (patient(&network, "web"), patient(&network, "backend"));
    let inbound = network.inbound("web");
    let mut work = wait::until("a client of web", || Talk::open(&inbound));
    web.signal("TERM");
    wait_until_closed(&inbound);
    let mut call = wait::until("web to reach backend", || {
        Talk::open(&network.outbound(0, "backend"))
    });
    let answer = call.say("one more");
    assert_eq!(answer.as_deref(), Ok("backend of demo: one more"));
    assert_eq!(work.say("done?").as_deref(), Ok("web of demo: done?"));
    web.assert_running();
    drop(work);
    // The call is not waited for.
    assert_drained(web);
}
