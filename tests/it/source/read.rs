//! Which files are read, and how little of them again.

use super::repo::{Put, Reader, Repo, head};
use Put::{File, Nothing};

#[test]
fn yaml_files_are_read_from_the_commit_and_hidden_folders_are_not() {
    let repo = Repo::with_working_tree();
    repo.commit(&[
        ("mesh.yaml", File("a")),
        ("demo/permissions.yml", File("b")),
        ("demo/deep/.hidden.yaml", File("c")),
        (".github/workflow.yaml", File("no")),
        ("demo/.hidden/x.yaml", File("no")),
        ("README.md", File("no")),
        ("a.yaml.bak", File("no")),
        ("A.YAML", File("no")),
    ]);
    std::fs::write(repo.path().join("untracked.yaml"), "no").unwrap();
    std::fs::write(repo.path().join("mesh.yaml"), "not committed").unwrap();
    let mut reader = Reader::new(repo.source());
    let (changes, snapshot) = reader.next();
    assert_eq!(
        changes,
        [
            "+ demo/deep/.hidden.yaml c",
            "+ demo/permissions.yml b",
            "+ mesh.yaml a"
        ]
    );
    assert_eq!(snapshot.len(), 3);
}

#[test]
fn paths_are_relative_to_the_source_and_other_folders_cost_nothing() {
    let repo = Repo::bare();
    repo.commit(&[
        ("policy/meshes/a.yaml", File("a")),
        ("elsewhere/b.yaml", File("b")),
    ]);
    for path in ["policy/meshes", "./policy/meshes/", "policy//meshes"] {
        let changes = Reader::new(repo.source_at(path)).changes();
        assert_eq!(changes, ["+ a.yaml a"], "{path}");
    }
    let mut reader = Reader::new(repo.source_at("policy"));
    assert_eq!(reader.changes(), ["+ meshes/a.yaml a"]);
    repo.commit(&[("elsewhere/b.yaml", File("changed"))]);
    let (changes, snapshot) = reader.next();
    assert!(changes.is_empty());
    assert_eq!((snapshot.files_read(), snapshot.folders_read()), (0, 0));
    for path in ["..", "a/../b", "/policy", "a/.."] {
        let error = repo.open(&repo.path().display().to_string(), None, path);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("not a folder inside")
        );
    }
}

#[test]
fn only_what_changed_is_read_again() {
    let repo = Repo::bare();
    let files: Vec<(String, String)> = (0..40)
        .map(|i| {
            (
                format!("f{}/g{}/{i}.yaml", i % 4, i % 8),
                format!("file {i}"),
            )
        })
        .collect();
    let entries: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), File(text)))
        .collect();
    repo.commit(&entries);
    let mut reader = Reader::new(repo.source());
    let (changes, snapshot) = reader.next();
    assert_eq!((changes.len(), snapshot.files_read()), (40, 40));

    let (changes, snapshot) = reader.next();
    assert!(changes.is_empty());
    assert_eq!((snapshot.files_read(), snapshot.folders_read()), (0, 0));

    repo.commit(&[
        ("f1/g1/1.yaml", File("new")),
        ("f1/g1/9.yaml", Nothing),
        ("f1/x.yaml", File("x")),
    ]);
    let (changes, snapshot) = reader.next();
    assert_eq!(
        changes,
        ["+ f1/g1/1.yaml new", "- f1/g1/9.yaml", "+ f1/x.yaml x"]
    );
    // The root, f1 and f1/g1.
    assert_eq!((snapshot.files_read(), snapshot.folders_read()), (2, 3));
    assert_eq!(snapshot.len(), 40);

    repo.commit(&[("f2", Nothing)]);
    let (changes, snapshot) = reader.next();
    assert_eq!(changes.len(), 10);
    assert!(
        changes.iter().all(|change| change.starts_with("- f2/")),
        "{changes:?}"
    );
    assert_eq!((snapshot.files_read(), snapshot.len()), (0, 30));
}

#[test]
fn a_read_against_any_snapshot_ends_where_a_full_read_does() {
    let repo = Repo::bare();
    let mut revisions = Vec::new();
    for entries in [
        vec![("a.yaml", File("1")), ("d/b.yaml", File("2"))],
        vec![("a.yaml", Nothing)],
        vec![("a.yaml/c.yaml", File("3"))],
        vec![(".windlassignore", File("/d\n")), ("e/f.yml", File("4"))],
        vec![("d/b.yaml", File("5")), ("a.yaml", Nothing)],
        vec![
            (".windlassignore", Nothing),
            ("d/.windlassignore", File("*.yaml\n!g.yaml\n")),
        ],
        vec![("d/g.yaml", Put::Link("b.yaml")), ("d/b.yaml", File("6"))],
        vec![("d", Nothing), ("m", Put::Submodule)],
    ] {
        repo.commit(&entries);
        revisions.push(head(&mut repo.source()));
    }
    let source = repo.source();
    let apply = |files: &mut std::collections::BTreeMap<_, _>, changes| {
        for windlass::source::FileChange { path, content } in changes {
            match content {
                windlass::source::Content::Removed => {
                    assert!(files.remove(&path).is_some(), "{path} was not there");
                }
                content => {
                    files.insert(path, content);
                }
            }
        }
    };
    for from in &revisions {
        for to in &revisions {
            let (old, changes) = source.read(from, None).unwrap();
            let mut files = std::collections::BTreeMap::new();
            apply(&mut files, changes);
            let (new, changes) = source.read(to, Some(&old)).unwrap();
            apply(&mut files, changes);
            let (full, changes) = source.read(to, None).unwrap();
            let mut expected = std::collections::BTreeMap::new();
            apply(&mut expected, changes);
            assert_eq!(files, expected, "{from} to {to}");
            assert_eq!(new.len(), full.len());
        }
    }
}

