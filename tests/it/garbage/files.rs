//! Files that are none, and files that are more than they seem.

use std::fs;
use std::process::Output;

use rand::{RngCore as _, SeedableRng};
use serde_json::Value;

use super::commit::Put;
use super::{Yard, places};
use crate::support::daemon::windlass;

/// A file, where the error stands in it, and whether it holds back more than
/// its own mesh.
struct Garbage {
    file: &'static str,
    content: Vec<u8>,
    place: (usize, &'static str),
    whole_commit: bool,
}

fn garbage() -> Vec<Garbage> {
    let mut noise = vec![0; 1 << 16];
    rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let noise = [b"# noise\n\xff".as_slice(), &noise].concat();
    let laughs: String = (1..20)
        .map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1))
        .collect::<Vec<_>>()
        .concat();
    let laughs = format!("type: Mesh\nname: laughs\na0: &a0 [lol]\n{laughs}");
    let indented: Vec<_> = (0..1000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    let utf16: Vec<u8> = "type: Mesh\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let whole = |file, content: Vec<u8>, place| Garbage {
        file,
        content,
        place,
        whole_commit: true,
    };
    let one_mesh = |file, content: &str, place| Garbage {
        file,
        content: content.into(),
        place,
        whole_commit: false,
    };
    vec![
        whole("noise.yaml", noise, (2, "WL0002")),
        whole("zeros.yaml", vec![0; 4096], (1, "WL0003")),
        whole(
            "latin1.yml",
            b"type: Mesh\nname: caf\xe9\n".into(),
            (2, "WL0002"),
        ),
        whole(
            "utf16.yaml",
            [vec![0xff, 0xfe], utf16].concat(),
            (1, "WL0002"),
        ),
        whole(
            "syntax.yaml",
            b"type: Mesh\nname: ]][[\n".into(),
            (2, "WL0003"),
        ),
        whole("flow.yaml", b"[".repeat(1 << 20), (1, "WL0004")),
        whole("block.yaml", indented.concat().into(), (65, "WL0004")),
        whole("list.yaml", b"- a\n".repeat(1 << 18), (250_000, "WL0004")),
        whole(
            "documents.yaml",
            b"---\n".repeat(1 << 18),
            (10_002, "WL0004"),
        ),
        whole(
            "scalar.yaml",
            [b"type: ".to_vec(), b"x".repeat(1 << 19)].concat(),
            (1, "WL0101"),
        ),
        whole("large.yaml", vec![0; 10 << 20], (1, "WL0001")),
        whole(
            "meshes.yaml",
            b"type: Mesh\nname: many\n---\n".repeat(10 << 20 >> 4),
            (1, "WL0001"),
        ),
        whole(
            "which.yaml",
            b"type: Mesh\nname: one\nname: two\n".into(),
            (3, "WL0005"),
        ),
        whole(
            "anchor.yaml",
            b"type: Mesh\nx: &x it\nname: *x\n".into(),
            (3, "WL0006"),
        ),
        whole(
            "windlass.yaml",
            b"drift: heal\ndeletion: [\n".into(),
            (2, "WL0003"),
        ),
        one_mesh("laughs.yaml", &laughs, (4, "WL0006")),
        one_mesh(
            "twice.yaml",
            "type: Mesh\nname: twice\nmtls:\n  enabled: true\n  enabled: false\n",
            (5, "WL0005"),
        ),
        one_mesh(
            "zz.yaml",
            "# one more\ntype: Mesh\nname: demo\n",
            (2, "WL0107"),
        ),
    ]
}

impl Garbage {
    fn place(&self) -> String {
        format!("{}:{} {}", self.file, self.place.0, self.place.1)
    }
}

#[test]
fn a_garbage_file_is_refused_at_its_place_and_the_next_good_commit_is_applied() {
    let yard = Yard::open();
    for garbage in garbage() {
        let put = (garbage.file, Put::File(&garbage.content));
        let commit = yard.throw(&[put]);
        let found = yard.held_back(&commit);
        let place = garbage.place();
        assert!(places(&found).contains(&place), "no {place}: {found:#?}");
        for diagnostic in &found {
            assert!(diagnostic.to_string().len() < 2000, "{diagnostic:#}");
        }
        if garbage.whole_commit {
            assert_eq!(yard.meshes(), ["demo"], "{place}");
            yard.assert_served(&place);
        } else {
            assert_eq!(yard.meshes(), ["demo", "stowaway"], "{place}");
        }
        yard.mend(&place);
    }
}

