//! Who is let in.

use std::fs;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::{Machine, Office};
use crate::support::mesh_ca::{ClientIdentity, MeshCa};
use crate::support::{tls, wait};

/// A client that signed its own certificate, and that as PEM.
fn client(change: impl FnOnce(&mut CertificateParams)) -> (ClientIdentity, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let identity = ClientIdentity {
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    };
    (identity, certificate.pem())
}

/// Whether HTTP is spoken with that client.
fn lets_in(office: &Office, client: &ClientIdentity) -> Result<(), String> {
    let answer = tls::ask(&office.admin(), client)?;
    if answer.starts_with("HTTP/1.1 ") {
        Ok(())
    } else {
        Err(format!("{answer:?}"))
    }
}

#[test]
fn only_a_client_with_a_good_certificate_of_the_folder_is_let_in() {
    let (known, known_pem) = client(|_| ());
    let (unknown, _) = client(|_| ());
    let (expired, expired_pem) = client(|it| it.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let (early, early_pem) = client(|it| it.not_before = rcgen::date_time_ymd(3000, 1, 1));
    let (server, server_pem) = client(|it| {
        it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let (_, other_name) = client(|_| ());
    let root = MeshCa::for_mesh("clients");
    let issued = root.client("spiffe://clients/ci");
    let foreign = MeshCa::for_mesh("clients").client("spiffe://clients/ci");
    let office = Office::open(|clients| {
        let put = |name: &str, text: &str| fs::write(clients.join(name), text).unwrap();
        put("known.pem", &known_pem);
        put("expired.pem", &expired_pem);
        put("early.pem", &early_pem);
        put("server.pem", &server_pem);
        put("notes.txt", &other_name);
        put("root.pem", &root.cert_pem());
    });
    lets_in(&office, &known).unwrap();
    lets_in(&office, &issued).unwrap();
    for (name, client) in [
        ("unknown", &unknown),
        ("expired", &expired),
        ("early", &early),
        ("server", &server),
        ("foreign", &foreign),
    ] {
        let refused = lets_in(&office, client);
        assert!(refused.is_err(), "{name} is let in");
    }
    // Without any certificate there is no request either.
    let mut stream = tls::open(&office.admin(), None).unwrap();
    let request = b"POST /tokens HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answer = Vec::new();
    let asked = std::io::Write::write_all(&mut stream, request)
        .and_then(|()| std::io::Read::read_to_end(&mut stream, &mut answer));
    assert!(asked.is_err() && answer.is_empty(), "{answer:?}");
}

#[test]
fn what_a_known_client_signs_is_not_taken() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    let own = params.self_signed(&key).unwrap();
    let friend_key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&params, &key);
    let friend = CertificateParams::default().signed_by(&friend_key, &issuer);
    let friend = ClientIdentity {
        certificate: friend.unwrap().der().clone(),
        key: PrivateKeyDer::try_from(friend_key.serialize_der()).unwrap(),
    };
    let office = Office::open(|clients| fs::write(clients.join("own.pem"), own.pem()).unwrap());
    assert!(lets_in(&office, &friend).is_err());
    // Nor does someone come in who has the certificate and not its key.
    let thief = ClientIdentity {
        certificate: own.der().clone(),
        key: friend.key.clone_key(),
    };
    assert!(lets_in(&office, &thief).is_err());
}

#[test]
fn a_client_comes_and_goes_while_the_daemon_runs() {
    let office = Office::open(|_| ());
    let file = office.machine.path("clients/new.pem");
    let (new, pem) = client(|_| ());
    assert!(lets_in(&office, &new).is_err());
    fs::write(office.machine.path("clients/half.pem"), "-----BEGIN").unwrap();
    fs::write(&file, pem).unwrap();
    wait::until("the new client to be let in", || lets_in(&office, &new));
    fs::remove_file(&file).unwrap();
    let refused = || match lets_in(&office, &new) {
        Err(_) => Ok(()),
        Ok(()) => Err("it is let in"),
    };
    wait::until("the old client to be refused", refused);
}

#[test]
fn what_cannot_be_used_stops_the_start_with_its_name() {
    let machine = Machine::new();
    machine.certificate("server", &["--type=server", "--cp-hostname=cp.example"]);
    machine.certificate("other", &["--type=client"]);
    fs::create_dir(machine.path("clients")).unwrap();
    fs::create_dir(machine.path("bad")).unwrap();
    fs::write(machine.path("bad/a.pem"), "no certificate").unwrap();
    let start = |key: &str, clients: &str| {
        let text = format!(
            "source: {{repo: /nowhere}}\napi: {{port: 0}}\nxds: {{port: 0}}\ndiagnostics: {{port: 0}}\n\
             admin:\n  local: {{port: 0}}\n  public:\n    enabled: true\n    interface: 127.0.0.1\n    \
             tls: {{certFile: server.pem, keyFile: {key}}}\n    clientCertsDir: {clients}\n"
        );
        fs::write(machine.path("windlass.yaml"), text).unwrap();
        machine.failure(&["run", "--config=windlass.yaml", "--state-dir=state"])
    };
    for (key, clients, expected) in [
        ("missing", "clients", "tls.keyFile: failed to read `"),
        ("server.pem", "clients", "holds no private key in PEM"),
        ("other.key", "clients", "cannot be used together"),
        ("server.key", "none", "clientCertsDir: failed to read `"),
        ("server.key", "bad", "a.pem` holds no certificate in PEM"),
    ] {
        let words = start(key, clients);
        assert!(words.contains(expected), "{expected}: {words}");
        let line = "Error: invalid configuration: admin.public\n";
        assert!(words.contains(line), "{words}");
    }
}
