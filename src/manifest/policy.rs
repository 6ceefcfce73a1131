//! Reads `windlass.yaml`, the repository's policy.

use super::codes;
use super::mesh;
use super::reader::{At, Reader};
use crate::model::{DeletionPolicy, Drift, Kind, RepositoryPolicy, SignatureMode, SignaturePolicy};

/// The path of the policy, relative to the source's path.
pub(super) const PATH: &str = "windlass.yaml";

/// Reads the policy. What is wrong is left at its default; it holds back the
/// commit anyway.
pub(super) fn read(reader: &mut Reader, root: &At<'_, '_>) -> RepositoryPolicy {
    let known = ["transition", "deletion", "drift", "signatures"];
    let Some(fields) = reader.map(root, &known) else {
        return RepositoryPolicy::default();
    };
    let drift = [("heal", Drift::Heal), ("report", Drift::Report)];
    let transition = fields
        .get("transition")
        .and_then(|at| mesh::transition(reader, &at));
    let deletion = fields.get("deletion").and_then(|at| deletion(reader, &at));
    let drift = fields.get("drift").and_then(|at| reader.word(&at, &drift));
    let signatures = fields
        .get("signatures")
        .and_then(|at| signatures(reader, &at));
    RepositoryPolicy {
        transition: transition.unwrap_or_default(),
        deletion: deletion.unwrap_or_default(),
        drift: drift.unwrap_or_default(),
        signatures: signatures.unwrap_or_default(),
    }
}

fn deletion(reader: &mut Reader, at: &At<'_, '_>) -> Option<DeletionPolicy> {
    let fields = reader.map(at, &["maxResources", "requireApproval"])?;
    let max_resources = fields.get("maxResources").and_then(|at| {
        let number = reader.integer(&at)?;
        let limit = usize::try_from(number).ok();
        if limit.is_none() {
            reader.violation_at(codes::INVALID_POLICY, &at, "must not be negative");
        }
        limit
    });
    let require_approval = fields.get("requireApproval").and_then(|at| {
        let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
        let items = reader.list(&at)?;
        Some(
            items
                .iter()
                .filter_map(|item| reader.word(item, &kinds))
                .collect(),
        )
    });
    Some(DeletionPolicy {
        max_resources,
        require_approval: require_approval.unwrap_or_default(),
    })
}

fn signatures(reader: &mut Reader, at: &At<'_, '_>) -> Option<SignaturePolicy> {
    let modes = [
        ("none", SignatureMode::None),
        ("head", SignatureMode::Head),
        ("strict", SignatureMode::Strict),
    ];
    let fields = reader.map(at, &["mode", "allowedSigners"])?;
    let mode = fields.get("mode").and_then(|at| reader.word(&at, &modes));
    let allowed_signers = fields.get("allowedSigners").and_then(|at| {
        let path = reader.text(&at)?;
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let message = "must be a file of the source, relative to its path";
            reader.violation_at(codes::INVALID_POLICY, &at, message);
            return None;
        }
        Some(path.to_owned())
    });
    let mode = mode.unwrap_or_default();
    if mode != SignatureMode::None {
        // Whoever asks for signatures must not get commits without.
        let message = "signatures of commits are not checked by this version";
        let at = fields.get("mode").unwrap_or_else(|| at.clone());
        reader
            .violation_at(codes::SIGNATURES_NOT_CHECKED, &at, message)
            .hint = Some("write `none`, and protect the branch where it is hosted".to_owned());
    }
    if mode != SignatureMode::None && fields.get("allowedSigners").is_none() {
        let message = "allowedSigners must be set where signatures are checked";
        reader.violation_at(codes::INVALID_POLICY, at, message).hint =
            Some("name a file of allowed signers as in ssh-keygen(1)".to_owned());
    }
    Some(SignaturePolicy {
        mode,
        allowed_signers,
    })
}
