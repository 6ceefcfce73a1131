//! Reads the fields of a Mesh, and `transition` wherever it stands.

use std::time::Duration;

use super::codes;
use super::reader::{At, Fields, Reader};
use crate::model::{CaSpec, HumanDuration, Mtls, Offline, Phase, Strategy, TransitionSettings};

pub(super) const FIELDS: &[&str] = &["mtls"];

/// Reads a mesh. What is wrong is left at its default, so that the rest can be judged.
pub(super) fn read(reader: &mut Reader, fields: &Fields<'_, '_>) -> Mtls {
    let mtls = fields.get("mtls").and_then(|at| mtls(reader, &at));
    mtls.unwrap_or_default()
}

fn mtls(reader: &mut Reader, at: &At<'_, '_>) -> Option<Mtls> {
    let fields = reader.map(at, &["enabled", "ca", "transition"])?;
    let enabled = fields.get("enabled").and_then(|at| reader.boolean(&at));
    let ca = fields.get("ca").and_then(|at| ca(reader, &at));
    let transition = fields
        .get("transition")
        .and_then(|at| transition(reader, &at));
    Some(Mtls {
        enabled: enabled.unwrap_or_default(),
        ca: ca.unwrap_or_default(),
        transition,
    })
}

fn ca(reader: &mut Reader, at: &At<'_, '_>) -> Option<CaSpec> {
    let (builtin, provided) = if at.is_null() {
        (None, None)
    } else {
        let fields = reader.map(at, &["builtin", "provided"])?;
        let set = |name| fields.get(name).filter(|at| !at.is_null());
        (set("builtin"), set("provided"))
    };
    let builtin_spec = builtin.as_ref().map(|at| {
        let fields = reader.map(at, &["ordinal"]);
        let ordinal = fields
            .and_then(|fields| fields.get("ordinal"))
            .and_then(|at| ordinal(reader, &at));
        CaSpec::Builtin { ordinal }
    });
    let provided_spec = provided.as_ref().map(|at| {
        let fields = reader.map(at, &["name"]);
        let name = fields
            .and_then(|fields| fields.get("name"))
            .and_then(|at| reader.name(&at));
        CaSpec::Provided { name }
    });
    match (builtin_spec, provided_spec) {
        (Some(spec), None) | (None, Some(spec)) => Some(spec),
        (both, _) => {
            let message = "exactly one of \"builtin\" and \"provided\" must be set";
            let hint = if both.is_some() {
                "remove one of them"
            } else {
                "write `builtin: {}` or `provided: {}`"
            };
            reader.violation_at(codes::CA_KIND, at, message).hint = Some(hint.to_owned());
            None
        }
    }
}

/// More roots than a mesh ever has.
const MOST_ORDINALS: u32 = 65_535;

fn ordinal(reader: &mut Reader, at: &At<'_, '_>) -> Option<u32> {
    let number = reader.integer(at)?;
    let allowed = 1..=MOST_ORDINALS;
    let ordinal = u32::try_from(number).ok().filter(|it| allowed.contains(it));
    if ordinal.is_none() {
        let message = format!("must be in range of [1, {MOST_ORDINALS}]");
        reader.violation_at(codes::INVALID_VALUE, at, message).hint =
            Some("count the roots that Windlass makes for the mesh from 1".to_owned());
    }
    ordinal
}

/// Reads a `transition` block.
pub(super) fn transition(reader: &mut Reader, at: &At<'_, '_>) -> Option<TransitionSettings> {
    const STRATEGIES: [(&str, Strategy); 3] = [
        ("rolling", Strategy::Rolling),
        ("disableFirst", Strategy::DisableFirst),
        ("forbid", Strategy::Forbid),
    ];
    const OFFLINE: [(&str, Offline); 2] = [("block", Offline::Block), ("ignore", Offline::Ignore)];
    let fields = reader.map(at, &["strategy", "ackTimeout", "offline", "hold"])?;
    let strategy = fields
        .get("strategy")
        .and_then(|at| reader.word(&at, &STRATEGIES));
    let ack_timeout = fields
        .get("ackTimeout")
        .and_then(|at| duration(reader, &at));
    let offline = fields
        .get("offline")
        .and_then(|at| reader.word(&at, &OFFLINE));
    let phases = Phase::ALL.map(|phase| (phase.name(), phase));
    let hold = fields.get("hold").and_then(|at| reader.word(&at, &phases));
    Some(TransitionSettings {
        strategy,
        ack_timeout,
        offline,
        hold,
    })
}

fn duration(reader: &mut Reader, at: &At<'_, '_>) -> Option<HumanDuration> {
    let problem = match reader.text(at)?.parse::<HumanDuration>() {
        Ok(HumanDuration(Duration::ZERO)) => "must be longer than 0s".to_owned(),
        Ok(duration) => return Some(duration),
        Err(error) => error.to_string(),
    };
    reader.violation_at(codes::INVALID_VALUE, at, problem);
    None
}
