//! What a commit can hold that is not read.

use git2::Oid;

use super::repo::{Put, Reader, Repo, head};
use Put::{File, Link, Nothing, Submodule};

const FOLDER: i32 = 0o40_000;
const FILE: i32 = 0o100_644;

#[test]
fn a_symlink_is_refused_where_a_file_should_be_and_never_followed() {
    let repo = Repo::bare();
    repo.commit(&[
        ("a.yaml", File("a")),
        ("passwd.yaml", Link("/etc/passwd")),
        ("out.yml", Link("../../../secret.yaml")),
        ("folder", Link("/etc")),
    ]);
    let mut reader = Reader::new(repo.source());
    assert_eq!(
        reader.changes(),
        ["+ a.yaml a", "! out.yml WL0612", "! passwd.yaml WL0612"]
    );
    repo.commit(&[("out.yml", File("now a file")), ("passwd.yaml", Nothing)]);
    assert_eq!(reader.changes(), ["+ out.yml now a file", "- passwd.yaml"]);
}

#[test]
fn a_submodule_is_refused_unless_it_is_ignored() {
    let repo = Repo::bare();
    repo.commit(&[
        ("a.yaml", File("a")),
        ("libs/common", Submodule),
        (".tools", Submodule),
    ]);
    let mut reader = Reader::new(repo.source());
    assert_eq!(reader.changes(), ["+ a.yaml a", "! libs/common WL0613"]);
    repo.commit(&[(".windlassignore", File("/libs/common\n"))]);
    assert_eq!(reader.changes(), ["- libs/common"]);
}

#[test]
fn a_name_that_cannot_be_printed_is_refused() {
    let repo = Repo::bare();
    let blob = repo.git.blob(b"a").unwrap();
    let folder = repo.tree(&[(b"a.yaml", blob, FILE)]);
    let tree = repo.tree(&[
        (b"a\xff.yaml", blob, FILE),
        (b"b\x1b[2J.yaml", blob, FILE),
        (b"c\n.yaml", blob, FILE),
        (b"d\xfe", folder, FOLDER),
        (b"e\xff.txt", blob, FILE),
        (b"f/../g.yaml", blob, FILE),
        ("ü.yaml".as_bytes(), blob, FILE),
    ]);
    repo.commit_tree("main", tree);
    let expected = [
        r"! a\xff.yaml WL0614",
        r"! b\x1b[2J.yaml WL0614",
        r"! c\n.yaml WL0614",
        r"! d\xfe WL0614",
        "! f/../g.yaml WL0614",
        "+ ü.yaml a",
    ];
    assert_eq!(Reader::new(repo.source()).changes(), expected);
}

#[test]
fn a_large_file_is_refused_by_its_size() {
    let repo = Repo::bare();
    let large = "#".repeat(10 << 20);
    let limit = "#".repeat(1 << 20);
    repo.commit(&[
        ("large.yaml", File(&large)),
        ("limit.yaml", File(&limit)),
        ("x.md", File(&large)),
    ]);
    let mut reader = Reader::new(repo.source());
    let (changes, snapshot) = reader.next();
    assert_eq!(changes[0], "! large.yaml WL0001");
    assert!(changes[1].starts_with("+ limit.yaml ###"));
    assert_eq!(
        (changes.len(), snapshot.files_read()),
        (2, 1),
        "the large one is not read"
    );
    repo.commit(&[("limit.yaml", Nothing)]);
    assert_eq!(reader.changes(), ["- limit.yaml"]);
}

#[test]
fn folders_below_folders_end_somewhere() {
    let repo = Repo::bare();
    let nested = |levels| {
        let mut tree = repo.tree(&[(b"a.yaml", repo.git.blob(b"a").unwrap(), FILE)]);
        for _ in 0..levels {
            tree = repo.tree(&[(b"d", tree, FOLDER)]);
        }
        tree
    };
    repo.commit_tree("main", nested(64));
    let mut reader = Reader::new(repo.source());
    assert_eq!(reader.changes(), [format!("+ {}a.yaml a", "d/".repeat(64))]);
    repo.commit_tree("main", nested(200));
    let place = vec!["d"; 65].join("/");
    assert_eq!(
        reader.changes(),
        [
            format!("- {}a.yaml", "d/".repeat(64)),
            format!("! {place} WL0616")
        ]
    );
    repo.commit_tree("main", nested(1));
    assert_eq!(
        reader.changes(),
        ["+ d/a.yaml a".to_owned(), format!("- {place}")]
    );
}

/// A few small trees that refer to each other many times over.
fn bomb(repo: &Repo, leaf: Oid, mode: i32, name: &str) -> Oid {
    let entries = |id, mode| -> Vec<(Vec<u8>, Oid, i32)> {
        (0..10)
            .map(|i| (format!("{i}{name}").into_bytes(), id, mode))
            .collect()
    };
    let mut tree = leaf;
    for level in 0..10 {
        let entries = entries(tree, if level == 0 { mode } else { FOLDER });
        let entries: Vec<_> = entries.iter().map(|(n, id, m)| (&n[..], *id, *m)).collect();
        tree = repo.tree(&entries);
    }
    tree
}

