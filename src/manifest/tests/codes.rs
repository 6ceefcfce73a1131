//! `docs/diagnostics.md` explains every code, and no other.

use super::super::codes::ALL;

const DOCUMENT: &str = include_str!("../../../docs/diagnostics.md");
/// The codes of other modules, which are constants there.
const SOURCE: &str = include_str!("../../source/codes.rs");

fn explained() -> impl Iterator<Item = &'static str> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
}

#[test]
fn the_documentation_explains_every_code() {
    let explained: Vec<&str> = explained().filter(|title| *title < "WL06").collect();
    let codes: Vec<String> = ALL
        .iter()
        .map(|(code, meaning)| format!("{code}: {}", meaning.trim()))
        .collect();
    assert_eq!(explained, codes);
    assert!(codes.is_sorted());
}

#[test]
fn the_documentation_explains_every_code_of_the_source() {
    let explained: Vec<&str> = explained()
        .filter(|title| title.starts_with("WL06"))
        .map(|title| &title[..6])
        .collect();
    let codes: Vec<&str> = SOURCE
        .split("= \"")
        .skip(1)
        .map(|rest| &rest[..6])
        .collect();
    assert_eq!(explained, codes);
}
