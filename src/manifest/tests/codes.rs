//! `docs/diagnostics.md` explains every code, and no other.

use super::super::codes::ALL;

const DOCUMENT: &str = include_str!("../../../docs/diagnostics.md");
/// The codes of other modules, which are constants there.
const SOURCE: &str = include_str!("../../source/codes.rs");
const PLAN: &str = include_str!("../../plan/codes.rs");

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
    assert_eq!(explained_under("WL06"), constants(SOURCE));
}

#[test]
fn the_documentation_explains_every_code_of_the_plan() {
    assert_eq!(explained_under("WL07"), constants(PLAN));
}

/// `WL0601: What it means.` of every code of a family.
fn explained_under(family: &str) -> Vec<String> {
    explained()
        .filter(|title| title.starts_with(family))
        .map(ToOwned::to_owned)
        .collect()
}

/// The same of every constant of a module.
fn constants(module: &str) -> Vec<String> {
    let mut meaning = "";
    let mut titles = Vec::new();
    for line in module.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning = text;
        } else if let Some((_, code)) = line.split_once("= \"") {
            titles.push(format!("{}: {meaning}", code.trim_end_matches("\";")));
        }
    }
    titles
}
