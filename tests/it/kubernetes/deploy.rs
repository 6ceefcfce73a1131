//! `deploy/kubernetes`: the API server takes it, and the control plane runs with
//! the rights that it gives.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::site::{
    MESH, SYSTEM, add_account, assert_proven_by, manifest, register_webhook, webhook_ca,
};
use crate::support::daemon::windlass;
use crate::support::kubernetes::{API_AUDIENCE, Cluster, printed};
use crate::support::sds::fetch_with;
use crate::support::{Daemon, Site, wait};

/// How soon another replica has to have done what a dead one did not.
const TAKEOVER: Duration = Duration::from_secs(10);

/// The manifests as `kubectl kustomize` renders them.
fn rendered(cluster: &Cluster) -> String {
    let folder = manifest("");
    cluster.run(&["kustomize", folder.trim_end_matches('/')])
}

/// Applies them. The API server of the tests may be one of before 1.21, which has
/// the PodDisruptionBudget under its beta name only.
pub(super) fn install(cluster: &Cluster) {
    let mut manifests = rendered(cluster);
    let versions = cluster.run(&["api-versions"]);
    if !versions.lines().any(|version| version == "policy/v1") {
        assert_eq!(manifests.matches("apiVersion: policy/v1\n").count(), 1);
        manifests = manifests.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n");
    }
    let file = cluster.kubeconfig().with_file_name("manifests.yaml");
    fs::write(&file, manifests).unwrap();
    let file = file.to_str().unwrap();
    cluster.run(&["apply", "--server-side", "-f", file]);
    for kind in ["meshes", "trafficpermissions", "dataplanes"] {
        let crd = format!("crd/{kind}.kuma.io");
        cluster.run(&["wait", "--for=condition=Established", "--timeout=60s", &crd]);
    }
}

/// A kubeconfig of the control plane's own service account.
fn own_kubeconfig(cluster: &Cluster) -> PathBuf {
    let token = cluster.token(SYSTEM, "windlass", API_AUDIENCE);
    cluster.kubeconfig_of(&token)
}

/// A site with those rights.
pub(super) fn site_in(cluster: &Cluster) -> Site {
    let kubeconfig = own_kubeconfig(cluster);
    let site = Site::from_files(&[("demo.yaml", MESH)]);
    let identity = site.state_dir().with_file_name("identity.txt");
    site.set("WINDLASS_STORE_TYPE", "kubernetes")
        .set(
            "WINDLASS_STORE_KUBERNETES_KUBECONFIG",
            kubeconfig.to_str().unwrap(),
        )
        .set("WINDLASS_STORE_KUBERNETES_NAMESPACE", SYSTEM)
        .set(
            "WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE",
            identity.to_str().unwrap(),
        )
        .set("WINDLASS_WEBHOOK_PORT", "0")
}

/// A control plane in the cluster with those rights.
pub(super) fn start(cluster: &Cluster) -> (Site, Daemon) {
    let site = site_in(cluster);
    // Nobody could judge before there is somebody.
    cluster.run(&["delete", "validatingwebhookconfiguration", "windlass"]);
    let daemon = site.start();
    register_webhook(cluster, &daemon);
    (site, daemon)
}

#[test]
fn the_manifests_are_taken_by_the_api_server() {
    let cluster = Cluster::take();
    install(&cluster);
    let pods = "-o=jsonpath={.spec.replicas} {.spec.template.spec.securityContext.runAsNonRoot} \
                {.spec.template.spec.containers[*].securityContext.readOnlyRootFilesystem} \
                {.spec.template.spec.containers[*].securityContext.capabilities.drop[0]}";
    let pods = cluster.run(&["get", "deployment", "windlass", "-n", SYSTEM, pods]);
    assert_eq!(pods, "2 true true ALL");
    // Whatever refers to another object refers to one that is there.
    let of = |kind: &str, path: &str| {
        let path = format!("-o=jsonpath={path}");
        cluster.run(&["get", kind, "-n", SYSTEM, &path])
    };
    let config = of(
        "deployment/windlass",
        "{.spec.template.spec.volumes[0].configMap.name}",
    );
    cluster.run(&["get", "configmap", "-n", SYSTEM, &config]);
    let labels = of(
        "deployment/windlass",
        "{.spec.template.metadata.labels.app}",
    );
    for kind in ["service/windlass", "service/windlass-webhook"] {
        assert_eq!(of(kind, "{.spec.selector.app}"), labels);
    }
    let service = "{.webhooks[*].clientConfig.service.name}";
    let service = of("validatingwebhookconfiguration/windlass", service);
    assert!(
        service.split(' ').all(|name| name == "windlass-webhook"),
        "{service}"
    );
}

