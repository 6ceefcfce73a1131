//! The certificate of the webhook is renewed, and nobody notices.

use std::collections::BTreeSet;

use super::site::{add_crds, beside, register_webhook_at, webhook_ca};
use crate::support::balancer::Balancer;
use crate::support::kubernetes::Cluster;
use crate::support::{tls, wait};

/// How many certificates follow each other, of which the first has ended by then.
const MANY: usize = 4;

#[test]
fn the_certificate_is_renewed_while_every_question_is_answered() {
    let cluster = Cluster::take();
    add_crds(&cluster);
    let site = beside(&cluster)
        .set("WINDLASS_WEBHOOK_ENABLED", "true")
        .set("WINDLASS_WEBHOOK_PORT", "0")
        .set("WINDLASS_WEBHOOK_CERTIFICATE_LIFETIME", "6s");
    let daemon = site.start();
    let address = daemon.listeners().webhook.clone().unwrap();
    let balancer = Balancer::start(0, 1);
    balancer.set(0, Some(&address));
    register_webhook_at(&cluster, &daemon, &balancer.address());
    let ca = webhook_ca(&cluster);

    let bad = cluster.kubeconfig().with_file_name("bad.json");
    let mesh = r#"{"apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": {"name": "bad"},
        "spec": {"mtls": {"ca": {"builtin": {}, "provided": {}}}}}"#;
    std::fs::write(&bad, mesh).unwrap();
    let ask = || {
        let asked = ["create", "--dry-run=server", "-f", bad.to_str().unwrap()];
        cluster.try_run(&asked).unwrap_or_else(|said| said)
    };
    let is_judged = |said: &str| said.contains("denied the request: Resource is not valid");
    // The API server hears of the webhook by and by.
    wait::until("the webhook to be asked", || {
        let said = ask();
        is_judged(&said).then_some(()).ok_or(said)
    });
    let mut shown = BTreeSet::new();
    let mut first_end = None;
    let mut handshakes = 0;
    wait::until("certificates to follow each other", || {
        // The next question comes over another connection.
        handshakes += balancer.cut();
        let said = ask();
        assert!(is_judged(&said), "{said}\n{}", daemon.log());
        let certificate = tls::shown(&address).unwrap();
        let (_, read) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        let end = read.validity().not_after.timestamp();
        let first_end = *first_end.get_or_insert(end);
        shown.insert(certificate.to_vec());
        let now = windlass::clock::now().unix_seconds();
        if shown.len() >= MANY && now > first_end {
            Ok(())
        } else {
            Err(format!("{} certificates\n{}", shown.len(), daemon.log()))
        }
    });
    assert!(handshakes >= MANY, "{handshakes}");
    assert_eq!(webhook_ca(&cluster), ca);
}
