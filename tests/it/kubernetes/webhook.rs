//! What `kubectl` may write, and what it is told.

use serde_json::{Value, json};

use super::site::{SYSTEM, add_crds, beside, register_webhook};
use crate::support::kubernetes::Cluster;
use crate::support::{Daemon, Site, http, tls, wait};

const PERMISSION: &str = "\
apiVersion: kuma.io/v1alpha1
kind: TrafficPermission
mesh: shop
metadata: {name: all, namespace: default}
spec:
  sources: [{match: {service: '*'}}]
  destinations: [{match: {service: '*'}}]
";

/// A control plane that judges for the cluster, its store being SQLite: what is
/// written to the cluster is judged and goes no further.
struct Judged {
    cluster: Cluster,
    daemon: Daemon,
    _site: Site,
}

impl Judged {
    /// Git owns the mesh `demo`; the API owns the mesh `shop`, where mTLS is enabled.
    fn start() -> Self {
        let cluster = Cluster::take();
        add_crds(&cluster);
        let site = beside(&cluster)
            .set("WINDLASS_WEBHOOK_ENABLED", "true")
            .set("WINDLASS_WEBHOOK_PORT", "0");
        let daemon = site.start();
        let judged = Self {
            cluster,
            daemon,
            _site: site,
        };
        judged.put("/meshes/shop", &json!({"mtls": {"enabled": true}}));
        judged.register();
        judged
    }

    fn put(&self, path: &str, body: &Value) {
        let api = &self.daemon.listeners().api;
        http::put(api, path, body)
            .and_then(http::Answer::ok)
            .unwrap();
    }

