//! Bytes that are hardly YAML, or too much of it.

use proptest::prelude::*;

use super::*;

fn codes_of(bytes: &[u8]) -> Vec<String> {
    let files = [(Arc::from("a.yaml"), bytes.to_vec())];
    let manifest = parse(&files, "default".parse().unwrap());
    assert_eq!(
        manifest.holds_back_commit(),
        !manifest.diagnostics().is_empty()
    );
    let diagnostics = manifest.diagnostics();
    diagnostics
        .iter()
        .map(|d| format!("{}:{} {}", d.line, d.column, d.code))
        .collect()
}

#[test]
fn files_without_documents_are_fine() {
    for text in [
        "",
        "\n",
        "# comment\n",
        "---\n",
        "---\n---\n# x\n---\n...\n",
        "\u{FEFF}",
        "null\n",
        "~",
    ] {
        assert_eq!(codes_of(text.as_bytes()), Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn a_duplicate_key_is_reported_at_the_second_one() {
    let yaml =
        "type: Mesh\nname: demo\nmtls:\n  enabled: true\n  ca: {builtin: {}}\n  enabled: false\n";
    let manifest = manifest(&[("a.yaml", yaml)]);
    let [diagnostic] = &manifest.diagnostics()[..] else {
        panic!("{:?}", manifest.diagnostics());
    };
    assert_eq!((diagnostic.line, diagnostic.column), (6, 3));
    assert_eq!(diagnostic.message, "the key \"enabled\" is a duplicate");
    assert_eq!(
        diagnostic.hint.as_deref(),
        Some("the first one is on line 4; remove one")
    );
    assert_eq!(diagnostic.mesh.as_ref().unwrap().as_str(), "demo");
    assert_eq!(
        places("type: Mesh\nname: demo\n'mtls': {}\n\"mtls\": {}\n"),
        ["4:1 WL0005 ."]
    );
}

#[test]
fn text_that_is_not_utf8_is_placed() {
    assert_eq!(
        codes_of(b"type: Mesh\nname: \xC3\xA4\xFFx\n"),
        ["2:8 WL0002"]
    );
    assert_eq!(codes_of(b"\xFF\xFEt\0y\0"), ["1:1 WL0002"]);
    assert_eq!(codes_of(b"a\r\nb\r\n\xFF"), ["3:1 WL0002"]);
}

#[test]
fn line_ends_of_every_system_count_the_same() {
    let yaml = "type: Mesh\nname: demo\nmtls:\n  enabld: true\n";
    let expected = ["4:3 WL0102 mtls.enabld"];
    assert_eq!(places(yaml), expected);
    assert_eq!(places(&yaml.replace('\n', "\r\n")), expected);
    assert_eq!(places(&format!("\u{FEFF}{yaml}")), expected);
    assert_eq!(
        places(&format!("\u{FEFF}{}", yaml.replace('\n', "\r"))),
        expected
    );
}

#[test]
fn tabs_and_control_characters_are_errors() {
    assert_eq!(codes_of(b"type: Mesh\nmtls:\n\tenabled: true\n").len(), 1);
    for bytes in [
        &b"type: Mesh\nname: a\0b\n"[..],
        b"type: Mesh\nname: demo\n\0",
        b"name: \x1b[31m",
        b"\x07",
    ] {
        assert_eq!(codes_of(bytes).len(), 1, "{bytes:?} {:?}", codes_of(bytes));
    }
}

#[test]
fn after_a_syntax_error_the_next_document_is_read() {
    let yaml =
        "type: Mesh\nname: [1,\n---\ntype: Mesh\nname: A\n---\ntype: Mesh\nname: good\n---\n}\n";
    let manifest = manifest(&[("a.yaml", yaml), ("b.yaml", "type: Mesh\nname: B\n")]);
    let found: Vec<_> = manifest
        .diagnostics()
        .iter()
        .map(|d| format!("{} {} {}", d.file, d.line, d.code))
        .collect();
    assert_eq!(
        found,
        [
            "a.yaml 2 WL0003",
            "a.yaml 5 WL0106",
            "a.yaml 10 WL0003",
            "b.yaml 2 WL0106"
        ]
    );
    assert!(manifest.holds_back_commit());
    assert!(manifest.desired().meshes.contains_key("good"));
}

#[test]
fn aliases_tags_and_odd_keys_are_refused_once() {
    let cases = [
        (
            "type: Mesh\nname: demo\nmtls: {ca: &a {builtin: {}}, enabled: *a}\n",
            "3:42 WL0006 .",
        ),
        ("type: Mesh\nname: demo\nmtls: *missing\n", "3:7 WL0006 ."),
        ("type: Mesh\nname: demo\nmtls: !thing {}\n", "3:14 WL0006 ."),
        ("type: Mesh\nname: demo\n? [a]\n: b\n", "3:3 WL0006 ."),
        (
            "type: Mesh\nname: demo\nmtls: {<<: {}}\n",
            "3:12 WL0102 mtls.<<",
        ),
    ];
    for (yaml, expected) in cases {
        let found = places(yaml);
        assert_eq!(found.len(), 1, "{yaml}: {found:?}");
        assert_eq!(
            found[0].split_once(' ').unwrap().1,
            expected.split_once(' ').unwrap().1
        );
        assert_eq!(found[0].split(':').next(), expected.split(':').next());
        assert!(!manifest(&[("a.yaml", yaml)]).holds_back_commit());
    }
    assert_eq!(
        places("type: !!str Mesh\nname: &n demo\n"),
        Vec::<String>::new()
    );
}

#[test]
fn a_large_file_is_refused() {
    let mut bytes = b"type: Mesh\nname: demo\n#".to_vec();
    bytes.resize(1 << 20, b'x');
    assert_eq!(codes_of(&bytes), Vec::<String>::new());
    bytes.push(b'x');
    assert_eq!(codes_of(&bytes), ["1:1 WL0001"]);
}

fn lines(numbers: std::ops::Range<usize>, line: impl Fn(usize) -> String) -> String {
    numbers.map(line).collect::<Vec<_>>().concat()
}

#[test]
fn bombs_end_at_a_limit() {
    let mib = |part: &str| part.repeat(1_000_000 / part.len());
    let laughs = lines(1..40, |i| {
        format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)
    });
    let indented = lines(0..1000, |i| format!("{}a:\n", " ".repeat(i)));
    let cases = [
        (mib("["), "WL0004"),
        (mib("{a: "), "WL0004"),
        (mib("- "), "WL0004"),
        (mib("? "), "WL0004"),
        (mib("- a\n"), "WL0004"),
        (mib("---\n"), "WL0004"),
        (format!("[{}]", mib("a,")), "WL0004"),
        (indented, "WL0004"),
        (format!("a0: &a0 [x]\n{laughs}"), "WL0101"),
        (
            format!("type: Mesh\nname: demo\n{}", "<<: *a\n".repeat(100_000)),
            "WL0007",
        ),
        (
            format!("type: Mesh\nname: {}", "x".repeat(900_000)),
            "WL0106",
        ),
        (format!("type: {}", "x".repeat(900_000)), "WL0101"),
        (mib("a: b: c"), "WL0003"),
        (mib("&a "), "WL0003"),
        (format!("'{}", mib("x ")), "WL0003"),
        (mib("%"), "WL0003"),
        (mib("- - {\n"), "WL0003"),
        (
            format!(
                "type: Mesh\nname: demo\n{}",
                lines(0..50_000, |i| format!("k{i}: 1\n"))
            ),
            "WL0007",
        ),
    ];
    for (yaml, code) in cases {
        let start = &yaml[..yaml.len().min(30)];
        let file = file("a.yaml", &yaml);
        assert!(
            file.diagnostics
                .iter()
                .any(|diagnostic| diagnostic.code == code),
            "{start:?}: {:?}",
            file.diagnostics.first()
        );
        assert!(
            file.diagnostics.len() <= super::super::MAX_DIAGNOSTICS + 1,
            "{start:?}"
        );
        for diagnostic in &file.diagnostics {
            assert!(diagnostic.message.len() < 1000, "{start:?}");
            assert!(diagnostic.field.len() < 1000, "{start:?}");
        }
    }
}

#[test]
fn messages_do_not_repeat_long_or_raw_input() {
    let yaml = format!(
        "type: Mesh\nname: demo\n\"{}\\e[31m\": 1\n\"\\e[31m\": 1\n",
        "x".repeat(500)
    );
    for violation in violations(&yaml) {
        assert!(violation.len() < 300, "{violation}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse_file(&Arc::from("a.yaml"), &bytes);
        let _ = parse_file(&Arc::from("windlass.yaml"), &bytes);
    }

    #[test]
    fn no_yaml_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "type: Mesh\n", "type: Dataplane\n", "mesh: demo\n", "name: demo\n", "kind: Mesh\n", "mtls:\n", "  ", "- ",
        "ca: ", "{", "}", "[", "]", ", ", ": ", "\n", "---\n", "...\n", "'", "\"", "|", ">", "&a ", "*a ", "!t ", "? ",
        "#", "\t", "null", "1", "networking:\n", "inbound:\n", "port: ", "tags: ", "sources: ", "match: ", "\u{FEFF}", "ü", "\r",
    ]), 0..60)) {
        let text = parts.concat();
        let files = [(Arc::from("a.yaml"), text.into_bytes())];
        let manifest = parse(&files, "default".parse().unwrap());
        for diagnostic in manifest.diagnostics() {
            prop_assert!(diagnostic.line > 0 && diagnostic.column > 0);
        }
    }
}