#[test]
fn an_overlay_for_another_namespace_leads_to_nothing_in_the_first() {
    let cluster = Cluster::take();
    let folder = cluster.kubeconfig().with_file_name("overlay");
    let (base, overlay) = (folder.join("base"), folder.join("other"));
    for folder in [&base, &overlay] {
        fs::create_dir_all(folder).unwrap();
    }
    for file in fs::read_dir(manifest("")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), base.join(file.file_name())).unwrap();
    }
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides/kubernetes.md");
    let guide = fs::read_to_string(guide).unwrap();
    let begin = guide.find("nameSuffix: -other").expect("the overlay");
    let begin = guide[..begin].rfind("```yaml\n").unwrap() + "```yaml\n".len();
    let text = &guide[begin..];
    let text = &text[..text.find("```").unwrap()];
    let text = text.replace("github.com/you/windlass/deploy/kubernetes", "../base");
    fs::write(overlay.join("kustomization.yaml"), text).unwrap();
    let config = fs::read_to_string(manifest("config.yaml")).unwrap();
    let config = config.replace("windlass.windlass-system", "windlass-other.other-system");
    fs::write(overlay.join("config.yaml"), config).unwrap();
    let rendered = cluster.run(&["kustomize", overlay.to_str().unwrap()]);
    assert!(!rendered.contains("windlass-system"), "{rendered}");
    let counts = [
        ("name: windlass-webhook-other", 4),
        // Of the ClusterRole.
        ("  - windlass-other\n", 1),
        ("namespace: other-system\n", 14),
    ];
    for (text, count) in counts {
        assert_eq!(rendered.matches(text).count(), count, "{text}: {rendered}");
    }
}

#[test]
fn the_configuration_of_the_pods_is_one_that_windlass_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = windlass();
    view.args(["run", "--state-dir"]).arg(folder.path());
    view.args(["--config", &manifest("config.yaml")]);
    // It comes as far as looking for the identity that a Secret brings.
    let said = printed(view).unwrap_err();
    assert!(
        said.contains("/etc/windlass/identity/identity.txt"),
        "{said}"
    );
}

#[test]
fn the_control_plane_runs_with_its_rights_and_nothing_more() {
    let cluster = Cluster::take();
    install(&cluster);
    add_account(&cluster, "team", "web");
    cluster.run(&["create", "namespace", "other"]);
    let (_site, daemon) = start(&cluster);

    // From the commit to custom resources, to secrets, to a proxy.
    wait::until("the custom resources", || {
        cluster.try_run(&["get", "mesh/demo"])?;
        cluster.try_run(&["get", "dataplane/web", "-n", "team"])
    });
    let keys = cluster.run(&[
        "get",
        "secrets",
        "-n",
        SYSTEM,
        "-o=jsonpath={.items[*].type}",
    ]);
    assert!(keys.contains("windlass.io/"), "{keys}");
    let token = cluster.token("team", "web", "windlass");
    fetch_with(&daemon, "demo", "web", &token).unwrap();

    // And from `kubectl` to the control plane, in one file.
    let shop = "\
apiVersion: kuma.io/v1alpha1
kind: Mesh
metadata: {name: shop}
spec: {mtls: {enabled: true, ca: {builtin: {}}}}
---
apiVersion: kuma.io/v1alpha1
kind: TrafficPermission
mesh: shop
metadata: {name: all, namespace: team}
spec: {sources: [{match: {service: '*'}}], destinations: [{match: {service: '*'}}]}
";
    cluster.apply(shop).unwrap();
    wait::until("the mesh to be taken over", || {
        let get = daemon.cli(&["get", "traffic-permission", "all", "-m", "shop"]);
        printed(get).map_err(|said| format!("{said}\n{}", daemon.log()))
    });
    let unsafe_step = shop.replace("builtin", "provided");
    let said = cluster.apply(&unsafe_step).unwrap_err();
    assert!(
        said.contains("Changing CA when mTLS is enabled is forbidden"),
        "{said}"
    );
    let said = cluster.try_run(&["delete", "mesh", "demo"]).unwrap_err();
    assert!(said.contains("Git owns Mesh/demo: demo.yaml"), "{said}");
    cluster.run(&["delete", "trafficpermission", "all", "-n", "team"]);
    cluster.run(&["delete", "mesh", "shop"]);
    wait::until("the mesh to go", || {
        let get = daemon.cli(&["get", "meshes"]);
        match printed(get)? {
            meshes if meshes.contains("shop") => Err(meshes),
            _ => Ok(()),
        }
    });

    let log = daemon.log();
    assert!(
        !log.contains("forbidden: User") && !log.contains("cannot "),
        "{log}"
    );
    let may = |arguments: &[&str]| {
        let arguments = [&["auth", "can-i"][..], arguments].concat();
        let asked: Command = Cluster::kubectl_by(&own_kubeconfig(&cluster), &arguments);
        printed(asked).is_ok()
    };
    assert!(may(&["create", "tokenreviews"]) && may(&["get", "secrets", "-n", SYSTEM]));
    for beyond in [
        &["get", "secrets", "-n", "default"][..],
        &["get", "configmaps", "-n", "team"],
        &["create", "pods", "-n", SYSTEM],
        &["list", "namespaces"],
        &[
            "create",
            "serviceaccounts",
            "--subresource=token",
            "-n",
            SYSTEM,
        ],
        &["update", "customresourcedefinitions"],
        &["list", "customresourcedefinitions"],
        &["create", "validatingwebhookconfigurations"],
        &["update", "validatingwebhookconfigurations/other"],
        &["update", "roles", "-n", SYSTEM],
        &["impersonate", "users"],
    ] {
        assert!(!may(beyond), "it may {beyond:?}");
    }
}

