//! The certificates of provided CAs: the documented workflow, and what is refused.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde_json::{Value, json};

use super::control_plane::{Answer, call, get};
use super::write::{api, dataplane, put, refused};
use crate::support::daemon::{Replica, authorities, windlass};
use crate::support::mesh_ca::verify;
use crate::support::{Daemon, MeshCa, Site, sds, tls, wait};

const OTHER: &str = "type: Mesh\nname: other\n";
const ALL: &str = "/meshes/demo/ca/provided/certificates";

fn admin(daemon: &Daemon) -> SocketAddr {
    daemon.listeners().admin.parse().unwrap()
}

fn add(daemon: &Daemon, cert: &str, key: &str) -> Answer {
    add_to(admin(daemon), cert, key)
}

fn add_to(admin: SocketAddr, cert: &str, key: &str) -> Answer {
    let body = json!({"cert": cert, "key": key}).to_string();
    call(admin, "POST", ALL, "", &body)
}

/// Waits until every replica lists these.
fn assert_lists(daemon: &Daemon, items: &Value) {
    for _ in 0..daemon.replicas().len() {
        wait::until("the list", || {
            let list = get(admin(daemon), ALL);
            let is_right = list.status == 200 && list.json() == json!({"items": items});
            is_right.then_some(()).ok_or(list.body)
        });
    }
}

fn delete(daemon: &Daemon, id: &str) -> Answer {
    call(admin(daemon), "DELETE", &format!("{ALL}/{id}"), "", "")
}

fn mesh(daemon: &Daemon, enabled: bool, ca: &Value) -> Answer {
    let body = json!({"mtls": {"enabled": enabled, "ca": ca}});
    put(daemon, "/meshes/demo", &body)
}

