//! Resources as YAML in the Universal form.

use serde::Serialize;
use serde_yaml::LitStr;

use crate::model::{MeshName, Resource, ResourceName};

/// Writes resources as documents of one stream. The key of a ProvidedCa is left out.
#[must_use]
pub fn to_yaml(resources: &[Resource]) -> String {
    let documents: Vec<String> = resources.iter().map(document).collect();
    documents.join("---\n")
}

/// Writes any values as documents of one stream.
#[must_use]
pub fn documents_yaml(values: &[serde_json::Value]) -> String {
    let documents: Vec<String> = values.iter().map(document).collect();
    documents.join("---\n")
}

/// Writes a ProvidedCa with its sealed key (age armor).
#[must_use]
pub fn provided_ca_yaml(
    mesh: &MeshName,
    name: &ResourceName,
    cert: &str,
    key_armor: &str,
) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        r#type: &'static str,
        mesh: &'a MeshName,
        name: &'a ResourceName,
        cert: LitStr<'a>,
        key: LitStr<'a>,
    }
    document(&Document {
        r#type: "ProvidedCa",
        mesh,
        name,
        cert: LitStr(cert),
        key: LitStr(key_armor),
    })
}

fn document(value: &impl Serialize) -> String {
    let options = serde_yaml::ser_options! { compact_list_indent: false };
    // Names, numbers, texts, lists and maps with text keys: all of it can be written.
    serde_yaml::to_string_with_options(value, options).unwrap_or_default()
}
