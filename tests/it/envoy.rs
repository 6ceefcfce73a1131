//! A real Envoy, from the commit to the certificate.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::support::daemon::{authorities, mesh};
use crate::support::envoy::Identity;
use crate::support::mesh_ca::verify;
use crate::support::{Daemon, Envoy, MeshCa, Site, wait};

const ENABLED: &str = "type: Mesh\nname: default\nmtls:\n  enabled: true\n  ca:\n";

/// Waits until Envoy's `/certs` shows exactly one certificate, of this
/// identity, under one root, both others than `former`.
fn wait_for_identity(envoy: &mut Envoy, uri: &str, former: Option<&Identity>) -> Identity {
    wait::until(&format!("{uri} in /certs"), || {
        envoy.assert_running();
        let found = envoy.identities()?;
        match found.as_slice() {
            [one]
                if one.uris == [uri]
                    && one.root_serials.len() == 1
                    && former.is_none_or(|former| {
                        former.root_serials != one.root_serials && former.serial != one.serial
                    }) =>
            {
                Ok(one.clone())
            }
            _ => Err(format!("{found:?}\n{}", envoy.log())),
        }
    })
}

/// The root that Envoy was given as `mesh_ca`.
fn given_root(envoy: &Envoy) -> Result<CertificateDer<'static>, String> {
    let dump = envoy.admin("/config_dump?resource=dynamic_active_secrets")?;
    let secret = dump["configs"]
        .as_array()
        .and_then(|secrets| secrets.iter().find(|secret| secret["name"] == "mesh_ca"))
        .ok_or_else(|| format!("no mesh_ca: {dump}"))?;
    let roots = &secret["secret"]["validation_context"]["trusted_ca"];
    let pem = match (&roots["inline_string"], &roots["inline_bytes"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(text)) => base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text)
            .map_err(|error| error.to_string())?,
        _ => return Err(format!("mesh_ca holds no text: {secret}")),
    };
    CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())
}

/// The id that the status would give to a certificate.
fn id(certificate: &CertificateDer<'_>) -> String {
    windlass::model::Digest::of(certificate).to_string()
}

/// Checks that what the listener shows is signed by `root`, which is the active
/// authority of the mesh.
fn assert_chain(daemon: &Daemon, envoy: &Envoy, root: &CertificateDer<'_>, uri: &str) {
    let status = daemon.status().expect("a status");
    assert_eq!(
        authorities(&status, "default", "active"),
        [id(root)],
        "{status:#}"
    );
    assert_eq!(verified(envoy, root), [uri]);
    assert_insight(daemon, &id(root));
}

fn is_of_the_test(replica: &Value) -> bool {
    let name = replica.as_str();
    name.is_some_and(|name| name.starts_with("cp-of-the-test"))
}

/// Checks that people are told that the proxy holds what it should, of this authority.
fn assert_insight(daemon: &Daemon, authority: &str) {
    daemon.wait_until("a proxy that is in sync", |status| {
        let insights = &mesh(status, "default")["dataplanes"]["insights"];
        insights.as_array().is_some_and(|insights| {
            insights.iter().any(|insight| {
                insight["name"] == "dp-echo-1"
                    && insight["connectedSince"].is_string()
                    && insight["tokenExpiresAt"].is_string()
                    && is_of_the_test(&insight["replica"])
                    && insight["outOfSync"] == json!([])
                    && insight["leafAuthority"] == authority
                    && insight["versions"]["mesh_ca"].is_string()
            })
        })
    });
    let columns = [
        "Online for ",
        "cp-of-the-test",
        &authority["sha256:".len()..][..12],
        " yes ",
    ];
    // Another replica may answer, and may not have heard of it yet.
    wait::until("a row that says so", || {
        let output = daemon.cli(&["inspect", "dataplanes"]).output();
        let text = String::from_utf8(output.expect("the program runs").stdout).expect("text");
        let mut rows = text.lines().filter(|line| line.contains("dp-echo-1"));
        let says_so = rows.any(|row| columns.iter().all(|column| row.contains(column)));
        if says_so { Ok(()) } else { Err(text) }
    });
}

/// The identity that the listener proves to who trusts `root`. A worker thread
/// may be a moment behind what the admin server says.
fn verified(envoy: &Envoy, root: &CertificateDer<'_>) -> Vec<String> {
    wait::until("a chain to the root", || {
        verify(&envoy.shown()?, root).map_err(|error| error.to_string())
    })
}

