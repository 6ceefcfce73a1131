//! Reads the fields of a ProvidedCa. What the certificate holds is for [`crate::check`].

use super::codes;
use super::reader::{At, Fields, Reader};

pub(super) const FIELDS: &[&str] = &["cert", "key"];

const ARMOR_START: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";

/// A certificate and its sealed key, as far as they could be read.
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

/// Reads a provided authority. A key that is not sealed does not get into it.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Pair {
    let cert = fields.get("cert").and_then(|at| {
        let text = reader.text(&at)?;
        if holds_private_key(text) {
            plaintext(reader, &at, "the certificate holds a private key");
            return Some(String::new());
        }
        Some(text.to_owned())
    });
    let key = if let Some(at) = fields.get("key") {
        reader.text(&at).and_then(|text| sealed(reader, &at, text))
    } else {
        let message = "not a valid TLS key pair: the key is missing";
        reader
            .violation(codes::INVALID_KEY_PAIR, "", fields.position, message)
            .hint = Some(SEAL.to_owned());
        None
    };
    Pair {
        cert: cert.unwrap_or_default(),
        key: key.unwrap_or_default(),
    }
}

const SEAL: &str = "`windlass seal --mesh M --name N --cert-file F --key-file F --recipient R` writes the document";

fn sealed(reader: &mut Reader, at: &At<'_, '_>, text: &str) -> Option<String> {
    if holds_private_key(text) {
        plaintext(
            reader,
            at,
            "a plaintext private key in Git is refused: it must be age armor",
        );
        return None;
    }
    let trimmed = text.trim();
    if !trimmed.starts_with(ARMOR_START) || !trimmed.ends_with(ARMOR_END) {
        reader
            .violation_at(codes::NOT_AGE_ARMOR, at, "the key must be age armor")
            .hint = Some(SEAL.to_owned());
        return None;
    }
    Some(text.to_owned())
}

/// A key that was in Git once is known to everyone who can read it.
fn plaintext(reader: &mut Reader, at: &At<'_, '_>, message: &str) {
    reader.violation_at(codes::PLAINTEXT_KEY, at, message).hint = Some(format!(
        "the key counts as leaked now: make a new one and seal it; {SEAL}"
    ));
}

fn holds_private_key(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY")
            || line.contains("AGE-SECRET-KEY-")
    })
}
