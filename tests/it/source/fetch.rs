//! Where a branch is, in a repository of this machine and through a URL.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use windlass::source::{FetchLimits, Head, Repository, RepositoryConfig, SourceError};

use super::repo::{Put, Reader, Repo, head};
use Put::File;

/// Every kind of source of one repository.
fn each_kind(repo: &Repo, branch: Option<&str>) -> [Repository; 2] {
    let local = repo.open(&repo.path().display().to_string(), branch, ".");
    [local.unwrap(), repo.mirrored(branch)]
}

fn commit(head: &Head) -> String {
    match head {
        Head::Commit(revision) => revision.to_string(),
        head => format!("{head:?}"),
    }
}

#[test]
fn the_head_of_the_repository_or_of_the_named_branch_is_desired() {
    let repo = Repo::bare();
    let main = repo.commit(&[("a.yaml", File("main"))]);
    let other = repo.commit_on("team/x", &[("a.yaml", File("other"))]);
    for (branch, expected, content) in [
        (None, format!("main@sha1:{main}"), "+ a.yaml main"),
        (Some("main"), format!("main@sha1:{main}"), "+ a.yaml main"),
        (
            Some("team/x"),
            format!("team/x@sha1:{other}"),
            "+ a.yaml other",
        ),
    ] {
        for mut source in each_kind(&repo, branch) {
            assert_eq!(commit(&source.fetch().unwrap()), expected);
            assert_eq!(Reader::new(source).changes(), [content]);
        }
    }
}

#[test]
fn new_commits_and_force_pushes_are_followed() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    for source in each_kind(&repo, Some("main")) {
        let mut reader = Reader::new(source);
        reader.changes();
        let new = repo.commit(&[("b.yaml", File("2"))]);
        assert_eq!(reader.changes(), ["+ b.yaml 2"]);
        assert_eq!(head(&mut reader.source).commit.to_string(), new.to_string());
        repo.force("main", &[("c.yaml", File("3"))]);
        assert_eq!(reader.changes(), ["- a.yaml", "- b.yaml", "+ c.yaml 3"]);
        repo.force("main", &[("a.yaml", File("1"))]);
        assert_eq!(reader.changes(), ["+ a.yaml 1", "- c.yaml"]);
    }
}

#[test]
fn a_head_that_moves_to_another_branch_is_followed() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    repo.commit_on("next", &[("b.yaml", File("2"))]);
    for source in each_kind(&repo, None) {
        let mut reader = Reader::new(source);
        assert_eq!(reader.changes(), ["+ a.yaml 1"]);
        repo.git.set_head("refs/heads/next").unwrap();
        assert_eq!(reader.changes(), ["- a.yaml", "+ b.yaml 2"]);
        repo.git.set_head("refs/heads/main").unwrap();
    }
}

#[test]
fn an_empty_branch_a_vanished_branch_and_a_vanished_repository_are_told_apart() {
    let repo = Repo::bare();
    for branch in [None, Some("main")] {
        for mut source in each_kind(&repo, branch) {
            assert_eq!(source.fetch().unwrap(), Head::Empty);
        }
    }
    repo.commit(&[("a.yaml", File("1"))]);
    repo.commit_on("team", &[("a.yaml", File("1"))]);
    for mut source in each_kind(&repo, Some("team")) {
        let revision = head(&mut source);
        let mut branch = repo
            .git
            .find_branch("team", git2::BranchType::Local)
            .unwrap();
        let tip = branch.get().target().unwrap();
        branch.delete().unwrap();
        assert_eq!(source.fetch().unwrap(), Head::Missing);
        assert!(
            source.read(&revision, None).is_ok(),
            "what was fetched is still there"
        );
        repo.git
            .reference("refs/heads/team", tip, true, "back")
            .unwrap();
        assert_eq!(head(&mut source), revision);
    }

    let sources = each_kind(&repo, Some("team")).map(|mut source| {
        head(&mut source);
        source
    });
    fs::rename(repo.path(), repo.home().join("gone")).unwrap();
    for mut source in sources {
        let error = source.fetch().unwrap_err();
        assert!(
            matches!(
                error,
                SourceError::NotFound { .. } | SourceError::Fetch { .. }
            ),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains(&repo.path().display().to_string()),
            "{error}"
        );
        assert!(!error.hint().is_empty());
    }
    fs::create_dir(repo.path()).unwrap();
    let folder = repo.path().display().to_string();
    assert!(repo.open(&folder, Some("team"), ".").is_err());
    assert!(repo.mirrored(None).fetch().is_err());
}

