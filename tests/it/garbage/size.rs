//! Repositories that are large, or seem small and are not.

use std::time::Duration;

use git2::{FileMode, Repository};
use serde_json::{Value, json};

use super::commit::{self, Put};
use super::{MESH, Yard, places};
use crate::support::daemon::mesh;
use crate::support::{Site, http, wait};

/// More than enough for ten thousand resources on a busy machine without optimization.
const LONG: Duration = Duration::from_mins(2);

fn dataplane(name: &str, service: &str) -> String {
    format!(
        "type: Dataplane\nmesh: demo\nname: {name}\nnetworking:\n  address: 127.0.0.1\n  \
         inbound: [{{port: 8080, tags: {{service: {service}}}}}]\n"
    )
}

#[test]
fn ten_thousand_files_are_applied_and_then_one_of_them() {
    let site = Site::from_files(&[("mesh.yaml", MESH)]);
    let daemon = site.start();
    let names: Vec<_> = (0..10_000)
        .map(|number| format!("dp-{number:04}"))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| {
            (
                format!("{}/{name}.yaml", &name[..5]),
                dataplane(name, "web"),
            )
        })
        .collect();
    let puts: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Put::File(text.as_bytes())))
        .collect();
    let commit = commit::on_branch(site.repo.path(), &puts);
    let revision = json!(format!("main@sha1:{commit}"));
    let status = wait::within(LONG, "ten thousand files to be applied", || {
        let status = daemon.status()?;
        let applied = status["sources"][0]["appliedRevision"] == revision;
        if applied {
            Ok(status)
        } else {
            Err(daemon.log())
        }
    });
    assert_eq!(mesh(&status, "demo")["dataplanes"]["known"], 10_000);

    let changed = dataplane("dp-7777", "changed");
    let put = ("dp-77/dp-7777.yaml", Put::File(changed.as_bytes()));
    let commit = commit::on_branch(site.repo.path(), &[put]);
    daemon.wait_until_applied(&commit);
    let path = "/meshes/demo/dataplanes/dp-7777";
    let found = http::get(&daemon.listeners().api, path).unwrap().json();
    let service = &found["networking"]["inbound"][0]["tags"]["service"];
    assert_eq!(service, "changed");
    let history = http::get(&daemon.listeners().api, "/history")
        .unwrap()
        .json();
    let steps = history["items"][0]["steps"].as_array().unwrap().len();
    assert!(steps < 5, "more than the change was applied: {history:#}");
}

#[test]
fn commits_that_unfold_to_more_than_memory_are_refused_in_bounded_memory() {
    let yard = Yard::open();
    let git = Repository::open(yard.site.repo.path()).unwrap();
    // One small file at fifty thousand paths: a few kilobytes to push.
    let unfolded = |content: &[u8], folders: usize| {
        let file = git.blob(content).unwrap();
        let mut folder = git.treebuilder(None).unwrap();
        for number in 0..1000 {
            let name = format!("{number:03}.yaml");
            folder.insert(name, file, FileMode::Blob.into()).unwrap();
        }
        let folder = folder.write().unwrap();
        (0..folders)
            .map(|number| {
                (
                    format!("many/{number:02}"),
                    Put::Known(folder, FileMode::Tree),
                )
            })
            .collect::<Vec<_>>()
    };
    let resources = "type: Mesh\nname: again\n---\n".repeat(100);
    for (content, folders, code) in [
        (b"---\na\n".repeat(400), 49, "WL0009"),
        (resources.into_bytes(), 49, "WL0009"),
        (vec![b'#'; 1 << 20], 1, "WL0615"),
        (Vec::new(), 51, "WL0615"),
    ] {
        let puts = unfolded(&content, folders);
        let puts: Vec<_> = puts
            .iter()
            .map(|(path, put)| (path.as_str(), *put))
            .collect();
        let commit = yard.throw(&puts);
        let found = yard.held_back(&commit);
        let places = places(&found);
        assert!(
            places.iter().any(|place| place.ends_with(code)),
            "no {code} in {} diagnostics, the first is {:?}",
            places.len(),
            places.first(),
        );
        assert!(places.len() <= 10_001, "{} are listed", places.len());
        assert_eq!(yard.meshes(), ["demo"], "{code}");
        yard.assert_served(code);
        yard.mend(code);
    }
    let peak = yard.peak_memory();
    assert!(peak < 600, "{peak} MiB");
}

#[test]
fn many_large_files_take_no_memory() {
    let yard = Yard::open();
    let before = yard.peak_memory();
    let files: Vec<_> = (0..8_u8)
        .map(|number| vec![b'a' + number; 10 << 20])
        .collect();
    let names: Vec<_> = (0..8)
        .map(|number| format!("large-{number}.yaml"))
        .collect();
    let puts: Vec<_> = names
        .iter()
        .zip(&files)
        .map(|(name, file)| (name.as_str(), Put::File(file)))
        .collect();
    let commit = yard.throw(&puts);
    let found = yard.held_back(&commit);
    let expected: Vec<_> = names
        .iter()
        .map(|name| format!("{name}:1 WL0001"))
        .collect();
    assert_eq!(places(&found), expected);
    assert!(found.iter().all(|found: &Value| found["hint"].is_string()));
    yard.mend("large files");
    let more = yard.peak_memory() - before;
    assert!(more < 40, "{more} MiB for files that are not read");
}
