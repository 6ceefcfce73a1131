//! Golden plans: each folder of `tests/golden/plan` is a current and a desired
//! state and the plan between them, as JSON, text and Markdown.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run golden` writes what is planned now; read
//! the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use windlass::ca::Issuing;
use windlass::manifest;
use windlass::model::{DataplaneId, Desired, Evidence, ProxyEvidence, Timestamp};
use windlass::plan::Circumstances;
use windlass::plan::{self, Plan, render};

const REVISION: &str = "main@sha1:0123456789abcdef0123456789abcdef01234567";

#[test]
fn golden_plans_are_as_they_were_reviewed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "the golden plans are gone");
    let differing: Vec<String> = cases.iter().filter_map(|case| check_golden(case)).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// What differs from the golden files of a case, if anything does.
fn check_golden(case: &Path) -> Option<String> {
    let plan = plan_of(case);
    let again = plan_of(case);
    let json = serde_json::to_string_pretty(&render::document(&plan)).unwrap() + "\n";
    let repeated = serde_json::to_string_pretty(&render::document(&again)).unwrap() + "\n";
    assert_eq!(json, repeated, "the same input gives the same bytes");
    let rendered = [
        ("plan.json", json),
        ("plan.txt", render::text(&plan, false)),
        ("plan.md", render::markdown(&plan)),
    ];
    let mut differing = None;
    for (name, text) in rendered {
        let path = case.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        } else if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            differing = Some(format!(
                "{} is not what is planned now:\n{text}",
                path.display()
            ));
        }
    }
    differing
}

fn plan_of(case: &Path) -> Plan {
    let current = plan::baseline(&desired(&case.join("current")));
    let mut wanted = desired(&case.join("desired"));
    wanted.settled = false;
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    plan::plan(
        &current,
        &wanted,
        Circumstances {
            evidence: &evidence(case, now),
            issuing: Issuing::default(),
            now,
        },
    )
}

fn desired(folder: &Path) -> Desired {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    files.sort();
    let mut manifest = manifest::parse(&files, "default".parse().unwrap());
    manifest.set_revision(Some(REVISION.parse().unwrap()));
    assert_eq!(manifest.diagnostics(), [], "{}", folder.display());
    manifest.desired().clone()
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(Arc<str>, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.push((Arc::from(name), fs::read(&path).unwrap()));
        }
    }
}

fn evidence(case: &Path, now: Timestamp) -> Evidence {
    let connected = fs::read_to_string(case.join("connected")).unwrap_or_default();
    connected
        .lines()
        .map(|node| {
            let id = DataplaneId::from_node_id(node).unwrap();
            let mut proxy = ProxyEvidence::none(id.clone(), now);
            proxy.connected_since = Some(now);
            (id, proxy.into())
        })
        .collect()
}
