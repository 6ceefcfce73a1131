//! A transition in words.

use std::fmt::{self, Write as _};

use super::state;
use crate::api::{AwaitedStatus, GateStatus, RemainingStep, TransitionStatus};
use crate::cli::output::{printable, proxies, span};
use crate::model::{MeshName, Timestamp, way};
use crate::plan::Risk;

/// The most proxies that are listed.
const MAX_AWAITED: usize = 20;

/// What is to be known of the transition of a mesh.
pub(super) fn text(
    mesh: &MeshName,
    transition: Option<&TransitionStatus>,
    now: Timestamp,
) -> Result<String, fmt::Error> {
    let Some(transition) = transition else {
        return Ok(format!("mesh {mesh}: no transition runs\n"));
    };
    let mut out = String::new();
    let way = way(&transition.from, &transition.to);
    writeln!(out, "mesh {mesh}: {}", printable(&way))?;
    let mut line = |name: &str, text: &str| writeln!(out, "  {name:<12}{text}");
    line("state", state(transition))?;
    let phase = transition.phase;
    line(
        "phase",
        &format!("{phase}, for {}", span(transition.since, now)),
    )?;
    line("strategy", strategy(transition))?;
    line(
        "began",
        &format!(
            "{}, {} ago",
            transition.started,
            span(transition.started, now)
        ),
    )?;
    if let Some(revision) = &transition.revision {
        line("asked by", &printable(&revision.to_string()))?;
    }
    if let Some(gate) = &transition.gate {
        let words = format!("{}, before {}", printable(&gate.waits_for), gate.before);
        line("waits for", &words)?;
        write_gate(&mut line, gate, now)?;
    }
    if let Some(window) = transition.plaintext {
        line("plaintext", &format!("accepted for {window}"))?;
    }
    if !transition.approved.is_empty() {
        line("without", &printable(&transition.approved.join(", ")))?;
    }
    if let Some(since) = transition.stalled_since {
        line(
            "stalled",
            &format!("since {since}, for {}", span(since, now)),
        )?;
    }
    if let Some(blocked) = &transition.blocked {
        line("blocked", &printable(&blocked.message))?;
        line("hint", &printable(&blocked.hint))?;
    }
    if transition.held {
        let hint = "remove `mtls.transition.hold` from the mesh, or from `windlass.yaml`, to go on";
        line("hint", hint)?;
    }
    write_awaited(&mut out, mesh, &transition.awaited, now)?;
    write_steps(&mut out, &transition.steps)?;
    Ok(out)
}

fn strategy(transition: &TransitionStatus) -> &'static str {
    match transition.strategy {
        crate::model::Strategy::Rolling => "rolling",
        crate::model::Strategy::DisableFirst => "disableFirst",
        crate::model::Strategy::Forbid => "forbid",
    }
}

fn write_gate(
    line: &mut impl FnMut(&str, &str) -> fmt::Result,
    gate: &GateStatus,
    now: Timestamp,
) -> fmt::Result {
    line(
        "done",
        &format!("{} of {}", gate.done, proxies(gate.proxies)),
    )?;
    if let Some(leaves) = &gate.leaves {
        line(
            "leaves",
            &format!("{} of {}", leaves.acknowledged, leaves.all),
        )?;
    }
    match gate.eta {
        Some(at) if at > now => line("goes on", &format!("by {at}, in {}", span(now, at))),
        Some(_) => line("goes on", "any moment"),
        None => Ok(()),
    }
}

fn write_awaited(
    out: &mut String,
    mesh: &MeshName,
    awaited: &[AwaitedStatus],
    now: Timestamp,
) -> fmt::Result {
    if awaited.is_empty() {
        return Ok(());
    }
    out.push_str("\nawaited\n");
    for it in awaited.iter().take(MAX_AWAITED) {
        write!(
            out,
            "  {mesh}/{}, for {}: {}",
            it.dataplane,
            span(it.since, now),
            printable(it.message.trim())
        )?;
        match it.until {
            Some(until) => writeln!(out, ", until {until}")?,
            None => out.push('\n'),
        }
        if let Some(hint) = &it.hint {
            writeln!(out, "    hint: {}", printable(hint))?;
        }
    }
    match awaited.len().checked_sub(MAX_AWAITED) {
        Some(more @ 1..) => writeln!(out, "  and {more} more; `-o json` names them all"),
        _ => Ok(()),
    }
}

fn write_steps(out: &mut String, steps: &[RemainingStep]) -> fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    out.push_str("\nto come\n");
    for (index, step) in steps.iter().enumerate() {
        write!(out, "  {}. {}", index + 1, printable(&step.summary))?;
        match step.risk {
            Risk::None => out.push('\n'),
            risk => writeln!(out, " [{risk}]")?,
        }
        if let Some(gate) = &step.waits_for {
            writeln!(out, "     waits for {}", printable(gate))?;
        }
    }
    Ok(())
}