#[test]
fn a_detached_head_is_a_revision_of_head() {
    let repo = Repo::with_working_tree();
    let id = repo.commit(&[("a.yaml", File("1"))]);
    repo.git.set_head_detached(id).unwrap();
    assert_eq!(
        commit(&repo.source().fetch().unwrap()),
        format!("HEAD@sha1:{id}")
    );
}

#[test]
fn a_broken_reference_is_an_error_and_no_missing_branch() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    let reference = repo.path().join("refs/heads/main");
    for content in [
        "garbage\n",
        "",
        "0123456789012345678901234567890123456789\n",
    ] {
        fs::write(&reference, content).unwrap();
        let error = repo.source().fetch().unwrap_err();
        assert!(
            matches!(error, SourceError::Damaged { .. }),
            "{content:?}: {error:?}"
        );
    }
}

#[test]
fn packed_references_are_read() {
    let repo = Repo::bare();
    let id = repo.commit(&[("a.yaml", File("1"))]);
    fs::remove_file(repo.path().join("refs/heads/main")).unwrap();
    fs::write(
        repo.path().join("packed-refs"),
        format!("# pack-refs\n{id} refs/heads/main\n"),
    )
    .unwrap();
    for mut source in each_kind(&repo, None) {
        assert_eq!(head(&mut source).commit.to_string(), id.to_string());
    }
}

#[test]
fn a_mirror_survives_a_killed_fetch_and_damage() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    Reader::new(repo.mirrored(None)).changes();
    let cache = repo.home().join("cache");
    let mirror = fs::read_dir(&cache)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();

    // A kill in the middle of writing references and packs.
    fs::write(mirror.join("refs/heads/main.lock"), "").unwrap();
    fs::write(mirror.join("HEAD.lock"), "").unwrap();
    fs::write(mirror.join("objects/pack/pack_git2_half"), "PACK").unwrap();
    repo.commit(&[("b.yaml", File("2"))]);
    assert_eq!(Reader::new(repo.mirrored(None)).changes().len(), 2);
    assert!(!mirror.join("objects/pack/pack_git2_half").exists());

    // A kill in the middle of the clone.
    fs::remove_dir_all(&mirror).unwrap();
    fs::create_dir_all(mirror.with_extension("new").join("objects")).unwrap();
    assert_eq!(Reader::new(repo.mirrored(None)).changes().len(), 2);
    fs::remove_file(mirror.join("HEAD")).unwrap();
    assert_eq!(Reader::new(repo.mirrored(None)).changes().len(), 2);

    // Objects that are lost are fetched again.
    fs::remove_dir_all(mirror.join("objects/pack")).unwrap();
    assert_eq!(Reader::new(repo.mirrored(None)).changes().len(), 2);
    let left: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(left, [mirror], "nothing is left over");
}

#[test]
fn damage_that_a_read_finds_is_mended_by_the_next_fetch() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    let mut source = repo.mirrored(None);
    let revision = head(&mut source);
    let mirror = fs::read_dir(repo.home().join("cache"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    drop(source);
    // The commit and its tree stay: only the file's object is gone.
    let git = git2::Repository::open_bare(&mirror).unwrap();
    let odb = git.odb().unwrap();
    let commit = git
        .find_commit(revision.commit.as_str().parse().unwrap())
        .unwrap();
    let objects: Vec<_> = [commit.id(), commit.tree_id()]
        .map(|id| odb.read(id).map(|o| (o.kind(), o.data().to_vec())).unwrap())
        .to_vec();
    fs::remove_dir_all(mirror.join("objects/pack")).unwrap();
    let git = git2::Repository::open_bare(&mirror).unwrap();
    for (kind, data) in objects {
        git.odb().unwrap().write(kind, &data).unwrap();
    }

    let mut source = repo.mirrored(None);
    let revision = head(&mut source);
    assert!(matches!(
        source.read(&revision, None),
        Err(SourceError::Damaged { .. })
    ));
    assert_eq!(Reader::new(source).changes(), ["+ a.yaml 1"]);
}

#[test]
fn a_mirror_that_was_fetched_is_read_while_its_server_is_gone() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    let revision = head(&mut repo.mirrored(None));
    fs::rename(repo.path(), repo.home().join("gone")).unwrap();
    let mut source = repo.mirrored(None);
    assert!(source.fetch().is_err());
    assert_eq!(source.read(&revision, None).unwrap().0.len(), 1);
}

