//! The webhook of a control plane beside another one in the same cluster.

use super::site::{add_crds, beside, manifest, register_webhook};
use crate::support::kubernetes::Cluster;
use crate::support::wait;

#[test]
fn what_another_control_plane_has_is_not_judged_and_its_webhook_is_left_alone() {
    let cluster = Cluster::take();
    add_crds(&cluster);
    // Both have the name that is the default, and only one of them can.
    let file = cluster.kubeconfig().with_file_name("theirs.yaml");
    let theirs = std::fs::read_to_string(manifest("webhook.yaml")).unwrap();
    let service = "{name: windlass-webhook, ";
    assert_eq!(theirs.matches(service).count(), 1);
    let theirs = theirs.replace(service, &format!("{service}namespace: their-system, "));
    std::fs::write(&file, theirs).unwrap();
    cluster.run(&["create", "-f", file.to_str().unwrap()]);
    let site = beside(&cluster)
        .set("WINDLASS_WEBHOOK_ENABLED", "true")
        .set("WINDLASS_WEBHOOK_PORT", "0");
    let daemon = site.start();
    wait::until("it to be told", || {
        let log = daemon.log();
        let is_told =
            log.contains("leads to namespace their-system: it is another control plane's");
        is_told.then_some(()).ok_or(log)
    });
    let bundles = "-o=jsonpath={.webhooks[*].clientConfig.caBundle}";
    let told = ["get", "validatingwebhookconfiguration", "windlass", bundles];
    assert_eq!(cluster.run(&told), "");

    register_webhook(&cluster, &daemon);
    let permission = "\
apiVersion: kuma.io/v1alpha1
kind: TrafficPermission
mesh: theirs
metadata: {name: all, namespace: default}
spec: {sources: [{match: {service: '*'}}], destinations: [{match: {service: '*'}}]}
";
    // The API server hears of the webhook by and by.
    wait::until("a mesh that nobody has to be missed", || {
        match cluster.apply(permission) {
            Err(said) if said.contains("mesh of name theirs is not found") => Ok(()),
            other => {
                cluster
                    .try_run(&["delete", "trafficpermission", "all"])
                    .ok();
                Err(format!("{other:?}"))
            }
        }
    });
    let mesh = "\
apiVersion: kuma.io/v1alpha1
kind: Mesh
metadata: {name: theirs, labels: {windlass.io/control-plane: their-system}}
spec: {mtls: {ca: {builtin: {}, provided: {}}}}
";
    cluster.apply(mesh).unwrap();
    cluster.apply(permission).unwrap();
    let permission = ["trafficpermission", "all"];
    let label = ["windlass.io/control-plane=their-system"];
    cluster.run(&[&["label"][..], &permission, &label].concat());
    cluster.run(&[&["delete"][..], &permission].concat());
    cluster.run(&["delete", "mesh", "theirs"]);
}
