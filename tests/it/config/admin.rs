//! `admin.public.*`

use windlass::config::AdminPublicConfig;

use super::{loaded, problem};

const KUMA: [(&str, &str); 6] = [
    ("KUMA_ADMIN_SERVER_PUBLIC_ENABLED", "true"),
    ("KUMA_ADMIN_SERVER_PUBLIC_INTERFACE", "10.0.0.5"),
    ("KUMA_ADMIN_SERVER_PUBLIC_PORT", "6000"),
    ("KUMA_ADMIN_SERVER_PUBLIC_TLS_CERT_FILE", "/tls/cert.pem"),
    ("KUMA_ADMIN_SERVER_PUBLIC_TLS_KEY_FILE", "/tls/key.pem"),
    ("KUMA_ADMIN_SERVER_PUBLIC_CLIENT_CERTS_DIR", "/clients"),
];

#[test]
fn the_names_of_the_reference_open_the_admin_server() {
    let wanted = AdminPublicConfig {
        address: "10.0.0.5:6000".parse().unwrap(),
        cert_file: "/tls/cert.pem".into(),
        key_file: "/tls/key.pem".into(),
        client_certs_dir: "/clients".into(),
    };
    assert_eq!(loaded("", &KUMA).unwrap().admin_public, Some(wanted));
    assert_eq!(loaded("", &KUMA[1..]).unwrap().admin_public, None);
    let ours = KUMA.map(|(name, value)| {
        let name = name.replace("KUMA_ADMIN_SERVER_PUBLIC", "WINDLASS_ADMIN_PUBLIC");
        (name, value)
    });
    let ours = ours.each_ref().map(|(name, value)| (name.as_str(), *value));
    assert_eq!(loaded("", &ours), loaded("", &KUMA));
}

#[test]
fn its_port_is_the_local_one_unless_it_is_set() {
    let mut variables = KUMA.to_vec();
    variables.remove(2);
    let port = |text| loaded(text, &variables).map(|it| it.admin_public.unwrap().address.port());
    assert_eq!(port(""), Ok(5679));
    assert_eq!(port("admin: {local: {port: 7000}}"), Ok(7000));
    variables[1].1 = "0.0.0.0";
    assert_eq!(
        problem("", &variables),
        "invalid configuration: admin.public.port: must be set where the interface is 0.0.0.0: \
         the local admin server has 5679 already"
    );
}

#[test]
fn what_it_needs_is_named() {
    for (index, key) in [
        (1, "interface"),
        (3, "tls.certFile"),
        (4, "tls.keyFile"),
        (5, "clientCertsDir"),
    ] {
        let mut variables = KUMA.to_vec();
        variables.remove(index);
        assert_eq!(
            problem("", &variables),
            format!(
                "invalid configuration: admin.public.{key}: must be set where \
                 admin.public.enabled is true"
            )
        );
    }
}
