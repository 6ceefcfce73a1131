//! The plan as a pull-request comment.

use std::fmt::{self, Write as _};

use super::{field_changes, new_gate, rule_changes, sentences, short, way};
use crate::model::{count, printable};
use crate::plan::{MeshPlan, Plan, Risk};

/// Finds the comment again, so that it is updated instead of repeated.
const MARKER: &str = "<!-- windlass-plan -->";

/// The plan as GitHub-flavoured Markdown.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, plan);
    out
}

fn write(out: &mut String, plan: &Plan) -> fmt::Result {
    let summary = plan.summary();
    writeln!(out, "{MARKER}\n## Windlass plan\n")?;
    if plan.has_changes() {
        writeln!(
            out,
            "**{} to create, {} to update, {} to delete**, in {}.",
            summary.create,
            summary.update,
            summary.delete,
            count(summary.steps, "step")
        )?;
    } else {
        let runs = plan.meshes.iter().any(|mesh| mesh.outlook.is_some());
        let goes_on = if runs { " A transition goes on." } else { "" };
        writeln!(out, "No changes.{goes_on}")?;
    }
    if let Some(head) = &plan.head {
        write!(out, "\n{}", code(head))?;
        if let Some(base) = &plan.base {
            write!(out, " compared with {}", code(base))?;
        }
        writeln!(out)?;
    }
    for diagnostic in &plan.diagnostics {
        let place = if diagnostic.file.is_empty() {
            String::new()
        } else {
            format!(" {}", code(&diagnostic.place()))
        };
        let (severity, number) = (diagnostic.severity, &diagnostic.code);
        write!(
            out,
            "\n> **{severity}** {number}{place} {}: ",
            code(&diagnostic.field)
        )?;
        writeln!(out, "{}", escape(&diagnostic.message))?;
        if let Some(hint) = &diagnostic.hint {
            writeln!(out, "> hint: {}", escape(hint))?;
        }
    }
    for blocked in &plan.blocked {
        writeln!(out, "\n> **blocked** {}", escape(&blocked.to_string()))?;
    }
    plan.meshes
        .iter()
        .try_for_each(|mesh| write_mesh(out, plan, mesh))
}

fn write_mesh(out: &mut String, plan: &Plan, mesh: &MeshPlan) -> fmt::Result {
    writeln!(out, "\n### Mesh `{}`\n", mesh.mesh)?;
    for blocked in &mesh.blocked {
        writeln!(out, "> **blocked** {}\n", escape(&blocked.to_string()))?;
    }
    let rules = rule_changes(mesh);
    if !mesh.changes.is_empty() || !rules.is_empty() {
        writeln!(out, "```diff")?;
        for change in &mesh.changes {
            let sign = match (&change.before, &change.after) {
                (None, _) => "+",
                (Some(_), Some(_)) => "!",
                (Some(_), None) => "-",
            };
            writeln!(out, "{sign} {}", change.resource)?;
            for field in field_changes(change) {
                let (before, after) = (short(field.before.as_ref()), short(field.after.as_ref()));
                let change = format!("{}: {before} -> {after}", field.field);
                writeln!(out, "    {}", printable(&change))?;
            }
        }
        for rule in &rules {
            let (before, after) = (short(rule.before.as_ref()), short(rule.after.as_ref()));
            writeln!(out, "! {}: {before} -> {after}", rule.field)?;
        }
        writeln!(out, "```\n")?;
    }
    write_steps(out, plan, mesh)?;
    if !mesh.authorization.is_empty() {
        writeln!(
            out,
            "\n| source | destination | before | after |\n|---|---|---|---|"
        )?;
    }
    for pair in &mesh.authorization {
        let (source, destination) = (
            escape(&pair.source.to_string()),
            escape(&pair.destination.to_string()),
        );
        writeln!(
            out,
            "| {source} | {destination} | {} | **{}** |",
            pair.before, pair.after
        )?;
    }
    Ok(())
}

fn write_steps(out: &mut String, plan: &Plan, mesh: &MeshPlan) -> fmt::Result {
    if let Some(outlook) = &mesh.outlook {
        let (strategy, way) = (outlook.strategy, escape(&way(outlook)));
        writeln!(out, "Transition, strategy {strategy}: **{way}**.\n")?;
    }
    for (subject, sentence) in sentences(mesh) {
        writeln!(out, "> **{subject}:** {}\n", escape(&sentence))?;
    }
    let due = plan.due(mesh);
    for (index, step) in mesh.steps.iter().enumerate() {
        match index {
            _ if index == due => writeln!(
                out,
                "{}**Then, each when what it waits for has come:**\n\n\
                 | step | phase | what | waits for | risk |\n|---|---|---|---|---|",
                if index > 0 { "\n" } else { "" }
            )?,
            0 if due < mesh.steps.len() => writeln!(
                out,
                "**At once:**\n\n| step | phase | what | risk |\n|---|---|---|---|"
            )?,
            0 => writeln!(out, "| step | phase | what | risk |\n|---|---|---|---|")?,
            _ => {}
        }
        let phase = step.phase.map(|phase| phase.to_string());
        let gate = new_gate(mesh, index).unwrap_or_default();
        let gate = if index < due {
            String::new()
        } else {
            format!(" {} |", escape(&gate))
        };
        let risk = match step.risk {
            Risk::None => String::new(),
            risk => format!("**{risk}**"),
        };
        writeln!(
            out,
            "| {} | {} | {} |{gate} {risk} |",
            step.number,
            phase.unwrap_or_default(),
            escape(&step.action.to_string())
        )?;
    }
    let Some(waiting) = mesh.waiting.as_ref().filter(|it| !it.awaited.is_empty()) else {
        return Ok(());
    };
    writeln!(out, "\nAwaited before {}:\n", waiting.phase)?;
    for awaited in &waiting.awaited {
        let (dataplane, reason) = (code(&awaited.dataplane), awaited.reason.to_string());
        writeln!(out, "- {dataplane} {}", escape(&reason))?;
    }
    Ok(())
}

/// Keeps names and messages from being read as Markdown or HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in printable(&text.replace('\n', " ")).chars() {
        match character {
            '\\' | '|' | '*' | '_' | '[' | ']' | '<' | '>' | '#' => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out
}

/// A text that stays as it is written.
fn code(text: &impl fmt::Display) -> String {
    format!("`{}`", printable(&text.to_string()).replace('`', "'"))
}
