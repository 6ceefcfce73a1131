//! Revisions that change file by file.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{Diagnostic, ResourceKey};

const MESH: &str = "type: Mesh\nname: demo\n";

fn path(path: &str) -> Arc<str> {
    Arc::from(path)
}

#[test]
fn a_resource_that_is_defined_twice_names_the_first_place() {
    let manifest = manifest(&[
        ("b.yaml", "---\n---\ntype: Mesh\nname: demo\n"),
        ("a.yaml", MESH),
        ("c.yaml", MESH),
    ]);
    let found: Vec<_> = manifest
        .diagnostics()
        .into_iter()
        .map(|d| format!("{}:{}:{} {}", d.file, d.line, d.column, d.message))
        .collect();
    assert_eq!(
        found,
        [
            "b.yaml:3:1 Mesh/demo is defined twice, first at a.yaml:1",
            "c.yaml:1:1 Mesh/demo is defined twice, first at a.yaml:1",
        ]
    );
    assert!(manifest.desired().held_back.contains("demo"));
    assert!(!manifest.holds_back_commit());
}

#[test]
fn updates_undo_what_was_there_before() {
    let mut manifest = manifest(&[("a.yaml", MESH), ("b.yaml", MESH)]);
    assert_eq!(manifest.take_changed_meshes().len(), 1);
    assert!(manifest.take_changed_meshes().is_empty());
    manifest.update(&path("a.yaml"), None);
    assert_eq!(manifest.diagnostics(), []);
    assert!(manifest.desired().held_back.is_empty());
    assert_eq!(
        &*manifest.desired().meshes["demo"]
            .resources
            .values()
            .next()
            .unwrap()
            .location
            .file,
        "b.yaml"
    );
    manifest.update(
        &path("b.yaml"),
        Some(file("b.yaml", "type: Mesh\nname: other\nx: 1\n")),
    );
    assert!(!manifest.desired().meshes.contains_key("demo"));
    assert!(manifest.desired().held_back.contains("other"));
    assert_eq!(manifest.take_changed_meshes().len(), 2);
    manifest.update(&path("b.yaml"), Some(file("b.yaml", "type: Mesh\nname: [")));
    assert!(manifest.holds_back_commit());
    assert!(manifest.desired().held_back.is_empty());
    manifest.update(&path("b.yaml"), Some(file("b.yaml", MESH)));
    assert!(!manifest.holds_back_commit());
    assert_eq!(manifest.diagnostics(), []);
}

#[test]
fn a_refused_file_holds_back_the_commit_until_it_is_updated() {
    let mut manifest = manifest(&[("a.yaml", MESH)]);
    manifest.refuse(
        &path("a.yaml"),
        Diagnostic::error("WL0008", "a symbolic link"),
    );
    assert!(manifest.holds_back_commit());
    assert!(manifest.desired().meshes.is_empty());
    assert_eq!(&*manifest.diagnostics()[0].file, "a.yaml");
    manifest.refuse(
        &path("a.yaml"),
        Diagnostic::error("WL0008", "a symbolic link"),
    );
    manifest.update(&path("a.yaml"), None);
    assert!(!manifest.holds_back_commit());
    assert_eq!(manifest.diagnostics(), []);
}

#[test]
fn unchanged_meshes_stay_the_same_value() {
    let mut manifest = manifest(&[("a.yaml", MESH), ("b.yaml", "type: Mesh\nname: other\n")]);
    let before = manifest.desired().meshes["demo"].clone();
    manifest.update(
        &path("b.yaml"),
        Some(file(
            "b.yaml",
            "type: Mesh\nname: other\nmtls: {enabled: true}\n",
        )),
    );
    assert!(Arc::ptr_eq(&before, &manifest.desired().meshes["demo"]));
}

