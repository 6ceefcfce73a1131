//! All of `deploy/kubernetes` is there before the first replica is, the webhook
//! that refuses what nobody judges included.

use super::deploy::{install, site_in};
use super::site::{SYSTEM, add_account};
use crate::support::kubernetes::Cluster;
use crate::support::sds::fetch_with;
use crate::support::{http, wait};

const SHOP: &str = "\
apiVersion: kuma.io/v1alpha1
kind: Mesh
metadata: {name: shop}
spec: {mtls: {enabled: true}}
";

#[test]
fn the_first_replica_comes_up_where_the_webhook_is_registered_and_nobody_judges() {
    let cluster = Cluster::take();
    install(&cluster);
    add_account(&cluster, "team", "web");
    cluster.run(&["create", "namespace", "other"]);
    // The API server hears of the webhook by and by.
    let said = wait::until("the webhook to be missed", || {
        let file = cluster.kubeconfig().with_file_name("probe.yaml");
        std::fs::write(&file, SHOP).unwrap();
        let probe = ["create", "--dry-run=server", "-f", file.to_str().unwrap()];
        cluster.try_run(&probe).map_or_else(Ok, Err)
    });
    assert!(
        said.contains("failed calling webhook \"mesh.windlass.io\""),
        "{said}"
    );

    // It is ready, and so may be asked, although its resources are not shown yet.
    let site = site_in(&cluster);
    let daemon = site.start();
    wait::until("the resources to be refused", || {
        let log = daemon.log();
        let is_refused = log.contains("custom resources are not up to date")
            && log.contains("failed calling webhook");
        is_refused.then_some(()).ok_or(log)
    });
    let ready = http::get(&daemon.listeners().diagnostics, "/ready");
    assert_eq!(ready.and_then(http::Answer::ok).unwrap().body, "OK\n");
    let log = daemon.log();
    assert!(!log.contains("the store does not answer"), "{log}");
    let secrets = "-o=jsonpath={.items[*].type}";
    let secrets = cluster.run(&["get", "secrets", "-n", SYSTEM, secrets]);
    assert!(secrets.contains("windlass.io/authority-key"), "{secrets}");

    // Which is when its cluster has the Service lead to it.
    let address = daemon.listeners().webhook.clone().unwrap();
    cluster.lead_to(SYSTEM, "windlass-webhook", "webhook", &address);
    wait::until("the custom resources", || {
        cluster.try_run(&["get", "mesh/demo"])?;
        let shown = cluster.try_run(&["get", "dataplane/web", "-n", "team"]);
        shown.map_err(|error| format!("{error}\n{}", daemon.log()))
    });
    let token = cluster.token("team", "web", "windlass");
    fetch_with(&daemon, "demo", "web", &token).unwrap();

    cluster.apply(SHOP).unwrap();
    let both = SHOP.replace("enabled: true", "ca: {builtin: {}, provided: {}}");
    let said = cluster.apply(&both).unwrap_err();
    assert!(said.contains("exactly one of"), "{said}");
    let said = cluster.try_run(&["delete", "mesh", "demo"]).unwrap_err();
    assert!(said.contains("Git owns Mesh/demo: demo.yaml"), "{said}");
}
