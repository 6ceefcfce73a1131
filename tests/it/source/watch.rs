//! A commit in a local repository is seen at once.

use std::time::Duration;

use windlass::source::{Repository, Watch};

use super::repo::{Put, Repo, head};
use Put::File;

/// How long a signal may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

async fn changed(watch: &Watch) {
    tokio::time::timeout(DEADLINE, watch.changed())
        .await
        .expect("a signal");
}

/// Waits until the source is at `commit`, woken by nothing but signals.
async fn arrives(source: &mut Repository, watch: &Watch, commit: git2::Oid) {
    while head(source).commit.as_str() != commit.to_string() {
        changed(watch).await;
    }
}

#[tokio::test]
async fn a_commit_is_signalled_in_every_kind_of_repository() {
    for repo in [Repo::bare(), Repo::with_working_tree()] {
        repo.commit(&[("a.yaml", File("0"))]);
        let mut source = repo.source();
        let watch = source.watch().unwrap();
        for i in 0..20 {
            let commit = repo.commit(&[("a.yaml", File(&format!("{i}")))]);
            arrives(&mut source, &watch, commit).await;
        }
    }
}

#[tokio::test]
async fn a_commit_in_a_linked_worktree_is_signalled() {
    let repo = Repo::with_working_tree();
    repo.commit(&[("a.yaml", File("0"))]);
    let linked = repo.home().join("linked");
    repo.git.worktree("linked", &linked, None).unwrap();
    let mut source = repo.open(&linked.display().to_string(), None, ".").unwrap();
    let watch = source.watch().unwrap();
    assert_eq!(&*head(&mut source).branch, "linked");
    let commit = repo.commit_on("linked", &[("a.yaml", File("1"))]);
    arrives(&mut source, &watch, commit).await;
    // Another branch in the worktree: its own HEAD moves, no branch does.
    let commit = repo.commit_on("other", &[("a.yaml", File("2"))]);
    changed(&watch).await;
    let worktree = git2::Repository::open(&linked).unwrap();
    worktree.set_head("refs/heads/other").unwrap();
    arrives(&mut source, &watch, commit).await;
}

#[tokio::test]
async fn references_that_are_packed_and_branches_that_are_switched_are_signalled() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("0"))]);
    let next = repo.commit_on("next", &[("a.yaml", File("1"))]);
    let mut source = repo.source();
    let watch = source.watch().unwrap();
    repo.git.set_head("refs/heads/next").unwrap();
    arrives(&mut source, &watch, next).await;

    let packed = repo.path().join("packed-refs.lock");
    let commit = repo.commit_on("next", &[("a.yaml", File("2"))]);
    std::fs::write(&packed, format!("{commit} refs/heads/next\n")).unwrap();
    std::fs::rename(&packed, repo.path().join("packed-refs")).unwrap();
    std::fs::remove_file(repo.path().join("refs/heads/next")).unwrap();
    changed(&watch).await;
    arrives(&mut source, &watch, commit).await;
}

#[tokio::test]
async fn looking_at_the_repository_is_no_signal() {
    let repo = Repo::with_working_tree();
    repo.commit(&[("a.yaml", File("0"))]);
    let mut source = repo.source();
    let watch = source.watch().unwrap();
    for _ in 0..10 {
        let revision = head(&mut source);
        source.read(&revision, None).unwrap();
    }
    // Files that are no references, and then one: had looking been a signal, the
    // first would come at once, and the second too.
    std::fs::write(repo.path().join(".git/COMMIT_EDITMSG"), "x").unwrap();
    std::fs::write(repo.path().join("a.yaml"), "x").unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), watch.changed())
            .await
            .is_err(),
        "signalled without a commit"
    );
    repo.commit(&[("a.yaml", File("1"))]);
    changed(&watch).await;
}

#[test]
fn a_url_is_not_watched() {
    let repo = Repo::bare();
    repo.commit(&[("a.yaml", File("0"))]);
    let mut source = repo.mirrored(None);
    head(&mut source);
    assert!(!source.is_local() && source.watch().is_none());
}