/// `windlass manage ca provided certificates`
fn manage(daemon: &Daemon, home: &Path, arguments: &[&str]) -> Output {
    let all = ["manage", "ca", "provided", "certificates"];
    let mut command = daemon.cli(&[&all, arguments, &["--mesh", "demo"]].concat());
    command.current_dir(home).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What of the key may be nowhere: its lines and its bytes.
fn assert_nowhere(site: &Site, daemon: &Daemon, key: &str) {
    let lines = key.lines().filter(|line| line.len() == 64).skip(1);
    let mut parts: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
    let body: String = key.lines().filter(|it| !it.starts_with("-----")).collect();
    // The number of P-256 in PKCS#8.
    parts.push(STANDARD.decode(body).unwrap()[36..68].to_vec());
    parts.push(b"PRIVATE KEY-----".to_vec());
    assert!(parts.len() > 2);
    let log = daemon.log();
    assert!(log.contains("TRACE"), "this log proves nothing");
    let mut places = vec![("the log".to_owned(), log.into_bytes())];
    for entry in fs::read_dir(site.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            places.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    for path in ["/state", "/status", "/history", "/meshes/demo"] {
        let answer = get(api(daemon), path);
        places.push((path.to_owned(), answer.body.into_bytes()));
    }
    for (place, bytes) in places {
        let is_there = parts.iter().any(|part| contains(&bytes, part));
        assert!(!is_there, "the key is in {place}");
    }
}

/// The page on mutual TLS: upload, disable, change and enable.
#[test]
pub(crate) fn the_documented_workflow_leads_from_builtin_to_a_leaf_of_the_root_that_was_added() {
    let site = Site::from_files(&[("other.yaml", OTHER)]).set("WINDLASS_LOG", "trace");
    let daemon = site.start();
    let (builtin, provided) = (json!({"builtin": {}}), json!({"provided": {}}));
    assert_eq!(mesh(&daemon, true, &builtin).status, 201);
    let path = "/meshes/demo/dataplanes/dp-1";
    assert_eq!(put(&daemon, path, &dataplane(8080)).status, 201);

    let home = tempfile::tempdir().unwrap();
    let ca = MeshCa::for_mesh("demo");
    fs::write(home.path().join("ca.crt"), ca.cert_pem()).unwrap();
    fs::write(home.path().join("ca.key"), ca.key_pem()).unwrap();
    let files = ["add", "--cert-file", "ca.crt", "--key-file", "ca.key"];
    let added = printed(&manage(&daemon, home.path(), &files));
    let id = added.trim_end();
    let staged = authorities(&daemon.status().unwrap(), "demo", "staged");
    assert_eq!(staged, [id]);

    let again = add(&daemon, &ca.cert_pem(), &ca.key_pem());
    let item = json!({"id": id, "cert": ca.cert_pem()});
    assert_eq!((again.status, again.json()), (200, item.clone()));
    assert_lists(&daemon, &json!([item]));
    let table = printed(&manage(&daemon, home.path(), &["list"]));
    let (header, row) = table.split_once('\n').unwrap();
    let columns: Vec<&str> = header.split("   ").map(str::trim).collect();
    let columns: Vec<&str> = columns.into_iter().filter(|it| !it.is_empty()).collect();
    assert_eq!(
        columns,
        [
            "ID",
            "COMMON NAME",
            "SERIAL NUMBER",
            "NOT VALID BEFORE",
            "NOT VALID AFTER",
            "SHA-256 FINGERPRINT"
        ]
    );
    assert!(
        row.starts_with(id) && row.contains("a provided root"),
        "{row}"
    );
    assert!(row.trim_end().ends_with(id.trim_start_matches("sha256:")));

    let early = mesh(&daemon, true, &provided);
    let forbidden = "mtls.ca: Changing CA when mTLS is enabled is forbidden. \
                     Disable mTLS first and then change the CA";
    assert_eq!(refused(&early).2, [forbidden]);
    assert_eq!(mesh(&daemon, false, &builtin).status, 200);
    assert_eq!(mesh(&daemon, true, &provided).status, 200);
    daemon.wait_until("the added root to sign", |status| {
        authorities(status, "demo", "active") == [id]
    });
    let uris = wait::until("a leaf of the added root", || {
        let secrets = sds::fetch(&daemon, "demo", "dp-1")?;
        let leaf = tls::certificate(&secrets.leaf)?;
        verify(&leaf, ca.der()).map_err(|error| error.to_string())
    });
    assert_eq!(uris, ["spiffe://demo/web"]);

    let pinned = "mtls.ca: Cannot delete signing certificate when the mTLS in the mesh is active \
                  and type of CA is Provided";
    let output = manage(&daemon, home.path(), &["delete", "--id", id]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(
        stderr,
        format!("Error: Could not delete signing cert (Resource is not valid)\n* {pinned}\n")
    );
    assert_eq!(refused(&delete(&daemon, id)).0, 400);
    assert_nowhere(&site, &daemon, &ca.key_pem());
}

#[test]
pub(crate) fn a_certificate_goes_once_its_mesh_does_not_ask_for_it_and_may_come_back() {
    let site = Site::from_files(&[("other.yaml", OTHER)]);
    let daemon = site.start();
    let (builtin, provided) = (json!({"builtin": {}}), json!({"provided": {}}));
    let ca = MeshCa::for_mesh("demo");
    let absent = add(&daemon, &ca.cert_pem(), &ca.key_pem());
    let not_found = json!({"title": "Could not retrieve the mesh", "details": "Not found",
        "causes": []});
    assert_eq!((absent.status, absent.json()), (404, not_found));
    assert_eq!(get(admin(&daemon), ALL).status, 404);

    assert_eq!(mesh(&daemon, false, &builtin).status, 201);
    let added = add(&daemon, &ca.cert_pem(), &ca.key_pem());
    assert_eq!(added.status, 200, "{added:?}");
    let id = added.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(mesh(&daemon, false, &provided).status, 200);
    let (status, _, causes) = refused(&delete(&daemon, &id));
    assert_eq!(status, 400);
    let lost = "mtls.ca.provided: There is no signing certificate in provided CA for a given mesh.";
    assert_eq!(causes, [lost]);

    let second = MeshCa::for_mesh("demo");
    let (status, _, causes) = refused(&add(&daemon, &second.cert_pem(), &second.key_pem()));
    assert_eq!((status, causes.len()), (400, 1));
    let several = "mtls.ca.provided: the mesh has several provided CAs and must name one: cert-";
    assert!(causes[0].starts_with(several), "{causes:?}");
    let name = format!("cert-{}", &id["sha256:".len()..][..16]);
    let named = json!({"provided": {"name": name}});
    assert_eq!(mesh(&daemon, true, &named).status, 200);
    let other = add(&daemon, &second.cert_pem(), &second.key_pem());
    assert_eq!(other.status, 200, "{other:?}");
    // It does not sign, and is not to.
    let other = other.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(delete(&daemon, &other).status, 200);
    assert_eq!(refused(&delete(&daemon, &id)).0, 400);

    assert_eq!(mesh(&daemon, false, &named).status, 200);
    assert_eq!(mesh(&daemon, false, &builtin).status, 200);
    assert_eq!(delete(&daemon, &id).status, 200);
    assert_lists(&daemon, &json!([]));
    assert_eq!(delete(&daemon, &id).status, 404);
    assert_eq!(delete(&daemon, "nonsense").status, 404);
    daemon.wait_until("its key to be destroyed", |status| {
        ["staged", "prepared", "active", "retiring"]
            .iter()
            .all(|state| !authorities(status, "demo", state).contains(&id))
    });
    assert_eq!(add(&daemon, &ca.cert_pem(), &ca.key_pem()).status, 200);
    assert_eq!(mesh(&daemon, true, &provided).status, 200);
    daemon.wait_until("the root that came back to sign", |status| {
        authorities(status, "demo", "active") == [&*id]
    });
}

/// On two replicas; what they share is for the caller to say.
pub(crate) fn one_replica_adds_and_the_other_lists_and_deletes() {
    let site = Site::from_files(&[("other.yaml", OTHER)]);
    let daemon = site.start();
    assert_eq!(mesh(&daemon, false, &json!({"builtin": {}})).status, 201);
    let [one, other] = daemon.replicas() else {
        panic!("these are not two replicas");
    };
    let manage = |at: &Replica, arguments: &[&str]| {
        let mut command = windlass();
        command.args(["manage", "ca", "provided", "certificates"]);
        command
            .args(arguments)
            .args(["--mesh", "demo", "--address"]);
        command.arg(format!("http://{}", at.listeners().api));
        command.output().unwrap()
    };
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (adds, deletes) in [(one, other), (other, one)] {
        let ca = MeshCa::for_mesh("demo");
        let (cert, key) = (
            file("ca.crt", &ca.cert_pem()),
            file("ca.key", &ca.key_pem()),
        );
        let files = ["add", "--cert-file", &*cert, "--key-file", &*key];
        // A replica that has not heard of what the other one did looks first.
        let added = printed(&manage(adds, &files));
        let id = added.trim_end();
        let admin: SocketAddr = deletes.listeners().admin.parse().unwrap();
        let again = add_to(admin, &ca.cert_pem(), &ca.key_pem());
        assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id)));
        wait::until("the other replica to list it", || {
            let table = printed(&manage(deletes, &["list"]));
            table.contains(id).then_some(()).ok_or(table)
        });
        printed(&manage(deletes, &["delete", "--id", id]));
        wait::until("the first replica to know that it is gone", || {
            let table = printed(&manage(adds, &["list"]));
            (!table.contains(id)).then_some(()).ok_or(table)
        });
        let gone = manage(adds, &["delete", "--id", id]);
        assert!(!gone.status.success(), "{gone:?}");
        daemon.wait_until("its key to be destroyed", |status| {
            let states = ["staged", "prepared", "active", "retiring"];
            let mut known = states.iter().flat_map(|it| authorities(status, "demo", it));
            known.all(|known| known != id)
        });
    }
}

