//! A store that can grow no more.

use std::fmt::Write as _;

use super::by_shell;
use crate::support::daemon::{authorities, condition, mesh};
use crate::support::{Daemon, Site, sds};

const MESH: &str = "type: Mesh\nname: demo\nmtls: {enabled: true}\n";
/// Runs the program with a limit to the size of files, in KiB. Writing more is
/// an error and not the end of the process.
const LIMITED: &str = "trap '' XFSZ; ulimit -f 640; exec \"$0\" \"$@\"";

fn dataplanes(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = write!(
            text,
            "---\ntype: Dataplane\nmesh: demo\nname: dp-{number}\nnetworking:\n  \
             address: 127.0.0.1\n  inbound: [{{port: 8080, tags: {{service: web}}}}]\n"
        );
        text
    })
}

#[test]
fn a_store_without_room_is_told_and_the_last_good_state_is_served() {
    let site = Site::from_files(&[("mesh.yaml", MESH), ("dps.yaml", &dataplanes(1))]);
    let daemon = site.start();
    let root = authorities(&daemon.status().unwrap(), "demo", "active");
    assert!(daemon.terminate().success());

    let mut daemon = Daemon::spawn_by(&site, by_shell(LIMITED));
    daemon.wait_until_ready();
    let many = dataplanes(5000);
    let large = site.repo.commit(&[("dps.yaml", Some(&many))], "too much");
    let status = daemon.wait_until("the store to be unavailable", |status| {
        let ready = condition(&status["sources"][0], "Ready");
        ready.is_some_and(|ready| ready["reason"] == "StoreUnavailable")
    });
    let ready = condition(&status["sources"][0], "Ready").unwrap();
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("windlass.db"), "{message}");
    assert_eq!(mesh(&status, "demo")["dataplanes"]["known"], 1);
    assert_eq!(authorities(&status, "demo", "active"), root);
    sds::fetch(&daemon, "demo", "dp-0").unwrap();

    // What fits is applied without a restart.
    let small = site
        .repo
        .commit(&[("dps.yaml", Some(&dataplanes(2)))], "less");
    daemon.wait_until_applied(&small);
    sds::fetch(&daemon, "demo", "dp-1").unwrap();
    assert!(daemon.terminate().success());

    // With room, so is the rest.
    assert_ne!(large, small);
    let large = site.repo.commit(&[("dps.yaml", Some(&many))], "much again");
    let daemon = site.start();
    let status = daemon.wait_until_applied(&large);
    assert_eq!(mesh(&status, "demo")["dataplanes"]["known"], 5000);
    assert_eq!(authorities(&status, "demo", "active"), root);
}
