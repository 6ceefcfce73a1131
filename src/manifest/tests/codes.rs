//! `docs/diagnostics.md` explains every code, and no other.

use super::super::codes::ALL;

#[test]
fn the_documentation_explains_every_code() {
    let document = include_str!("../../../docs/diagnostics.md");
    let explained: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| !title.starts_with("WL06") && !title.starts_with("WL07"))
        .map(str::to_owned)
        .collect();
    let codes: Vec<String> = ALL
        .iter()
        .map(|(code, meaning)| format!("{code}: {}", meaning.trim()))
        .collect();
    assert_eq!(explained, codes);
    assert!(codes.is_sorted());
}