#[test]
fn git_keeps_its_own_and_a_call_adds_beside_it() {
    let ca = MeshCa::for_mesh("demo");
    let document = ca.document("demo", "root");
    let site = Site::from_files(&[
        ("mesh.yaml", "type: Mesh\nname: demo\n"),
        ("ca.yaml", &document),
    ]);
    let daemon = site.start();
    // What Git holds is there already.
    let known = add(&daemon, &ca.cert_pem(), &ca.key_pem());
    assert_eq!(known.status, 200, "{known:?}");
    let list = get(admin(&daemon), ALL).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (status, details, _) = refused(&delete(&daemon, known.json()["id"].as_str().unwrap()));
    assert_eq!(status, 409);
    let owner = "Git owns demo/ProvidedCa/root: ca.yaml of source default";
    assert!(details.starts_with(owner), "{details}");

    let beside = MeshCa::for_mesh("demo");
    let added = add(&daemon, &beside.cert_pem(), &beside.key_pem());
    assert_eq!(added.status, 200, "{added:?}");
    let commit = site.repo.commit(&[("other.yaml", Some(OTHER))], "next");
    daemon.wait_until_applied(&commit);
    let list = get(admin(&daemon), ALL);
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
    assert!(!list.body.contains("PRIVATE KEY"), "{list:?}");
    let id = added.json()["id"].as_str().unwrap().to_owned();
    // The commit alone is unambiguous, the mesh is not.
    let provided = "type: Mesh\nname: demo\nmtls: {ca: {provided: {}}}\n";
    let commit = site
        .repo
        .commit(&[("mesh.yaml", Some(provided))], "provided");
    daemon.wait_until("the ambiguity to be told", |status| {
        let found = &status["sources"][0]["diagnostics"][0];
        found["field"] == "mtls.ca.provided"
            && found["message"]
                .to_string()
                .contains("demo/ProvidedCa/cert-")
    });
    assert_eq!(delete(&daemon, &id).status, 200);
    assert_eq!(call(api(&daemon), "POST", "/sync", "", "").status, 202);
    daemon.wait_until_applied(&commit);
}

