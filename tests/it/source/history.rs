//! Finding commits, and the way from one to another.

use windlass::model::CommitId;
use windlass::source::{SourceError, discover};

use super::repo::{Put, Repo, head, signature};
use Put::File;

#[test]
fn revisions_are_found_by_every_name() {
    let repo = Repo::bare();
    let first = repo.commit(&[("a.yaml", File("1"))]).to_string();
    let object = repo.git.revparse_single("main").unwrap();
    repo.git
        .tag("v1", &object, &signature(), "an annotated tag", false)
        .unwrap();
    let second = repo.commit(&[("a.yaml", File("2"))]).to_string();
    repo.commit_on("team/x", &[("a.yaml", File("3"))]);
    repo.git
        .reference("refs/remotes/origin/release", object.id(), true, "")
        .unwrap();

    let mut mirror = repo.mirrored(None);
    mirror.fetch_all().unwrap();
    let source = repo.source();
    for source in [&source, &mirror] {
        for (spec, expected) in [
            ("HEAD", format!("main@sha1:{second}")),
            ("main", format!("main@sha1:{second}")),
            ("refs/heads/main", format!("main@sha1:{second}")),
            ("main~1", format!("main@sha1:{first}")),
            ("HEAD^", format!("main@sha1:{first}")),
            ("v1", format!("HEAD@sha1:{first}")),
            (&first[..10], format!("HEAD@sha1:{first}")),
            (&first, format!("HEAD@sha1:{first}")),
            (&format!("main@sha1:{first}"), format!("main@sha1:{first}")),
        ] {
            assert_eq!(
                source.resolve(spec).unwrap().to_string(),
                expected,
                "{spec}"
            );
        }
        assert!(source.resolve("team/x").is_ok());
        for nothing in [
            "nope",
            "",
            "v1^{tree}",
            "main:a.yaml",
            "..",
            "main..v1",
            "\0",
        ] {
            let error = source.resolve(nothing).unwrap_err();
            assert!(
                matches!(error, SourceError::Revision { .. }),
                "{nothing}: {error:?}"
            );
        }
    }
    let release = source.resolve("release").unwrap();
    assert_eq!(release.commit.to_string(), first);
}

#[test]
fn a_repository_is_found_from_a_folder_inside() {
    let repo = Repo::with_working_tree();
    let inside = repo.path().join("a/b");
    std::fs::create_dir_all(&inside).unwrap();
    let found = discover(&inside).unwrap();
    assert_eq!(
        found.canonicalize().unwrap(),
        repo.path().canonicalize().unwrap()
    );
    assert_eq!(discover(&repo.home().join("nowhere")), None);
}

#[test]
fn the_path_between_commits_follows_first_parents() {
    let repo = Repo::bare();
    let ids: Vec<CommitId> = (0..6)
        .map(|i| {
            repo.commit(&[("a.yaml", File(&i.to_string()))])
                .to_string()
                .parse()
                .unwrap()
        })
        .collect();
    let side: CommitId = repo
        .force("side", &[("s.yaml", File("s"))])
        .to_string()
        .parse()
        .unwrap();
    let git = &repo.git;
    let find = |id: &CommitId| git.find_commit(id.as_str().parse().unwrap()).unwrap();
    let (main, other) = (find(&ids[5]), find(&side));
    let who = signature();
    let merge = git
        .commit(
            Some("refs/heads/main"),
            &who,
            &who,
            "merge",
            &main.tree().unwrap(),
            &[&main, &other],
        )
        .unwrap();
    let merge: CommitId = merge.to_string().parse().unwrap();

    let mut source = repo.source();
    head(&mut source);
    let path =
        |from: &CommitId, to: &CommitId, limit| source.first_parent_path(from, to, limit).unwrap();
    assert_eq!(path(&ids[1], &ids[4], 100).unwrap(), &ids[2..=4]);
    assert_eq!(path(&ids[1], &ids[4], 3).unwrap(), &ids[2..=4]);
    assert_eq!(path(&ids[1], &ids[4], 2), None, "too far");
    assert_eq!(
        path(&ids[5], &merge, 1).unwrap(),
        std::slice::from_ref(&merge)
    );
    assert_eq!(path(&merge, &merge, 0).unwrap(), []);
    assert_eq!(
        path(&side, &merge, 100),
        None,
        "the second parent is no way"
    );
    assert_eq!(path(&ids[4], &ids[1], 100), None, "backwards");
    let unknown: CommitId = "0123456789012345678901234567890123456789".parse().unwrap();
    assert_eq!(path(&unknown, &merge, 100), None);
    assert!(source.first_parent_path(&ids[0], &unknown, 100).is_err());
}