#[test]
fn what_windlassignore_names_is_left_out_as_git_would() {
    let repo = Repo::bare();
    repo.commit(&[
        (
            ".windlassignore",
            File("# charts\n/charts/\n*.tmpl.yaml\n!keep.tmpl.yaml\nci\n"),
        ),
        ("a.yaml", File("a")),
        ("charts/b.yaml", File("no")),
        ("x/charts/c.yaml", File("c")),
        ("x/d.tmpl.yaml", File("no")),
        ("x/keep.tmpl.yaml", File("k")),
        ("x/ci/e.yaml", File("no")),
        ("y/.windlassignore", File("/f.yaml\n!ci\n")),
        ("y/f.yaml", File("no")),
        ("y/z/f.yaml", File("f")),
        ("y/ci/g.yaml", File("g")),
    ]);
    let mut reader = Reader::new(repo.source());
    let expected = [
        "+ a.yaml a",
        "+ x/charts/c.yaml c",
        "+ x/keep.tmpl.yaml k",
        "+ y/ci/g.yaml g",
        "+ y/z/f.yaml f",
    ];
    assert_eq!(reader.changes(), expected);

    // Files that did not change come and go with the rules, and are not read twice.
    repo.commit(&[(".windlassignore", File("/x\n/y/z\n"))]);
    let (changes, snapshot) = reader.next();
    let expected = [
        "+ charts/b.yaml no",
        "- x/charts/c.yaml",
        "- x/keep.tmpl.yaml",
        "- y/z/f.yaml",
    ];
    assert_eq!(changes, expected);
    assert_eq!(snapshot.files_read(), 1);
    repo.commit(&[("y/.windlassignore", Nothing)]);
    assert_eq!(reader.changes(), ["+ y/f.yaml no"]);
}

#[test]
fn a_windlassignore_that_cannot_be_read_is_refused() {
    let repo = Repo::bare();
    repo.commit(&[
        ("a.yaml", File("a")),
        (".windlassignore", File("ok\na[\n{a\n")),
    ]);
    let mut reader = Reader::new(repo.source());
    assert_eq!(reader.changes(), ["! .windlassignore WL0619", "+ a.yaml a"]);
    repo.commit(&[("b.yaml", File("b"))]);
    assert_eq!(
        reader.changes(),
        ["+ b.yaml b"],
        "what is known is not told again"
    );
    repo.commit(&[(".windlassignore", File("b.yaml"))]);
    assert_eq!(reader.changes(), ["- .windlassignore", "- b.yaml"]);
    repo.commit(&[(".windlassignore", Put::Link("/etc/passwd"))]);
    assert_eq!(reader.changes(), ["! .windlassignore WL0619", "+ b.yaml b"]);
    repo.commit(&[(".windlassignore", File(&"x\n".repeat(40_000)))]);
    assert_eq!(reader.changes(), ["! .windlassignore WL0619"]);
}

#[test]
fn ten_thousand_files_are_read_and_one_of_them_again() {
    let repo = Repo::bare();
    let blob = repo.git.blob(b"a file").unwrap();
    let names = |ending| (0..100).map(move |i| format!("f{i}{ending}").into_bytes());
    let files: Vec<_> = names(".yaml").collect();
    let files: Vec<_> = files.iter().map(|n| (&n[..], blob, 0o100_644)).collect();
    let folder = repo.tree(&files);
    let folders: Vec<_> = names("").collect();
    let entries: Vec<_> = folders.iter().map(|n| (&n[..], folder, 0o40_000)).collect();
    repo.commit_tree("main", repo.tree(&entries));
    let mut reader = Reader::new(repo.source());
    let (changes, snapshot) = reader.next();
    assert_eq!((changes.len(), snapshot.len()), (10_000, 10_000));
    repo.commit(&[("f42/f7.yaml", File("changed"))]);
    let (changes, snapshot) = reader.next();
    assert_eq!(changes, ["+ f42/f7.yaml changed"]);
    assert_eq!((snapshot.files_read(), snapshot.folders_read()), (1, 2));
}

#[test]
fn a_single_file_is_read_for_a_report() {
    let repo = Repo::bare();
    repo.commit(&[
        ("p/d/a.yaml", File("a")),
        ("p/link.yaml", Put::Link("d/a.yaml")),
    ]);
    let mut source = repo.source_at("p");
    let revision = head(&mut source);
    assert_eq!(
        source.read_file(&revision, "d/a.yaml").unwrap().unwrap(),
        b"a"
    );
    for none in ["link.yaml", "d", "x.yaml", "x/y.yaml", "", "../p/d/a.yaml"] {
        assert_eq!(source.read_file(&revision, none).unwrap(), None, "{none}");
    }
}