/// A root, changed.
fn root(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    (params, KeyPair::generate().unwrap())
}

fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let (params, key) = root(change);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn intermediate() -> (String, String) {
    let (mut above, above_key) = root(|_| {});
    above.distinguished_name = DistinguishedName::new();
    above.distinguished_name.push(DnType::CommonName, "above");
    let (params, key) = root(|_| {});
    let issuer = Issuer::from_params(&above, &above_key);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn what_is_no_root_with_its_key_is_refused_with_all_that_is_wrong() {
    const NO_CA: &str = "cert: basic constraint 'CA' must be set to 'true' \
                         (see X509-SVID: 4.1. Basic Constraints)";
    const SIGNS: &str = "cert: key usage extension 'digitalSignature' must NOT be set \
                         (see X509-SVID: Appendix A. X.509 Field Reference)";
    const OTHER_KEY: &str = ".: not a valid TLS key pair: the private key does not match the \
                             public key of the certificate";
    let site = Site::from_files(&[("mesh.yaml", "type: Mesh\nname: demo\n")]);
    let daemon = site.start();
    let (good, key) = self_signed(|_| {});
    let no_ca = self_signed(|params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    });
    let expired = self_signed(|params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let (between, between_key) = intermediate();
    let self_signed_only =
        "cert: certificate must be self-signed (intermediate CAs are not allowed)";
    let no_pem = ".: not a valid TLS key pair: there is no PEM block of type CERTIFICATE in the \
                  certificate";
    for (cert, key, wrong) in [
        (&*between, &*between_key, vec![self_signed_only]),
        (&no_ca.0, &no_ca.1, vec![NO_CA, SIGNS]),
        (&no_ca.0, &other_key, vec![NO_CA, SIGNS, OTHER_KEY]),
        (&good, &other_key, vec![OTHER_KEY]),
        ("no PEM", &key, vec![no_pem]),
        (
            &good,
            "no PEM",
            vec![".: not a valid TLS key pair: there is no private key in PEM"],
        ),
        (
            &expired.0,
            &expired.1,
            vec!["cert: certificate has expired on 2020-01-01T00:00:00Z"],
        ),
        (
            &format!("{good}{key}"),
            &key,
            vec!["cert: the certificate holds a private key"],
        ),
        (
            "",
            "",
            vec!["cert: cannot be empty", "key: cannot be empty"],
        ),
    ] {
        let answer = add(&daemon, cert, key);
        let wrong = wrong.iter().map(|it| (*it).to_owned()).collect();
        let expected = (400, "Resource is not valid".to_owned(), wrong);
        assert_eq!(refused(&answer), expected);
        assert_eq!(answer.json()["title"], "Could not add signing cert");
    }
    for body in [
        "",
        "[]",
        "{\"cert\": \"x\", \"key\": \"TOP SECRET\", \"more\": 1}",
        "{\"key\": 5}",
    ] {
        let answer = call(admin(&daemon), "POST", ALL, "", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.body.contains("TOP SECRET"), "{answer:?}");
    }
    let large = "x".repeat(300 * 1024);
    assert_eq!(add(&daemon, &good, &large).status, 413);
    assert_lists(&daemon, &json!([]));

    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("ca.crt"), between).unwrap();
    fs::write(home.path().join("ca.key"), between_key).unwrap();
    fs::write(home.path().join("large"), large).unwrap();
    let files = ["add", "--cert-file", "ca.crt", "--key-file", "ca.key"];
    let output = manage(&daemon, home.path(), &files);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Error: Could not add signing cert (Resource is not valid)\n\
         * cert: certificate must be self-signed (intermediate CAs are not allowed)\n"
    );
    let files = ["add", "--cert-file", "ca.crt", "--key-file", "large"];
    let output = manage(&daemon, home.path(), &files);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("it is larger than"), "{stderr}");
}
