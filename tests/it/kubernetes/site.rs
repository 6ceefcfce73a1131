//! A control plane beside an API server.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::support::kubernetes::Cluster;
use crate::support::{Daemon, Site, wait};

/// Where the control plane lives.
pub(super) const SYSTEM: &str = "windlass-system";

/// A mesh with mTLS and three dataplanes: `web` in namespace `team`, `far` in
/// namespace `other`, and `own` without one.
pub(super) const MESH: &str = "\
type: Mesh
name: demo
mtls: {enabled: true}
---
apiVersion: kuma.io/v1alpha1
kind: Dataplane
mesh: demo
metadata: {name: web, namespace: team}
spec: {networking: {address: 127.0.0.1, inbound: [{port: 11011, tags: {service: web}}]}}
---
apiVersion: kuma.io/v1alpha1
kind: Dataplane
mesh: demo
metadata: {name: far, namespace: other}
spec: {networking: {address: 127.0.0.1, inbound: [{port: 11012, tags: {service: far}}]}}
---
type: Dataplane
mesh: demo
name: own
networking: {address: 127.0.0.1, inbound: [{port: 11013, tags: {service: own}}]}
";

/// A site that knows the cluster, with its state in SQLite.
pub(super) fn beside(cluster: &Cluster) -> Site {
    let kubeconfig = cluster.kubeconfig();
    let kubeconfig = kubeconfig.to_str().expect("a path that is text");
    Site::from_files(&[("demo.yaml", MESH)])
        .set("WINDLASS_STORE_KUBERNETES_KUBECONFIG", kubeconfig)
        .set("WINDLASS_STORE_KUBERNETES_NAMESPACE", SYSTEM)
}

/// Makes a service account, and its namespace where there is none.
pub(super) fn add_account(cluster: &Cluster, namespace: &str, name: &str) {
    let _ = cluster.try_run(&["create", "namespace", namespace]);
    cluster.run(&["create", "serviceaccount", "-n", namespace, name]);
}

/// A manifest of `deploy/kubernetes`.
pub(super) fn manifest(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes");
    format!("{folder}/{name}")
}

/// Makes the definitions of the custom resources, and waits until they hold.
pub(super) fn add_crds(cluster: &Cluster) {
    cluster.run(&["apply", "-f", &manifest("crds.yaml")]);
    for kind in ["meshes", "trafficpermissions", "dataplanes"] {
        let crd = format!("crd/{kind}.kuma.io");
        cluster.run(&["wait", "--for=condition=Established", "--timeout=60s", &crd]);
    }
}

/// Tells the API server where the webhook is, in the place of a Service, and
/// waits until the control plane has told it the CA.
pub(super) fn register_webhook(cluster: &Cluster, daemon: &Daemon) {
    let address = daemon.listeners().webhook.as_ref().expect("a webhook");
    register_webhook_at(cluster, daemon, address);
}

/// The same, where the API server reaches it at another address.
pub(super) fn register_webhook_at(cluster: &Cluster, daemon: &Daemon, address: &str) {
    let read = [
        "create",
        "--dry-run=client",
        "--validate=false",
        "-o=json",
        "-f",
    ];
    let file = manifest("webhook.yaml");
    let read = cluster.run(&[&read[..], &[&*file]].concat());
    let mut configuration: Value = serde_json::from_str(&read).expect("JSON");
    let webhooks = configuration["webhooks"].as_array_mut();
    for webhook in webhooks.expect("webhooks") {
        webhook["clientConfig"] = json!({"url": format!("https://{address}/validate")});
    }
    let file = cluster.kubeconfig().with_file_name("webhook.json");
    std::fs::write(&file, configuration.to_string()).expect("a file");
    let file = file.to_str().expect("a path that is text");
    let _ = cluster.try_run(&["delete", "validatingwebhookconfiguration", "windlass"]);
    cluster.run(&["create", "-f", file]);
    wait::until("the CA to be told", || {
        let bundles = "-o=jsonpath={.webhooks[*].clientConfig.caBundle}";
        let told = ["get", "validatingwebhookconfiguration", "windlass", bundles];
        match cluster.run(&told).split_whitespace().count() {
            3 => Ok(()),
            _ => Err(daemon.log()),
        }
    });
}

/// The CA that the API server checks the webhook by, as PEM.
pub(super) fn webhook_ca(cluster: &Cluster) -> String {
    let bundle = "-o=jsonpath={.webhooks[0].clientConfig.caBundle}";
    let told = ["get", "validatingwebhookconfiguration", "windlass", bundle];
    let bundle = STANDARD.decode(cluster.run(&told)).expect("base64");
    String::from_utf8(bundle).expect("PEM")
}

/// That the webhook of a daemon shows a certificate of that CA.
pub(super) fn assert_proven_by(ca: &str, daemon: &Daemon) {
    let ca = Certificate::from_pem(ca.as_bytes()).expect("a certificate");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca]));
    let config = Agent::config_builder().proxy(None).tls_config(tls.build());
    let config = config.timeout_global(Some(Duration::from_secs(10)));
    let agent: Agent = config.http_status_as_error(false).build().into();
    let address = daemon.listeners().webhook.as_ref().expect("a webhook");
    let answer = agent.get(format!("https://{address}/validate")).call();
    assert_eq!(answer.expect("an answer over TLS").status(), 405);
}
