//! What others commit does not reach a terminal raw.

use std::fs;
use std::process::Output;

use git2::{FileMode, Repository, Signature, Time, build::TreeUpdateBuilder};
use serde_json::{Value, json};

use crate::support::daemon::{condition, windlass};
use crate::support::{Daemon, Site};

/// A branch that turns the direction of writing.
const BRANCH: &str = "ma\u{202e}in";
/// Another that Git allows: it colours what follows.
const COLOURED: &str = "ma\u{9b}31min";
const MESH: &str = "type: Mesh\nname: demo\n";

/// A valid dataplane with a tag that clears the screen.
fn dataplane(number: usize) -> String {
    format!(
        "type: Dataplane\nmesh: demo\nname: dp\nnetworking:\n  address: 127.0.0.1\n  \
         gateway: {{tags: {{service: web, \"k\\e[2J\\u202e\\n```\": \"{number}\\e]0;x\\a\\u009b2J\\u202e\"}}}}\n"
    )
}

/// Checks that a command printed nothing that a terminal would obey.
fn assert_harmless(what: &str, output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let raw = text.find(|c: char| c.is_control() && c != '\n');
        assert_eq!(raw, None, "{what}: {text:?}");
        // YAML has no escapes outside of quotes.
        let turns = text.contains(['\u{200b}', '\u{202e}']);
        assert!(!turns || what.ends_with("yaml"), "{what}: {text:?}");
    }
}

/// Commits these files on [`BRANCH`].
fn commit(git: &Repository, files: &[(&str, &str)]) -> String {
    let name = format!("refs/heads/{BRANCH}");
    let parent = git.find_reference(&name).or_else(|_| git.head()).unwrap();
    let parent = parent.peel_to_commit().unwrap();
    let mut tree = TreeUpdateBuilder::new();
    for (path, text) in files {
        tree.upsert(*path, git.blob(text.as_bytes()).unwrap(), FileMode::Blob);
    }
    let tree = tree.create_updated(git, &parent.tree().unwrap()).unwrap();
    let tree = git.find_tree(tree).unwrap();
    let time = Time::new(1_767_225_600, 0);
    let who = Signature::new("\u{202e}\u{9b}31m", "a@b", &time).unwrap();
    let id = git
        .commit(None, &who, &who, "\u{1b}[2J", &tree, &[&parent])
        .unwrap();
    for name in [&name, &format!("refs/heads/{COLOURED}")] {
        git.reference(name, id, true, "a commit").unwrap();
    }
    id.to_string()
}

/// Checks what the daemon's commands print.
fn assert_harmless_about(daemon: &Daemon, commands: &[&str]) {
    for command in commands {
        let args: Vec<&str> = command.split(' ').collect();
        let output = daemon.cli(&args).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        assert_harmless(command, &output);
    }
    // The log goes to a terminal too.
    let log = daemon.log();
    let raw = log.find(|c: char| c.is_control() && c != '\n');
    assert_eq!(raw, None, "{log:?}");
}

/// What `plan` prints in every format of the last commit on [`BRANCH`].
fn plans(site: &Site, daemon: &Daemon) -> Vec<String> {
    let repo = site.repo.path().to_str().unwrap();
    let base = format!("{BRANCH}~1");
    let mut printed = Vec::new();
    for head in [BRANCH, COLOURED] {
        let args = ["plan", "--repo", repo, "--head", head];
        assert_harmless("online", &daemon.cli(&args).output().unwrap());
        for format in ["text", "json", "markdown"] {
            let output = windlass()
                .args(args)
                .args(["--base", &base, "-o", format])
                .output()
                .unwrap();
            assert_harmless(format, &output);
            printed.push(String::from_utf8(output.stdout).unwrap());
        }
    }
    printed
}

/// A site whose source is [`BRANCH`], with a daemon that has applied its files.
fn start(git: impl FnOnce(&Repository)) -> (Site, Daemon) {
    let site = Site::from_files(&[("mesh.yaml", MESH)]).set("WINDLASS_SOURCE_BRANCH", BRANCH);
    git(&Repository::open(site.repo.path()).unwrap());
    let daemon = site.start();
    (site, daemon)
}

#[test]
fn control_characters_in_names_of_branches_files_and_tags_are_escaped() {
    let odd_file = "dp\u{202e}\u{200b}.yaml";
    let (site, daemon) = start(|git| drop(commit(git, &[(odd_file, &dataplane(1))])));
    let git = Repository::open(site.repo.path()).unwrap();
    let changed = commit(&git, &[(odd_file, &dataplane(2))]);
    daemon.wait_until("the change to be applied", |status| {
        status["sources"][0]["appliedRevision"] == json!(format!("{BRANCH}@sha1:{changed}"))
    });
    let commands = [
        "status",
        "status -o json",
        "history",
        "history -o json",
        "get dataplanes",
        "get dataplanes -o json",
        "get dataplanes -o yaml",
    ];
    assert_harmless_about(&daemon, &commands);
    for plan in plans(&site, &daemon) {
        assert!(
            plan.contains("demo/Dataplane/dp") && plan.contains("2J"),
            "{plan}"
        );
        let fences = plan.matches("\n```").count();
        let is_comment = plan.starts_with("<!--");
        assert_eq!(fences, if is_comment { 2 } else { 0 }, "{plan}");
    }
}

#[test]
fn control_characters_in_what_is_wrong_are_escaped() {
    let broken = "type: \u{9b}31m\"\u{202e}\"\nname: \"\\e[2J\"\n";
    let files = [
        ("bro\u{202e}ken.yaml", broken),
        ("a\u{202e}.yaml", "{\u{9b}: ]"),
        ("tag.yaml", &dataplane(1)),
    ];
    let (site, daemon) = start(|git| drop(commit(git, &[])));
    let git = Repository::open(site.repo.path()).unwrap();
    let bad = commit(&git, &files);
    daemon.wait_until("the commit to be held back", |status| {
        let source = &status["sources"][0];
        source["attemptedRevision"] == json!(format!("{BRANCH}@sha1:{bad}"))
            && condition(source, "Stalled").is_some_and(|found: &Value| found["status"] == "True")
    });
    assert_harmless_about(&daemon, &["status", "status -o json"]);
    let printed = daemon.cli(&["status"]).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&printed).contains("bro\\u{202e}ken.yaml"));
    plans(&site, &daemon);

    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for format in ["text", "json"] {
        let output = windlass()
            .args(["validate", "-o", format])
            .arg(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_harmless(&format!("validate as {format}"), &output);
    }
    let absent = windlass()
        .args(["plan", "--base", "no\u{1b}[2J\u{202e}where", "--repo"])
        .arg(site.repo.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&absent.stderr).contains("where"));
    assert_harmless("an error", &absent);
}