#[test]
fn a_source_that_is_too_large_is_refused_whole_and_comes_back() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("a")), ("b/c.yaml", File("c"))]);
    let mut reader = Reader::new(repo.source());
    assert_eq!(reader.changes().len(), 2);

    // Ten billion files, ten billion folders, ten billion other entries.
    let blob = repo.git.blob(b"a").unwrap();
    let empty = repo.tree(&[]);
    repo.commit_tree("main", bomb(&repo, blob, FILE, ".yaml"));
    assert_eq!(reader.changes(), ["! . WL0615", "- a.yaml", "- b/c.yaml"]);
    let (changes, snapshot) = reader.next();
    assert!(changes.is_empty() && snapshot.is_empty() && !snapshot.is_missing());
    for bomb in [
        bomb(&repo, empty, FOLDER, ""),
        bomb(&repo, blob, FILE, ".md"),
    ] {
        repo.commit_tree("main", bomb);
        assert!(reader.changes().len() <= 1);
        let (_, changes) = {
            let mut source = repo.source();
            let revision = head(&mut source);
            source.read(&revision, None).unwrap()
        };
        assert_eq!((changes.len(), &*changes[0].path), (1, "."));
    }

    // Many files that are large together.
    let half = repo.git.blob("#".repeat(1 << 19).as_bytes()).unwrap();
    let names: Vec<_> = (0..300).map(|i| format!("{i}.yaml").into_bytes()).collect();
    let entries: Vec<_> = names.iter().map(|name| (&name[..], half, FILE)).collect();
    repo.commit_tree("main", repo.tree(&entries));
    assert_eq!(Reader::new(repo.source()).changes(), ["! . WL0615"]);

    repo.commit_tree("main", repo.tree(&[(b"a.yaml", blob, FILE)]));
    assert_eq!(reader.changes(), ["- .", "+ a.yaml a"]);
}

#[test]
fn a_path_that_is_gone_is_told_and_is_no_empty_source() {
    let repo = Repo::bare();
    repo.commit(&[("policy/a.yaml", File("a")), ("b.yaml", File("b"))]);
    let mut reader = Reader::new(repo.source_at("policy"));
    assert_eq!(reader.changes(), ["+ a.yaml a"]);
    repo.commit(&[("policy", Nothing)]);
    let (changes, snapshot) = reader.next();
    assert_eq!(changes, ["! . WL0617", "- a.yaml"]);
    assert!(snapshot.is_missing() && snapshot.is_empty());
    repo.commit(&[("c.yaml", File("c"))]);
    assert!(reader.next().1.is_missing());
    repo.commit(&[("policy", Link("."))]);
    assert_eq!(reader.changes(), ["! . WL0612"]);
    repo.commit(&[("policy", File("a file"))]);
    assert_eq!(reader.changes(), ["! . WL0618"]);
    repo.commit(&[("policy", Nothing)]);
    repo.commit(&[("policy/a.yaml", File("back"))]);
    assert_eq!(reader.changes(), ["- .", "+ a.yaml back"]);

    repo.commit(&[("policy/a.yaml", Nothing), ("policy/readme", File(""))]);
    let (changes, snapshot) = reader.next();
    assert_eq!(changes, ["- a.yaml"]);
    assert!(snapshot.is_empty() && !snapshot.is_missing());
}

#[test]
fn a_damaged_repository_is_an_error_that_names_the_place() {
    let repo = Repo::bare();
    repo.commit(&[("d/a.yaml", File("some content")), ("d/b.yaml", File("b"))]);
    let blob = repo.git.blob(b"some content").unwrap().to_string();
    let object = repo
        .path()
        .join("objects")
        .join(&blob[..2])
        .join(&blob[2..]);
    let good = std::fs::read(&object).unwrap();
    let mut source = repo.source();
    let revision = head(&mut source);
    for damage in [
        |_: &[u8]| Vec::new(),
        |_: &[u8]| b"garbage".to_vec(),
        |good: &[u8]| good[..good.len() / 2].to_vec(),
        |good: &[u8]| {
            let mut flipped = good.to_vec();
            let last = flipped.len() - 1;
            flipped[last] ^= 1;
            flipped
        },
    ] {
        std::fs::remove_file(&object).unwrap();
        std::fs::write(&object, damage(&good)).unwrap();
        let error = repo.source().read(&revision, None).unwrap_err().to_string();
        assert!(error.contains("`d/a.yaml`"), "{error}");
    }
    std::fs::remove_file(&object).unwrap();
    let error = repo.source().read(&revision, None).unwrap_err();
    assert!(error.to_string().contains("`d/a.yaml`"), "{error}");
    assert!(error.hint().contains("git fsck"));
}