#[test]
fn of_two_replicas_in_the_cluster_the_other_reconciles_after_a_kill() {
    let cluster = Cluster::take();
    install(&cluster);
    add_account(&cluster, "team", "web");
    let (site, first) = start(&cluster);
    let bundle = webhook_ca(&cluster);
    // The same repository and identity, another name and state folder.
    let repo = site.repo.path().to_str().unwrap().to_owned();
    let mut settings = site.settings().iter();
    let identity = settings.rfind(|(name, _)| name.ends_with("IDENTITY_FILE"));
    let beside = site_in(&cluster)
        .set("WINDLASS_SOURCE_REPO", &repo)
        .set("WINDLASS_GENERAL_INSTANCE_ID", "the-other-one")
        .set(
            "WINDLASS_STORE_ENCRYPTION_IDENTITY_FILE",
            &identity.unwrap().1,
        );
    let second = beside.start();
    let leads = |status: &serde_json::Value, other: bool| {
        let all = status["replicas"].as_array().into_iter().flatten();
        let living = all.filter(|it| it["silentSince"].is_null());
        let mut leading = living.filter(|it| it["leads"] == true);
        leading.any(|it| (it["name"] == "the-other-one") == other)
    };
    second.wait_until("both replicas", |status| {
        status["replicas"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
            && leads(status, false)
    });
    // Both serve what one reconciles.
    let token = cluster.token("team", "web", "windlass");
    for daemon in [&first, &second] {
        fetch_with(daemon, "demo", "web", &token).unwrap();
    }

    // A Service leads to who is there.
    register_webhook(&cluster, &second);
    assert_eq!(webhook_ca(&cluster), bundle);
    for daemon in [&first, &second] {
        assert_proven_by(&bundle, daemon);
    }
    first.kill9();
    let killed = Instant::now();
    let text = "type: TrafficPermission\nmesh: demo\nname: after-the-kill\n\
        sources: [{match: {service: web}}]\ndestinations: [{match: {service: web}}]\n";
    let commit = site
        .repo
        .commit(&[("after.yaml", Some(text))], "after the kill");
    let revision = format!("main@sha1:{commit}");
    wait::within(TAKEOVER, "the other one to apply the commit", || {
        let status = second.status()?;
        if status["sources"][0]["appliedRevision"] == revision.as_str() {
            Ok(())
        } else {
            Err(format!("{status:#}\n{}", second.log()))
        }
    });
    println!("the other one took {:?}", killed.elapsed());
    assert!(leads(&second.status().unwrap(), true));
    wait::until("it to be shown", || {
        cluster.try_run(&["get", "trafficpermission/after-the-kill", "-n", SYSTEM])
    });
    fetch_with(&second, "demo", "web", &token).unwrap();
}
