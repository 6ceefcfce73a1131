//! PEM (RFC 7468): reading the sections of a text, and writing one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{PemObject as _, SectionKind};

/// The longest text that is looked at, in bytes. A certificate or key with
/// what people put around it is a few thousand.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// The first section of each kind that matters, in the order of the text.
///
/// A problem names no content: it may be that of a key.
pub(super) fn sections(text: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    if text.len() > MAX_TEXT {
        return Err(format!(
            "the PEM text has {} bytes, more than the {MAX_TEXT} that are read",
            text.len()
        ));
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| {
            "the PEM text is damaged: a BEGIN or END line or the base64 between them is wrong"
                .to_owned()
        })
}

/// Appends a section with lines of 64 characters.
pub(super) fn write(label: &str, der: &[u8], text: &mut String) {
    text.reserve(der.len() / 3 * 4 + der.len() / 48 + 2 * label.len() + 48);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(48) {
        STANDARD.encode_string(line, text);
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
}