    fn register(&self) {
        register_webhook(&self.cluster, &self.daemon);
        // The API server hears of it by and by.
        wait::until("the webhook to be asked", || {
            let asked = ["apply", "--dry-run=server", "-f"];
            let bad = self.file(
                "bad.yaml",
                &mesh("bad", "{ca: {builtin: {}, provided: {}}}"),
            );
            match self.cluster.try_run(&[&asked[..], &[&*bad]].concat()) {
                Err(said) if said.contains("denied the request") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.cluster.kubeconfig().with_file_name(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What `kubectl apply` is told where it is refused.
    fn refused(&self, documents: &str) -> String {
        self.cluster.apply(documents).expect_err("it is refused")
    }
}

fn mesh(name: &str, mtls: &str) -> String {
    format!(
        "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {{name: {name}}}\nspec: {{mtls: {mtls}}}\n"
    )
}

fn assert_says(said: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(said.contains(wanted), "{said}\nhas no {wanted:?}");
    }
}

#[test]
fn what_is_good_is_applied_and_what_is_not_is_told_why_at_once() {
    let judged = Judged::start();
    judged
        .cluster
        .apply(&mesh("shop", "{enabled: true}"))
        .unwrap();
    judged.cluster.apply(PERMISSION).unwrap();

    let bad = PERMISSION
        .replace("service: '*'", "env: x")
        .replace("all", "bad");
    let said = judged.refused(&bad);
    assert_says(
        &said,
        &[
            "admission webhook \"resources.windlass.io\" denied the request: Resource is not valid",
            "* sources[0].match[\"env\"]: tag \"env\" is not allowed",
            "* sources[0].match: mandatory tag \"service\" is missing",
            "* destinations[0].match[\"env\"]: tag \"env\" is not allowed",
        ],
    );
    let said = judged.refused(&PERMISSION.replace("shop", "none"));
    assert_says(&said, &["mesh of name none is not found"]);
    let dataplane = "\
apiVersion: kuma.io/v1alpha1
kind: Dataplane
mesh: shop
metadata: {name: web, namespace: default}
spec: {networking: {address: nowhere, inbound: [{port: 0, tags: {version: v1}}]}}
";
    let said = judged.refused(dataplane);
    assert_says(
        &said,
        &[
            "* networking.address: address has to be valid IP address",
            "* networking.inbound[0].port: port has to be in range of [1, 65535]",
            "* networking.inbound[0].tags: mandatory tag \"service\" is missing",
        ],
    );
}

#[test]
fn an_unsafe_change_of_ca_is_refused_as_by_the_api() {
    let judged = Judged::start();
    judged
        .cluster
        .apply(&mesh("shop", "{enabled: true}"))
        .unwrap();
    let said = judged.refused(&mesh("shop", "{enabled: true, ca: {provided: {}}}"));
    assert_says(
        &said,
        &["* mtls.ca: Changing CA when mTLS is enabled is forbidden. \
             Disable mTLS first and then change the CA"],
    );
    let both = "{enabled: true, ca: {provided: {}, builtin: {}}}";
    let said = judged.refused(&mesh("new", both));
    assert_says(
        &said,
        &["* mtls.ca: exactly one of \"builtin\" and \"provided\" must be set"],
    );

    // Which words there are, the rules say, and not the schema.
    let unknown = "{enabled: true, transition: {strategy: bogus}}";
    let said = judged.refused(&mesh("shop", unknown));
    assert_says(
        &said,
        &[
            "denied the request: Resource is not valid",
            "* mtls.transition.strategy: must be one of rolling, disableFirst, forbid",
        ],
    );

    // A question without consequences has none.
    let file = judged.file("dry.yaml", &mesh("dry", "{enabled: true}"));
    judged
        .cluster
        .run(&["apply", "--dry-run=server", "-f", &file]);
    let api = &judged.daemon.listeners().api;
    assert_eq!(http::get(api, "/meshes/dry").unwrap().status, 404);
}

#[test]
fn what_git_owns_is_refused_with_the_file_that_owns_it() {
    let judged = Judged::start();
    let said = judged.refused(&mesh("demo", "{enabled: false}"));
    let owner = "Git owns Mesh/demo: demo.yaml of source default, as of main@sha1:";
    assert_says(&said, &[owner, "commit the change there instead"]);
    let web = "\
apiVersion: kuma.io/v1alpha1
kind: Dataplane
mesh: demo
metadata: {name: web, namespace: team}
spec: {networking: {address: 127.0.0.9, inbound: [{port: 11011, tags: {service: web}}]}}
";
    judged.cluster.run(&["create", "namespace", "team"]);
    assert_says(
        &judged.refused(web),
        &["Git owns demo/Dataplane/web: demo.yaml"],
    );
    let said = judged.refused(&web.replace("team", "default"));
    assert_says(&said, &["demo/Dataplane/web is in namespace team already"]);

    // As Windlass shows it, it may be put back by anyone.
    let shown = web.replace("127.0.0.9", "127.0.0.1").replace(
        "namespace: team}",
        &format!(
            "namespace: team, labels: {{app.kubernetes.io/managed-by: windlass, \
             windlass.io/control-plane: {SYSTEM}, windlass.io/origin: git}}, \
             annotations: {{windlass.io/source: default, windlass.io/file: demo.yaml}}}}"
        ),
    );
    judged.cluster.apply(&shown).unwrap();
    for change in [
        &[
            "label",
            "dataplane",
            "web",
            "-n=team",
            "windlass.io/origin-",
        ][..],
        &[
            "label",
            "dataplane",
            "web",
            "-n=team",
            "windlass.io/control-plane-",
        ],
        &[
            "label",
            "dataplane",
            "web",
            "-n=team",
            "--overwrite",
            "windlass.io/control-plane=x",
        ],
        &["delete", "dataplane", "web", "-n=team"],
    ] {
        // The API server asks all webhooks at once and tells the first refusal,
        // so that which of the two is named is left to chance.
        let said = judged.cluster.try_run(change).expect_err("it is refused");
        assert_says(
            &said,
            &[".windlass.io\" denied the request: Git owns demo/Dataplane/web: demo.yaml"],
        );
    }
}

#[test]
fn while_nobody_judges_a_mesh_and_what_git_owns_stay_as_they_are() {
    let judged = Judged::start();
    judged
        .cluster
        .apply(&mesh("shop", "{enabled: true}"))
        .unwrap();
    let address = judged.daemon.listeners().webhook.clone().unwrap();
    let Judged {
        cluster,
        daemon,
        _site,
    } = judged;
    daemon.kill9();
    let closed = "failed calling webhook \"mesh.windlass.io\"";
    let said = cluster
        .apply(&mesh("shop", "{enabled: false}"))
        .unwrap_err();
    assert_says(&said, &[closed, &address]);
    let said = cluster.try_run(&["delete", "mesh", "shop"]).unwrap_err();
    assert_says(&said, &[closed]);
    let owned = "namespace: default, labels: {windlass.io/origin: git}";
    let said = cluster.apply(&PERMISSION.replace("namespace: default", owned));
    assert_says(
        &said.unwrap_err(),
        &["failed calling webhook \"git.windlass.io\""],
    );
    cluster.apply(PERMISSION).unwrap();
}

#[test]
fn the_api_server_is_told_the_ca_again_where_it_is_lost() {
    let judged = Judged::start();
    let bundle = "/webhooks/0/clientConfig/caBundle";
    let patch = json!([{"op": "remove", "path": bundle}]).to_string();
    let configuration = ["validatingwebhookconfiguration", "windlass"];
    let change = ["patch", "--type=json", "-p", &patch];
    judged
        .cluster
        .run(&[&change[..], &configuration[..]].concat());
    wait::until("the CA to be told again", || {
        let bundle = "-o=jsonpath={.webhooks[0].clientConfig.caBundle}";
        let known = judged
            .cluster
            .run(&[&["get", bundle][..], &configuration[..]].concat());
        if known.is_empty() {
            Err("it is not known")
        } else {
            Ok(())
        }
    });
    // What proves the server is made at each start, under the same CA.
    let address = judged.daemon.listeners().webhook.clone().unwrap();
    let shown = tls::shown(&address).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&shown).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = format!("{:?}", names.value.general_names);
    assert_says(&names, &[&format!("windlass-webhook.{SYSTEM}.svc")]);
}
