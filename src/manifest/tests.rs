//! What the files of users lead to.

mod codes;
mod form;
mod policy;
mod provided_ca;
mod revision;
mod write;
mod yaml;

use std::sync::Arc;

use super::{Manifest, ParsedFile, parse, parse_file};

fn file(path: &str, yaml: &str) -> ParsedFile {
    parse_file(&Arc::from(path), yaml.as_bytes())
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    let files: Vec<_> = files
        .iter()
        .map(|(path, yaml)| (Arc::from(*path), yaml.as_bytes().to_vec()))
        .collect();
    parse(&files, "default".parse().unwrap())
}

/// The diagnostics of one file as `field: message`.
fn violations(yaml: &str) -> Vec<String> {
    manifest(&[("a.yaml", yaml)])
        .diagnostics()
        .into_iter()
        .map(|diagnostic| format!("{}: {}", diagnostic.field, diagnostic.message))
        .collect()
}

/// The diagnostics of one file as `line:column code field`.
fn places(yaml: &str) -> Vec<String> {
    manifest(&[("a.yaml", yaml)])
        .diagnostics()
        .into_iter()
        .map(|d| format!("{}:{} {} {}", d.line, d.column, d.code, d.field))
        .collect()
}