#[test]
fn all_garbage_of_a_commit_is_told_in_one_pass_by_every_command() {
    let yard = Yard::open();
    let garbage = garbage();
    let puts: Vec<_> = garbage
        .iter()
        .map(|garbage| (garbage.file, Put::File(&garbage.content)))
        .collect();
    let commit = yard.throw(&puts);
    let told = yard.held_back(&commit);
    assert_eq!(yard.meshes(), ["demo"]);

    let plan = windlass()
        .args(["plan", "--base", "HEAD~1", "-o", "json", "--repo"])
        .arg(yard.site.repo.path())
        .output()
        .unwrap();
    let planned = diagnostics(&plan);

    let folder = tempfile::tempdir().unwrap();
    for garbage in &garbage {
        fs::write(folder.path().join(garbage.file), &garbage.content).unwrap();
    }
    fs::create_dir(folder.path().join("demo")).unwrap();
    fs::write(folder.path().join("demo/mesh.yaml"), super::MESH).unwrap();
    let validate = windlass()
        .args(["validate", "-o", "json"])
        .arg(folder.path())
        .output()
        .unwrap();
    let validated = diagnostics(&validate);

    for garbage in &garbage {
        let place = garbage.place();
        for found in [&told, &planned, &validated] {
            let found = places(found);
            assert!(found.contains(&place), "no {place}: {found:#?}");
        }
    }
    assert_eq!(places(&planned), places(&told));
    yard.mend("all at once");
    let peak = yard.peak_memory();
    assert!(peak < 600, "{peak} MiB");
}

#[test]
fn a_folder_of_more_than_a_commit_may_hold_is_not_validated() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("000.yaml");
    fs::write(&first, vec![b'#'; 1 << 20]).unwrap();
    for number in 1..130 {
        fs::hard_link(&first, folder.path().join(format!("{number:03}.yaml"))).unwrap();
    }
    let output = windlass()
        .arg("validate")
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("holds more than 128 MiB of YAML"), "{said}");
    assert!(said.contains(folder.path().to_str().unwrap()), "{said}");
}

fn diagnostics(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    document["diagnostics"].as_array().unwrap().clone()
}

#[test]
fn symlinks_and_submodules_are_refused_and_not_followed() {
    let yard = Yard::open();
    // Good resources outside of the repository.
    let outside = yard.site.repo.path().join("../outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mesh.yaml"), "type: Mesh\nname: outside\n").unwrap();
    let absolute = outside.canonicalize().unwrap().join("mesh.yaml");
    let absolute = absolute.to_str().unwrap();
    for (path, put, place) in [
        (
            "link.yaml",
            Put::Link("../outside/mesh.yaml"),
            "link.yaml:1 WL0612",
        ),
        (
            "demo/link.yml",
            Put::Link(absolute),
            "demo/link.yml:1 WL0612",
        ),
        ("self.yaml", Put::Link("self.yaml"), "self.yaml:1 WL0612"),
        (
            "windlass.yaml",
            Put::Link("/dev/zero"),
            "windlass.yaml:1 WL0612",
        ),
        (
            ".windlassignore",
            Put::Link("/dev/zero"),
            ".windlassignore:1 WL0619",
        ),
        ("libs/common", Put::Submodule, "libs/common:1 WL0613"),
    ] {
        let commit = yard.throw(&[(path, put)]);
        assert_eq!(places(&yard.held_back(&commit)), [place]);
        assert_eq!(yard.meshes(), ["demo"], "{place}");
        yard.assert_served(place);
        yard.mend(place);
    }
    // A folder that is a link is nothing to read, as for Git.
    let commit = super::commit::on_branch(
        yard.site.repo.path(),
        &[("folder", Put::Link("../outside"))],
    );
    yard.daemon.wait_until_applied(&commit);
    assert_eq!(yard.meshes(), ["demo"]);
}