#[test]
pub(crate) fn envoy_gets_its_certificate_and_follows_the_mesh_from_builtin_over_disabled_to_provided()
 {
    let site = Site::from_examples().set("WINDLASS_GENERAL_INSTANCE_ID", "cp-of-the-test");
    let daemon = site.start();
    let mut envoy = Envoy::start(&daemon, "default", "dp-echo-1");
    let pids = (daemon.pid(), envoy.pid());
    let uri = "spiffe://default/echo";

    // After the start: the mesh's own root.
    let builtin = wait_for_identity(&mut envoy, uri, None);
    let builtin_root = wait::until("mesh_ca", || given_root(&envoy));
    assert_chain(&daemon, &envoy, &builtin_root, uri);

    // Disabled: nothing new is sent, and nothing that is there breaks.
    let provided_ca = MeshCa::for_mesh("default");
    let disabled = "type: Mesh\nname: default\nmtls: {enabled: false, ca: {builtin: {}}}\n";
    let commit = site
        .repo
        .commit(&[("default/mesh.yaml", Some(disabled))], "disable mTLS");
    let status = daemon.wait_until_applied(&commit);
    assert_eq!(
        mesh(&status, "default")["mtls"]["enabled"],
        false,
        "{status:#}"
    );
    assert_eq!(envoy.identities(), Ok(vec![builtin.clone()]));

    // Still disabled, with another CA; then enabled.
    let document = provided_ca.document("default", "root-of-the-test");
    let changed = "type: Mesh\nname: default\nmtls: {enabled: false, ca: {provided: {}}}\n";
    let commit = site.repo.commit(
        &[
            ("default/mesh.yaml", Some(changed)),
            ("default/ca.yaml", Some(&document)),
        ],
        "change the CA",
    );
    daemon.wait_until_applied(&commit);
    let enabled = format!("{ENABLED}    provided: {{}}\n");
    let commit = site
        .repo
        .commit(&[("default/mesh.yaml", Some(&enabled))], "enable mTLS");
    daemon.wait_until_applied(&commit);

    wait_for_identity(&mut envoy, uri, Some(&builtin));
    assert_chain(&daemon, &envoy, provided_ca.der(), uri);
    let leaf = envoy.shown().expect("a certificate");
    assert!(
        verify(&leaf, &builtin_root).is_err(),
        "the old root still verifies"
    );

    // The new root is what clients are judged by.
    let answer = envoy.ask(&provided_ca.client("spiffe://default/web"));
    assert!(
        answer.as_ref().is_ok_and(|text| text.ends_with("echo\n")),
        "{answer:?}"
    );
    let stranger = envoy.ask(&MeshCa::for_mesh("default").client("spiffe://default/web"));
    assert!(stranger.is_err(), "{stranger:?}");

    envoy.assert_running();
    assert_eq!((daemon.pid(), envoy.pid()), pids);
    for secret in ["identity_cert", "mesh_ca"] {
        let rejected = envoy.counter(&format!("sds.{secret}.update_rejected"));
        assert_eq!(rejected, Ok(0), "{secret}\n{}", envoy.log());
    }
    assert!(daemon.terminate().success());
}

#[test]
pub(crate) fn envoy_gets_a_certificate_of_a_provided_root_whose_key_is_sealed() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut envoy = Envoy::start(&daemon, "payments", "dp-ledger-1");
    let uri = "spiffe://payments/ledger";
    wait_for_identity(&mut envoy, uri, None);
    let document = std::fs::read(site.repo.path().join("payments/ca.yaml")).expect("the document");
    let text = String::from_utf8(document)
        .expect("UTF-8")
        .replace("\n  ", "\n");
    let root = CertificateDer::from_pem_slice(text.as_bytes()).expect("a certificate");
    assert_eq!(verified(&envoy, &root), [uri]);
}

#[test]
pub(crate) fn envoy_gets_a_new_leaf_of_the_same_root_when_half_of_its_life_is_over() {
    let site = Site::from_examples().set("WINDLASS_CA_LEAF_LIFETIME", "6s");
    let daemon = site.start();
    let token = daemon.token("dp-web-1", "default");
    let mut envoy = Envoy::with_token(&daemon, "default", "dp-web-1", token.as_bytes());
    let uri = "spiffe://default/web";
    let first = wait_for_identity(&mut envoy, uri, None);
    let second = wait::until("another leaf", || {
        let found = envoy.identities()?;
        match found.as_slice() {
            [one] if one.serial != first.serial => Ok(one.clone()),
            _ => Err(format!("{found:?}\n{}", envoy.log())),
        }
    });
    assert_eq!(second.uris, first.uris);
    assert_eq!(second.root_serials, first.root_serials);
}

#[test]
pub(crate) fn envoy_comes_back_to_a_daemon_that_was_killed_and_gets_only_what_it_lacks() {
    let site = Site::from_examples();
    let daemon = site.start();
    let mut envoy = Envoy::start(&daemon, "default", "dp-echo-1");
    let uri = "spiffe://default/echo";
    let first = wait_for_identity(&mut envoy, uri, None);
    let (_, port) = daemon.listeners().xds.rsplit_once(':').expect("a port");
    let site = site.set("WINDLASS_XDS_PORT", port);
    site.wait_until_trust_is_stored(1);
    daemon.kill9();
    assert_eq!(envoy.identities(), Ok(vec![first.clone()]));

    // Leaves live in memory: there is a new one. The root is the same.
    let daemon = site.start();
    let second = wait::until("another leaf", || {
        let found = envoy.identities()?;
        match found.as_slice() {
            [one] if one.serial != first.serial => Ok(one.clone()),
            _ => Err(format!("{found:?}\n{}", envoy.log())),
        }
    });
    assert_eq!(second.uris, first.uris);
    assert_eq!(second.root_serials, first.root_serials);
    wait::until("both streams", || {
        envoy
            .counter("sds.mesh_ca.control_plane.connected_state")
            .and_then(|state| (state == 1).then_some(()).ok_or_else(|| envoy.log()))
    });
    let updates = |secret: &str| envoy.counter(&format!("sds.{secret}.update_success"));
    assert_eq!(updates("identity_cert"), Ok(2));
    assert_eq!(updates("mesh_ca"), Ok(1));
    daemon.wait_until("the dataplane to be online", |status| {
        mesh(status, "default")["dataplanes"]["online"] == 1
    });
}
