//! Golden plans: each folder of `tests/golden/plan` is a current and a desired
//! state and the plan between them, as JSON, text and Markdown.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run golden` writes what is planned now; read
//! the difference before committing it.
//!
//! A state is the YAML files of its folder and those of `tests/golden/shared`
//! that its file `shared` names. What else a case may say stands in its
//! `case.yaml`, see [`case::Case`].

mod case;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use windlass::ca::{self, Issuing};
use windlass::manifest::{self, Manifest};
use windlass::model::Timestamp;
use windlass::plan::{self, Circumstances, Plan, render};
use windlass::{check, model::Diagnostic};

use self::case::Case;

const REVISION: &str = "main@sha1:0123456789abcdef0123456789abcdef01234567";
const BASE: &str = "main@sha1:76543210fedcba9876543210fedcba9876543210";

fn now() -> Timestamp {
    "2027-01-01T12:00:00Z".parse().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn golden_plans_are_as_they_were_reviewed() {
    let mut cases: Vec<PathBuf> = fs::read_dir(root().join("plan"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "the golden plans are gone");
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

fn plan_of(folder: &Path) -> Plan {
    let case = Case::read(folder);
    let current = case.current(folder);
    let evidence = case.evidence(&current);
    let manifest = manifest(&folder.join("desired"));
    let mut wanted = manifest.desired().clone();
    wanted.settled = false;
    let given = Circumstances {
        evidence: &evidence,
        issuing: Issuing::default(),
        now: now(),
    };
    let mut plan = plan::plan(&current, &wanted, given);
    plan.base = case.base.then(|| BASE.parse().unwrap());
    let rules = check::Rules {
        now: now(),
        leaf_lifetime: ca::DEFAULT_LEAF_LIFETIME,
    };
    let meshes = wanted.meshes.keys();
    let mut found: Vec<Diagnostic> = meshes
        .flat_map(|mesh| check::placed(&manifest, mesh, &rules))
        .collect();
    assert!(!found.iter().any(Diagnostic::is_error), "{found:#?}");
    let planned = plan.diagnostics.drain(..);
    found.extend(planned.map(|diagnostic| manifest.place(diagnostic)));
    plan.diagnostics = found;
    plan
}

/// The state of a folder.
fn manifest(folder: &Path) -> Manifest {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    let shared = fs::read_to_string(folder.join("shared")).unwrap_or_default();
    for name in shared.split_whitespace() {
        let file = format!("{name}.yaml");
        let bytes = fs::read(root().join("shared").join(&file)).unwrap();
        files.push((file.into(), bytes));
    }
    files.sort();
    let mut manifest = manifest::parse(&files, "default".parse().unwrap());
    manifest.set_revision(Some(REVISION.parse().unwrap()));
    assert_eq!(manifest.diagnostics(), [], "{}", folder.display());
    manifest
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
