//! An authority, and what it signs, in files.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;
use windlass::store::postgres::ClientCertificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::x509::X509Version;

/// Who may come in: who has TLS and a password.
pub(super) const HOSTSSL: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// An authority with a folder for files.
pub(super) struct Ca {
    folder: TempDir,
    params: CertificateParams,
    key: KeyPair,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            folder: tempfile::tempdir().unwrap(),
            params,
            key,
            pem,
        }
    }

    /// Its certificate in a file.
    pub(super) fn path(&self) -> PathBuf {
        self.file("ca.crt", &self.pem)
    }

    /// A file beside it.
    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A server's certificate for 127.0.0.1.
    pub(super) fn server(&self) -> Pair {
        self.sign(&server("127.0.0.1"))
    }

    /// A server's certificate for another host.
    pub(super) fn server_elsewhere(&self) -> Pair {
        self.sign(&server("192.0.2.1"))
    }

    /// A server's certificate that has expired.
    pub(super) fn server_expired(&self) -> Pair {
        let mut params = server("127.0.0.1");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }

    /// A certificate of X.509 version 1 for that name, as `openssl x509 -req`
    /// makes one where it is given no extensions.
    pub(super) fn version_1(&self, name: &str) -> Pair {
        let path = |extension: &str| self.folder.path().join(format!("{name}-1.{extension}"));
        let (key, request, certificate) = (path("key"), path("csr"), path("crt"));
        let openssl = |arguments: &[&dyn AsRef<OsStr>]| {
            let arguments = arguments.iter().copied().map(AsRef::as_ref);
            let done = Command::new("openssl").args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        let subject = format!("/CN={name}");
        openssl(&[
            &"req",
            &"-new",
            &"-nodes",
            &"-newkey",
            &"rsa:2048",
            &"-keyout",
            &key,
            &"-subj",
            &subject,
            &"-out",
            &request,
        ]);
        let (ca, ca_key) = (self.path(), self.file("ca.key", &self.key.serialize_pem()));
        openssl(&[
            &"x509",
            &"-req",
            &"-in",
            &request,
            &"-CA",
            &ca,
            &"-CAkey",
            &ca_key,
            &"-CAcreateserial",
            &"-days",
            &"2",
            &"-out",
            &certificate,
        ]);
        let pair = Pair {
            certificate: fs::read_to_string(certificate).unwrap(),
            key: fs::read_to_string(key).unwrap(),
        };
        let (_, pem) = parse_x509_pem(pair.certificate.as_bytes()).unwrap();
        assert_eq!(pem.parse_x509().unwrap().version(), X509Version::V1);
        pair
    }

    /// A certificate of that role, in files.
    pub(super) fn client(&self, role: &str) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, role);
        self.files(role, &self.sign(&params))
    }

    /// A client's certificate in files.
    pub(super) fn files(&self, role: &str, pair: &Pair) -> ClientCertificate {
        ClientCertificate {
            cert_path: self.file(&format!("{role}.crt"), &pair.certificate),
            key_path: self.file(&format!("{role}.key"), &pair.key),
        }
    }
}

fn server(address: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::IpAddress(address.parse::<IpAddr>().unwrap())];
    params
        .distinguished_name
        .push(DnType::CommonName, "a Postgres server");
    params
}

/// A server that signed its own certificate, as `openssl req -x509` makes one.
pub(super) fn self_signed(address: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = server(address);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}
