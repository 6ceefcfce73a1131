//! Authorities of a mesh as a test sees them: a provided root with its document,
//! and verifying what an Envoy shows.

use std::fs;
use std::io::Write;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::repo::EXAMPLES;

/// A self-signed root as a team would provide it.
pub(crate) struct MeshCa {
    params: CertificateParams,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// What a TLS client proves itself with.
pub(crate) struct ClientIdentity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// A certificate and its key out of PEM.
    pub(crate) fn from_pem(certificate: &str, key: &str) -> Self {
        Self {
            certificate: CertificateDer::from_pem_slice(certificate.as_bytes())
                .expect("a certificate"),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key"),
        }
    }
}

impl MeshCa {
    /// Makes a root for the mesh.
    pub(crate) fn for_mesh(mesh: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let uri = format!("spiffe://{mesh}").try_into().expect("an ASCII URI");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params
            .distinguished_name
            .push(DnType::CommonName, "a provided root");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            params,
            certificate,
            key,
        }
    }

    /// The certificate in DER.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// The certificate in PEM.
    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key as PEM, in PKCS#8.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A leaf of that identity and its key, good for TLS clients.
    pub(crate) fn client(&self, identity: &str) -> ClientIdentity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(identity.try_into().expect("an ASCII URI"))];
        params.distinguished_name = DistinguishedName::new();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let leaf = params.signed_by(&key, &issuer).expect("a leaf");
        ClientIdentity {
            certificate: leaf.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS#8"),
        }
    }

    /// The ProvidedCa document, the key sealed to the demo identity.
    pub(crate) fn document(&self, mesh: &str, name: &str) -> String {
        provided_ca(
            mesh,
            name,
            &self.certificate.pem(),
            &self.key.serialize_pem(),
        )
    }
}

/// The ProvidedCa document of a certificate and its key, which is sealed to
/// the demo identity.
pub(crate) fn provided_ca(mesh: &str, name: &str, certificate: &str, key: &str) -> String {
    format!(
        "type: ProvidedCa\nmesh: {mesh}\nname: {name}\ncert: |\n{}key: |\n{}",
        indent(certificate),
        indent(&seal(key.as_bytes())),
    )
}

/// Encrypts to the demo identity, with armor.
fn seal(clear: &[u8]) -> String {
    let file = fs::read_to_string(Path::new(EXAMPLES).join("demo-identity.txt"))
        .expect("the demo identity");
    let identity: age::x25519::Identity = file
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-"))
        .expect("an identity")
        .parse()
        .expect("a valid identity");
    let recipient = identity.to_public();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            .expect("a recipient");
    let mut sealed = Vec::new();
    let armor = age::armor::ArmoredWriter::wrap_output(&mut sealed, age::armor::Format::AsciiArmor)
        .expect("an armor");
    let mut writer = encryptor.wrap_output(armor).expect("a header");
    writer.write_all(clear).expect("a sealed text");
    writer
        .finish()
        .and_then(age::armor::ArmoredWriter::finish)
        .expect("an end");
    String::from_utf8(sealed).expect("armor is ASCII")
}

fn indent(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}

/// Checks that the leaf is signed by exactly this root, good for TLS servers,
/// and returns its URI SANs.
pub(crate) fn verify(
    leaf: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
) -> Result<Vec<String>, webpki::Error> {
    let anchor = webpki::anchor_from_trusted_cert(root)?;
    let leaf = EndEntityCert::try_from(leaf)?;
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        &[],
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    Ok(leaf.valid_uri_names().map(str::to_owned).collect())
}
