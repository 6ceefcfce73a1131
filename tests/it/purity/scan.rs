//! Reads Rust sources as tokens and tells which paths they name, and where.
//!
//! Comments and texts are no tokens, `use` trees are unfolded, macros are
//! looked into, and items under `#[cfg(test)]` are left out.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as the source names it, such as `["std", "fs", "read"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) segments: Vec<String>,
    /// Whether a `use` names it: a single word is a path there, not a variable.
    pub(super) imported: bool,
    pub(super) line: usize,
}

/// Every path that the code outside of tests names.
pub(super) fn paths(source: &str) -> Vec<NamedPath> {
    let tokens: TokenStream = source.parse().expect("a source file that compiles");
    let mut found = Vec::new();
    walk(tokens, None, &mut found);
    found
}

/// `tree` is what stands before a use tree's braces; `None` elsewhere.
fn walk(stream: TokenStream, tree: Option<&[String]>, found: &mut Vec<NamedPath>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut importing = tree.is_some();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = after_item(&tokens, at + 2);
            continue;
        }
        match &tokens[at] {
            TokenTree::Ident(keyword) if keyword == "use" => {
                importing = true;
                at += 1;
            }
            TokenTree::Ident(_) => {
                at = path(&tokens, at, tree.unwrap_or_default(), importing, found);
            }
            TokenTree::Group(group) => {
                let inside = (importing && is_use_tree(group)).then(Vec::new);
                walk(group.stream(), inside.as_deref(), found);
                at += 1;
            }
            TokenTree::Punct(end) if end.as_char() == ';' => {
                importing = false;
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Takes the path that begins at `at`; returns where it ends.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    imported: bool,
    found: &mut Vec<NamedPath>,
) -> usize {
    let line = tokens[at].span().start().line;
    let mut segments = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => {
                segments.push(ident.to_string().trim_start_matches("r#").to_owned());
                at += 1;
            }
            Some(TokenTree::Group(tree)) if imported && is_use_tree(tree) => {
                walk(tree.stream(), Some(&segments), found);
                return at + 1;
            }
            _ => break,
        }
        if !is_separator(&tokens[at..]) {
            break;
        }
        at += 2;
    }
    found.push(NamedPath {
        segments,
        imported,
        line,
    });
    at
}

fn is_use_tree(group: &Group) -> bool {
    group.delimiter() == Delimiter::Brace
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == ':' && b.as_char() == ':')
}

/// `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = tokens else {
        return false;
    };
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    hash.as_char() == '#' && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

/// Where the item ends that begins at `at`: after its block or its semicolon.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            _ => {}
        }
    }
    at
}
