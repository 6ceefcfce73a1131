//! Envoy takes everything that Windlass makes, in both variants of the protocol.

use std::fs;

use windlass::dataplane::bootstrap::{AdminAddress, BootstrapParams, Protocol, bootstrap_over};

use super::network::{mesh_document, own_address, permission};
use crate::support::envoy::Envoy;
use crate::support::{Daemon, Site, wait};

/// A dataplane with two services, one that calls what nobody offers and one
/// that has no inbound: what there is of shapes.
fn dataplanes(host: &str) -> String {
    format!(
        "type: Dataplane\nmesh: demo\nname: two\nnetworking:\n  address: {host}\n  inbound:\n    \
         - {{port: 11001, servicePort: 21001, tags: {{service: web, version: v1}}}}\n    \
         - {{port: 11002, tags: {{service: admin}}}}\n  outbound:\n    \
         - {{address: {host}, port: 12001, service: backend}}\n    \
         - {{port: 0, service: nobody}}\n---\n\
         type: Dataplane\nmesh: demo\nname: edge\nnetworking:\n  address: {host}\n  \
         gateway: {{tags: {{service: edge}}}}\n  outbound:\n    \
         - {{address: {host}, port: 12011, service: web}}\n    \
         - {{address: {host}, port: 12012, service: admin}}\n---\n\
         type: Dataplane\nmesh: demo\nname: plain\nnetworking:\n  address: {host}\n  inbound:\n    \
         - {{port: 11021, servicePort: 21021, tags: {{service: backend}}}}\n"
    )
    .replace(
        "- {port: 0, ",
        &format!("- {{address: {host}, port: 12002, "),
    )
}

#[test]
pub(crate) fn envoy_accepts_everything_over_delta() {
    accepted_over(Protocol::Delta);
}

#[test]
pub(crate) fn envoy_accepts_everything_over_state_of_the_world() {
    accepted_over(Protocol::StateOfTheWorld);
}

fn accepted_over(protocol: Protocol) {
    let host = own_address();
    let site = Site::from_files(&[
        ("mesh.yaml", &mesh_document("demo", true)),
        ("dataplanes.yaml", &dataplanes(&host)),
        ("web.yaml", &permission("demo", "*", "web")),
        ("backend.yaml", &permission("demo", "web", "backend")),
    ]);
    let daemon = site.start();
    let mut envoys: Vec<Envoy> = ["two", "edge", "plain"]
        .map(|name| start(&daemon, protocol, name))
        .into();
    // Listeners: its own, and for each commit what it changes.
    check(&mut envoys, "at the start", &[4, 2, 1]);
    let commit = |files: &[(&str, Option<&str>)], message| {
        let id = site.repo.commit(files, message);
        daemon.wait_until_applied(&id);
    };
    let also = permission("demo", "edge", "admin");
    commit(&[("edge.yaml", Some(&also))], "another permission");
    check(&mut envoys, "after a permission", &[4, 2, 1]);
    commit(&[("edge.yaml", None), ("web.yaml", None)], "none at all");
    check(&mut envoys, "without permissions", &[4, 2, 1]);
    let off = mesh_document("demo", false);
    commit(&[("mesh.yaml", Some(&off))], "mTLS off");
    check(&mut envoys, "without mTLS", &[4, 2, 1]);
    let on = mesh_document("demo", true);
    commit(&[("mesh.yaml", Some(&on))], "mTLS on");
    check(&mut envoys, "with mTLS again", &[4, 2, 1]);
    // An outbound and with it a cluster go, another comes.
    let fewer = dataplanes(&host)
        .replace("port: 12002, service: nobody", "port: 12003, service: edge")
        .replace(
            &format!("    - {{address: {host}, port: 12012, service: admin}}\n"),
            "",
        );
    commit(&[("dataplanes.yaml", Some(&fewer))], "other outbounds");
    check(&mut envoys, "with other outbounds", &[4, 1, 1]);
}

/// The Envoy of a dataplane of the mesh `demo` over a variant of the protocol.
pub(super) fn start(daemon: &Daemon, protocol: Protocol, name: &str) -> Envoy {
    let ca_pem = fs::read_to_string(daemon.xds_ca()).expect("the CA of the daemon");
    let token = daemon.token(name, "demo");
    Envoy::with_bootstrap(&token, |token_path| {
        bootstrap_over(
            protocol,
            &BootstrapParams {
                mesh: "demo",
                name,
                admin: Some(AdminAddress::Port(0)),
                token_path,
                xds: &daemon.listeners().xds,
                ca_pem: &ca_pem,
                drain_seconds: None,
            },
        )
    })
}

/// Waits until every Envoy runs exactly so many listeners that are the present
/// ones, and checks that it refused and warned of nothing.
fn check(envoys: &mut [Envoy], when: &str, listeners: &[u64]) {
    for (envoy, listeners) in envoys.iter_mut().zip(listeners) {
        wait::until(&format!("the configuration {when}"), || {
            envoy.assert_running();
            let active = envoy.counter("listener_manager.total_listeners_active")?;
            let warming = envoy.counter("listener_manager.total_listeners_warming")?
                + envoy.counter("cluster_manager.warming_clusters")?;
            if (active, warming) == (*listeners, 0) {
                Ok(())
            } else {
                Err(format!(
                    "{active} active, {warming} warming\n{}",
                    envoy.log()
                ))
            }
        });
        for counter in [
            "listener_manager.lds.update_rejected",
            "listener_manager.listener_create_failure",
            "cluster_manager.cds.update_rejected",
            "runtime.deprecated_feature_use",
        ] {
            assert_eq!(
                envoy.counter(counter),
                Ok(0),
                "{counter} {when}\n{}",
                envoy.log()
            );
        }
        let log = envoy.log();
        let complaint = log.lines().find(|line| {
            let line = line.to_lowercase();
            // "initial fetch timed out": a cluster waited for endpoints in vain.
            ["deprecat", "rejected", "timed out", "[error]", "[critical]"]
                .iter()
                .any(|word| line.contains(word))
        });
        assert_eq!(complaint, None, "{when}\n{log}");
    }
}
