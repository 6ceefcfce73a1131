//! A proxy joins while the CA changes.

use super::load::Load;
use super::stage::{Stage, wait_until_done, wait_until_held};
use crate::support::{DpRun, echo, wait};

#[test]
pub(crate) fn a_proxy_that_joins_in_any_phase_reaches_the_others_from_its_first_connection() {
    let stage = Stage::set();
    let host = stage.network.host.clone();
    let mut joined = Vec::new();
    for (index, hold) in ["propagate", "activate", "retire", "done"]
        .iter()
        .enumerate()
    {
        let transition = format!("{{hold: {hold}}}");
        let message = format!("a change that stops before {hold}");
        stage.commit("{provided: {name: root-2026}}", &transition, &message);
        wait_until_held(&stage.network, hold);
        let (name, port) = (format!("dp-joined-{index}"), 12_050 + index);
        let document = format!(
            "type: Dataplane\nmesh: demo\nname: {name}\nnetworking:\n  address: {host}\n  \
             gateway: {{tags: {{service: web}}}}\n  \
             outbound: [{{address: {host}, port: {port}, service: backend}}]\n"
        );
        stage
            .network
            .commit(&[(&format!("demo/{name}.yaml"), Some(&document))], &name);
        let run = DpRun::new(&stage.network.daemon, "demo", &name);
        let mut run = run.with(&["--drain-time", "1s"]).spawn();
        run.wait_until_configured();
        let address = format!("{host}:{port}");
        // A listener that is there and not yet taking connections is no loss.
        wait::until("the listener of the proxy", || {
            std::net::TcpStream::connect(&address)
        });
        let first = echo::ask(&address, "hello");
        assert_eq!(
            first.as_deref(),
            Ok("backend of demo: hello"),
            "{}",
            run.log()
        );
        joined.push((run, Load::light(&address, "backend of demo")));
    }
    stage.commit("{provided: {name: root-2026}}", "{}", "to the end");
    wait_until_done(&stage.network);
    for (mut run, load) in joined {
        run.assert_running();
        let report = load.finish();
        assert_eq!(report.failed, 0, "{report}");
    }
    stage.assert_flawless();
}