#[test]
fn diagnostics_of_others_find_their_place() {
    let yaml = "type: Dataplane\nmesh: demo\nname: a\nnetworking:\n  address: 10.0.0.1\n  gateway:\n    tags: {service: a, x.y: z}\n";
    let manifest = manifest(&[("a.yaml", yaml)]);
    let key: ResourceKey = manifest.desired().meshes["demo"]
        .resources
        .keys()
        .next()
        .unwrap()
        .clone();
    let place = |field: &str| {
        let diagnostic = Diagnostic::error("WL9999", "x")
            .on_resource(&key)
            .on_field(field);
        let placed = manifest.place(diagnostic);
        format!("{}:{}:{}", placed.file, placed.line, placed.column)
    };
    assert_eq!(place("networking.address"), "a.yaml:5:12");
    assert_eq!(place("networking.gateway.tags[\"x.y\"]"), "a.yaml:7:29");
    assert_eq!(place("networking.gateway.tags[\"p.q\"]"), "a.yaml:7:11");
    assert_eq!(place("networking.gateway"), "a.yaml:6:3");
    assert_eq!(place("networking.inbound[0].port"), "a.yaml:4:1");
    assert_eq!(place("mesh"), "a.yaml:2:7");
    assert_eq!(place("elsewhere"), "a.yaml:1:1");
    assert_eq!(place("."), "a.yaml:1:1");
    let unknown = Diagnostic::error("WL9999", "x");
    assert_eq!(manifest.place(unknown.clone()), unknown);
}

proptest! {
    /// Whatever the order of updates, the result is that of reading everything at once.
    #[test]
    fn updates_equal_reading_at_once(steps in prop::collection::vec((0..4_usize, 0..8_usize), 0..30)) {
        let contents = [
            MESH,
            "type: Mesh\nname: other\n",
            "type: Mesh\nname: demo\nx: 1\n---\ntype: Mesh\nname: other\n",
            "type: [",
            "type: Dataplane\nmesh: demo\nname: a\nnetworking: {address: 10.0.0.1, gateway: {tags: {service: a}}}\n",
            "type: Dataplane\nmesh: demo\nname: a\n",
            "",
        ];
        let mut files = BTreeMap::new();
        let mut manifest = Manifest::new("default".parse().unwrap());
        for (name, content) in steps {
            let path: Arc<str> = Arc::from(format!("{name}.yaml"));
            if let Some(content) = contents.get(content) {
                files.insert(path.clone(), content.as_bytes().to_vec());
                manifest.update(&path, Some(parse_file(&path, content.as_bytes())));
            } else {
                files.remove(&path);
                manifest.update(&path, None);
            }
        }
        let files: Vec<_> = files.into_iter().collect();
        let at_once = parse(&files, "default".parse().unwrap());
        prop_assert_eq!(manifest.desired(), at_once.desired());
        prop_assert_eq!(manifest.diagnostics(), at_once.diagnostics());
        prop_assert_eq!(manifest.holds_back_commit(), at_once.holds_back_commit());
    }
}

/// A small file that stands at many paths.
#[test]
fn files_that_hold_too_much_together_are_left_out_and_hold_back_the_commit() {
    let fields: Vec<String> = (0..1000).map(|number| format!("t{number}: a")).collect();
    let resource = format!(
        "type: Dataplane\nmesh: demo\nname: dp\nnetworking:\n  address: 127.0.0.1\n  \
         gateway: {{tags: {{service: a, {}}}}}\n",
        fields.join(", ")
    );
    for (text, fits, listed) in [("---\na\n".repeat(500), 20, 10_001), (resource, 500, 1001)] {
        let small = file("a.yaml", &text);
        let mut manifest = manifest(&[]);
        for number in 0..1100 {
            let path = path(&format!("{number:05}.yaml"));
            manifest.update(&path, Some(small.clone()));
            assert!(number >= fits || !manifest.is_full(), "full at {number}");
        }
        assert!(manifest.is_full() && manifest.holds_back_commit());
        let found = manifest.diagnostics();
        assert!(found.len() <= listed, "{} are listed", found.len());
        let mut full = found.iter().filter(|found| found.code == "WL0009");
        let place = full.next().map(|found| (&*found.file, found.line));
        assert!(place >= Some(("00020.yaml", 1)), "{place:?}");
        assert_eq!(full.count(), 0, "it is said once");
    }
}
