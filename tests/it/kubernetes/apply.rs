//! A file that its owner changes and applies again.

use serde_json::{Value, json};

use super::deploy::{install, start};
use super::site::add_account;
use crate::support::kubernetes::Cluster;
use crate::support::{Daemon, MeshCa, http, wait};

const FORBIDDEN: &str = "* mtls.ca: Changing CA when mTLS is enabled is forbidden. \
                         Disable mTLS first and then change the CA";

fn mesh(name: &str, mtls: &str) -> String {
    format!(
        "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {{name: {name}}}\n\
         spec: {{mtls: {mtls}}}\n"
    )
}

/// `kubectl apply`, with what it is to do besides.
fn apply(cluster: &Cluster, how: &[&str], document: &str) -> Result<String, String> {
    let file = cluster.kubeconfig().with_file_name("mesh.yaml");
    std::fs::write(&file, document).unwrap();
    let all = [&["apply", "-f", file.to_str().unwrap()][..], how].concat();
    cluster.try_run(&all)
}

/// Waits until the control plane has taken over a mesh as it is to be.
fn wait_for(cluster: &Cluster, daemon: &Daemon, name: &str, enabled: bool, ca: &Value) {
    wait::until("the mesh to be taken over", || {
        let taken = http::get(&daemon.listeners().api, &format!("/meshes/{name}"))?;
        let mtls = taken.ok()?.json()["mtls"].clone();
        let label = "-o=jsonpath={.metadata.labels}";
        let labels = cluster.run(&["get", "mesh", name, label]);
        let is_marked = labels.contains("windlass.io/origin");
        if is_marked && mtls["enabled"] == json!(enabled) && mtls["ca"] == *ca {
            Ok(())
        } else {
            Err(format!("{mtls} {labels}\n{}", daemon.log()))
        }
    });
}

/// What a mesh with a provided CA has to have.
fn add_certificate(daemon: &Daemon, mesh: &str) {
    let ca = MeshCa::for_mesh(mesh);
    let path = format!("/meshes/{mesh}/ca/provided/certificates");
    let pair = json!({"cert": ca.cert_pem(), "key": ca.key_pem()});
    let added = http::post(&daemon.listeners().admin, &path, &pair);
    added.and_then(http::Answer::ok).unwrap();
}

#[test]
fn who_applied_a_mesh_changes_its_ca_by_the_same_file() {
    let cluster = Cluster::take();
    install(&cluster);
    add_account(&cluster, "team", "web");
    cluster.run(&["create", "namespace", "other"]);
    let (_site, daemon) = start(&cluster);
    let (builtin, provided) = (json!({"builtin": {}}), json!({"provided": {}}));
    for (kind, how) in [("client", &[][..]), ("server", &["--server-side"][..])] {
        for (form, first) in [("named", ", ca: {builtin: {}}"), ("left-out", "")] {
            let name = format!("{kind}-{form}");
            let change = |enabled: bool, ca: &str| {
                let mtls = format!("{{enabled: {enabled}{ca}}}");
                apply(&cluster, how, &mesh(&name, &mtls))
            };
            let taken = |enabled, ca| wait_for(&cluster, &daemon, &name, enabled, ca);
            change(true, first).unwrap();
            taken(true, &builtin);
            let said = change(true, ", ca: {provided: {}}").unwrap_err();
            assert!(said.contains(FORBIDDEN), "{name}: {said}");
            change(false, first).unwrap();
            taken(false, &builtin);
            add_certificate(&daemon, &name);
            change(false, ", ca: {provided: {}}").unwrap_or_else(|said| panic!("{name}: {said}"));
            taken(false, &provided);
            change(false, first).unwrap_or_else(|said| panic!("{name}: {said}"));
            taken(false, &builtin);
        }
        // Made by a call of the API, and applied by nobody before.
        let name = format!("{kind}-called");
        let path = format!("/meshes/{name}");
        let made = http::put(&daemon.listeners().api, &path, &json!({"mtls": {}}));
        made.and_then(http::Answer::ok).unwrap();
        wait::until("it to be shown", || {
            cluster.try_run(&["get", "mesh", &name])
        });
        wait_for(&cluster, &daemon, &name, false, &builtin);
        let mtls = "{enabled: false, ca: {provided: {}}}";
        add_certificate(&daemon, &name);
        apply(&cluster, how, &mesh(&name, mtls)).unwrap_or_else(|said| panic!("{name}: {said}"));
        wait_for(&cluster, &daemon, &name, false, &provided);
    }
}
