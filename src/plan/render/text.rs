//! The plan for people, with or without colour.

use std::fmt::{self, Write as _};

use super::{FieldChange, field_changes, new_gate, rule_changes, sentences, short, way};
use crate::model::{Location, count, printable};
use crate::plan::{Change, MeshPlan, Plan, Risk, Step, Verdict};

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const BOLD: &str = "\u{1b}[1m";

/// The plan as text. Diagnostics are not in it: they are printed beside it.
#[must_use]
pub fn text(plan: &Plan, color: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = Text { plan, color }.write(&mut out);
    out
}

struct Text<'a> {
    plan: &'a Plan,
    color: bool,
}

impl Text<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        let plan = self.plan;
        if let Some(head) = &plan.head {
            write!(out, "Plan for {}, compared with ", shown(head))?;
            match &plan.base {
                Some(base) => writeln!(out, "{}", shown(base))?,
                None => writeln!(out, "the store at generation {}", plan.generation)?,
            }
        }
        for mesh in &plan.meshes {
            self.mesh(out, mesh)?;
        }
        for blocked in &plan.blocked {
            writeln!(out, "\n{}: {blocked}", self.paint(RED, "Blocked"))?;
        }
        let summary = plan.summary();
        writeln!(out)?;
        let runs = plan.meshes.iter().any(|mesh| mesh.outlook.is_some());
        if !plan.has_changes() && runs {
            let steps = count(summary.steps, "step");
            writeln!(out, "No changes. A transition goes on: {steps} to its end.")
        } else if plan.has_changes() || summary.steps > 0 {
            writeln!(
                out,
                "Plan: {} to create, {} to update, {} to delete, in {}.",
                summary.create,
                summary.update,
                summary.delete,
                count(summary.steps, "step")
            )
        } else {
            writeln!(out, "No changes.")
        }
    }

    fn mesh(&self, out: &mut String, mesh: &MeshPlan) -> fmt::Result {
        writeln!(
            out,
            "\n{}",
            self.paint(BOLD, &format!("Mesh {}", mesh.mesh))
        )?;
        for change in &mesh.changes {
            self.change(out, change)?;
        }
        for change in rule_changes(mesh) {
            let FieldChange { field, .. } = &change;
            let (before, after) = (short(change.before.as_ref()), short(change.after.as_ref()));
            writeln!(
                out,
                "  {} {field}: {before} -> {after}",
                self.paint(YELLOW, "~")
            )?;
        }
        self.steps(out, mesh)?;
        if !mesh.authorization.is_empty() {
            writeln!(out, "  Authorization:")?;
        }
        for pair in &mesh.authorization {
            let color = if pair.after == Verdict::Allow {
                GREEN
            } else {
                RED
            };
            let (source, destination) = (&pair.source, &pair.destination);
            let after = self.paint(color, &pair.after.to_string());
            writeln!(
                out,
                "    {source} -> {destination}: {} -> {after}",
                pair.before
            )?;
        }
        for blocked in &mesh.blocked {
            writeln!(out, "  {}: {blocked}", self.paint(RED, "Blocked"))?;
        }
        Ok(())
    }

    fn steps(&self, out: &mut String, mesh: &MeshPlan) -> fmt::Result {
        if let Some(outlook) = &mesh.outlook {
            let strategy = outlook.strategy;
            writeln!(out, "  Transition, strategy {strategy}: {}", way(outlook))?;
        }
        for (subject, sentence) in sentences(mesh) {
            let color = if subject == "Plaintext" { RED } else { YELLOW };
            writeln!(out, "    {}: {sentence}", self.paint(color, subject))?;
        }
        let due = self.plan.due(mesh);
        for (index, step) in mesh.steps.iter().enumerate() {
            match index {
                0 if due == mesh.steps.len() => writeln!(out, "  Steps:")?,
                0 if due > 0 => writeln!(out, "  Steps at once:")?,
                _ => {}
            }
            if index == due {
                writeln!(
                    out,
                    "  Steps that follow, each when what it waits for has come:"
                )?;
            }
            self.step(out, mesh, index, step)?;
        }
        let Some(waiting) = mesh.waiting.as_ref().filter(|it| !it.awaited.is_empty()) else {
            return Ok(());
        };
        writeln!(out, "  Awaited before {}:", waiting.phase)?;
        for awaited in &waiting.awaited {
            writeln!(out, "    {} {}", awaited.dataplane, shown(&awaited.reason))?;
        }
        Ok(())
    }

    fn step(&self, out: &mut String, mesh: &MeshPlan, index: usize, step: &Step) -> fmt::Result {
        write!(out, "    {}. ", step.number)?;
        if let Some(phase) = step.phase {
            write!(out, "{phase}: ")?;
        }
        write!(out, "{}", shown(&step.action))?;
        if step.risk > Risk::None {
            let color = if step.risk == Risk::Disruptive {
                YELLOW
            } else {
                RED
            };
            write!(out, "  {}", self.paint(color, &format!("[{}]", step.risk)))?;
        }
        writeln!(out)?;
        match new_gate(mesh, index) {
            Some(gate) => writeln!(out, "         waits for {gate}"),
            None => Ok(()),
        }
    }

    fn change(&self, out: &mut String, change: &Change) -> fmt::Result {
        let sign = match (&change.before, &change.after) {
            (None, _) => self.paint(GREEN, "+"),
            (Some(_), Some(_)) => self.paint(YELLOW, "~"),
            (Some(_), None) => self.paint(RED, "-"),
        };
        write!(out, "  {sign} {}", change.resource)?;
        if let Some(after) = &change.after {
            let Location { file, line, .. } = &after.location;
            write!(out, "  ({}:{line})", printable(file))?;
        }
        writeln!(out)?;
        for field in field_changes(change) {
            let (before, after) = (short(field.before.as_ref()), short(field.after.as_ref()));
            let change = format!("{}: {before} -> {after}", field.field);
            writeln!(out, "      {}", printable(&change))?;
        }
        Ok(())
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color {
            format!("{color}{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Names of branches and subjects of certificates are the words of others.
fn shown(value: &impl fmt::Display) -> String {
    printable(&value.to_string()).into_owned()
}
