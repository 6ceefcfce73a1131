//! `windlass.yaml`.

use super::*;
use crate::model::{Drift, Kind, SignatureMode, Strategy};

#[test]
fn the_policy_is_read() {
    let manifest = manifest(&[(
        "windlass.yaml",
        "transition: {strategy: forbid}\ndeletion: {maxResources: 10, requireApproval: [Mesh]}\ndrift: report\nsignatures: {mode: none, allowedSigners: .signers}\n",
    )]);
    assert_eq!(manifest.diagnostics(), []);
    let policy = &manifest.desired().policy;
    assert_eq!(policy.transition.strategy, Some(Strategy::Forbid));
    assert_eq!(policy.deletion.max_resources, Some(10));
    assert_eq!(policy.deletion.require_approval, [Kind::Mesh]);
    assert_eq!(policy.drift, Drift::Report);
    assert_eq!(policy.signatures.mode, SignatureMode::None);
    assert_eq!(
        policy.signatures.allowed_signers.as_deref(),
        Some(".signers")
    );
}

#[test]
fn an_error_in_the_policy_holds_back_the_commit() {
    let cases = [
        ("drift: heel\n", "drift: must be one of heal, report"),
        ("drfit: heal\n", "drfit: the field \"drfit\" is unknown"),
        (
            "deletion: {maxResources: -1}\n",
            "deletion.maxResources: must not be negative",
        ),
        (
            "deletion: {requireApproval: [Mash]}\n",
            "deletion.requireApproval[0]: must be one of Mesh, ProvidedCa, TrafficPermission, Dataplane",
        ),
        (
            "signatures: {mode: head, allowedSigners: .signers}\n",
            "signatures.mode: signatures of commits are not checked by this version",
        ),
        (
            "signatures: {allowedSigners: ../x}\n",
            "signatures.allowedSigners: must be a file of the source, relative to its path",
        ),
        (
            "drift: heal\n---\ndrift: heal\n",
            ".: the policy must be one document",
        ),
        ("[]\n", ".: must be a map, found a list"),
        (
            "drift: heal\ndrift: report\n",
            ".: the key \"drift\" is a duplicate",
        ),
    ];
    for (yaml, expected) in cases {
        let manifest = manifest(&[("windlass.yaml", yaml)]);
        let found: Vec<_> = manifest
            .diagnostics()
            .iter()
            .map(|d| format!("{}: {}", d.field, d.message))
            .collect();
        assert_eq!(found, [expected], "{yaml}");
        assert!(manifest.holds_back_commit(), "{yaml}");
    }
}

#[test]
fn all_that_is_wrong_with_signatures_is_told_at_once() {
    let manifest = manifest(&[("windlass.yaml", "signatures: {mode: strict}\n")]);
    let found = manifest.diagnostics();
    let codes: Vec<_> = found.iter().map(|d| &*d.code).collect();
    assert_eq!(codes, ["WL0501", "WL0502"]);
}

#[test]
fn only_the_file_at_the_root_is_the_policy() {
    let manifest = manifest(&[
        ("windlass.yaml", "# nothing\n"),
        ("a/windlass.yaml", "drift: heal\n"),
    ]);
    assert_eq!(manifest.diagnostics().len(), 1);
    assert_eq!(&*manifest.diagnostics()[0].file, "a/windlass.yaml");
}

#[test]
fn a_policy_that_is_removed_is_the_default_again() {
    let path = Arc::from("windlass.yaml");
    let mut manifest = manifest(&[
        ("windlass.yaml", "drift: report\n"),
        ("a.yaml", "type: Mesh\nname: demo\n"),
    ]);
    manifest.take_changed_meshes();
    manifest.update(&path, None);
    assert_eq!(manifest.desired().policy.drift, Drift::Heal);
    assert_eq!(manifest.take_changed_meshes().len(), 1);
}
