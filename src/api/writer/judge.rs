//! What would be said to a call, which is not made.

use std::sync::Arc;

use super::{NotWritten, Writer};
use crate::api::Cause;
use crate::model::{Current, Diagnostic, MeshState};
use crate::plan::{Call, CallRefused};

/// What would be said to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It could be carried out.
    Fine,
    /// It breaks rules, each with its field.
    Invalid(Vec<Cause>),
    /// It may not be made, whatever it holds.
    Refused(String),
    /// It may not be made before what is written around it has arrived.
    NotYet(String),
}

impl Writer {
    /// Judges a call on what the store holds, and changes nothing.
    #[must_use]
    pub fn judge(&self, current: &Current, call: &Call) -> Judgement {
        let mesh = current.meshes.get(&call.resource.mesh).map(Arc::clone);
        let absent = || Arc::new(MeshState::absent(call.resource.mesh.clone()));
        let mesh = mesh.unwrap_or_else(absent);
        let desired = call.desired(&mesh, &(self.parts.evidence)());
        let planned = desired
            .map_err(NotWritten::from)
            .and_then(|desired| self.plan(&mesh, call, &desired));
        match planned {
            Ok(_) => Judgement::Fine,
            Err(problem) => judgement(problem),
        }
    }
}

fn judgement(problem: NotWritten) -> Judgement {
    let details = problem.to_string();
    let on = |field| Judgement::Invalid(vec![Cause::new(field, details.clone())]);
    match problem {
        NotWritten::Invalid(found) => {
            let found = found.into_iter().filter(Diagnostic::is_error);
            Judgement::Invalid(found.map(Cause::from).collect())
        }
        NotWritten::Refused(CallRefused::NotFound { .. }) => Judgement::Fine,
        NotWritten::Refused(CallRefused::CaChangeForbidden | CallRefused::NoCa) => on("mtls.ca"),
        NotWritten::Refused(CallRefused::NoMesh { .. } | CallRefused::Dependents { .. }) => {
            Judgement::NotYet(details)
        }
        _ => Judgement::Refused(details),
    }
}