#[test]
fn a_server_that_says_nothing_does_not_hold_up_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        // Until the client goes.
        let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = connection.read_to_end(&mut Vec::new());
    });
    let home = tempfile::tempdir().unwrap();
    let config = RepositoryConfig {
        repo: format!("http://user:hunter2@{address}/policy.git"),
        branch: None,
        path: ".".to_owned(),
        cache_dir: home.path().to_owned(),
    };
    let limits = FetchLimits {
        time: Duration::from_millis(200),
        ..FetchLimits::default()
    };
    let mut source = Repository::open(&config).unwrap().with_limits(limits);
    let start = Instant::now();
    let error = source.fetch().unwrap_err();
    assert!(matches!(error, SourceError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!format!("{error} {error:?} {source:?}").contains("hunter2"));
}

#[test]
fn an_unreachable_server_is_an_error_without_its_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let home = tempfile::tempdir().unwrap();
    for scheme in ["http", "https", "ssh"] {
        let config = RepositoryConfig {
            repo: format!("{scheme}://user:hunter2@{address}/policy.git"),
            branch: None,
            path: ".".to_owned(),
            cache_dir: home.path().to_owned(),
        };
        let mut source = Repository::open(&config).unwrap();
        let error = source.fetch().unwrap_err();
        let text = format!("{error} {error:?} {} {source:?}", error.hint());
        assert!(matches!(error, SourceError::Fetch { .. }), "{text}");
        assert!(
            text.contains(&format!("{scheme}://{address}/policy.git")),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_fetch_that_is_too_large_is_given_up() {
    let repo = Repo::bare();
    let noise: Vec<String> = (0u64..200_000)
        .map(|i| format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let noise = noise.concat();
    repo.commit(&[("large.md", File(&noise)), ("a.yaml", File("a"))]);
    let limits = FetchLimits {
        bytes: 100_000,
        ..FetchLimits::default()
    };
    let mut source = repo.mirrored(None).with_limits(limits);
    let error = source.fetch().unwrap_err();
    assert!(matches!(error, SourceError::TooLarge { .. }), "{error:?}");
    assert_eq!(Reader::new(repo.mirrored(None)).changes(), ["+ a.yaml a"]);
}

#[test]
fn a_password_is_not_written_into_the_mirror() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("1"))]);
    let url = repo
        .url()
        .replace("file://", "file://user:hunter2@localhost");
    // libgit2 may not take such a URL for a file; nothing is written in either case.
    let _ = repo.open(&url, None, ".").unwrap().fetch();
    let mut folders = vec![repo.home().join("cache")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                assert!(
                    !String::from_utf8_lossy(&content).contains("hunter2"),
                    "{path:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_no_branch_and_no_repository_is_refused_at_once() {
    let repo = Repo::bare();
    let path = repo.path().display().to_string();
    for branch in ["", "*", "a:b", "a b", "-", "a..b", "refs/heads/*"] {
        let error = repo.open(&path, Some(branch), ".").unwrap_err();
        assert!(
            matches!(error, SourceError::Branch { .. }),
            "{branch}: {error:?}"
        );
    }
    for nothing in ["/nowhere/at/all", "nowhere"] {
        let error = repo.open(nothing, None, ".").unwrap_err();
        assert!(matches!(error, SourceError::NotFound { .. }), "{error:?}");
    }
    let error = repo.open("git://host/a", None, ".").unwrap_err();
    assert!(matches!(error, SourceError::Url { .. }), "{error:?}");
    assert!(matches!(
        repo.mirrored(None).resolve("HEAD"),
        Err(SourceError::NotFetched { .. })
    ));
}
