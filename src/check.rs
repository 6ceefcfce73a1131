//! Rules over all that a revision holds of a mesh, beyond the form of its files.

use std::time::Duration;

use crate::manifest::{Manifest, codes};
use crate::model::{DesiredMesh, Diagnostic, MeshName, ResourceKey, Timestamp};

pub use self::certificate::certificate;
pub use self::key_pair::key_pair;

mod certificate;
mod key_pair;
mod references;
mod signature;

#[cfg(test)]
mod tests;

/// What the rules depend on.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The present.
    pub now: Timestamp,
    /// How long leaves live.
    pub leaf_lifetime: Duration,
}

/// A rule that a resource breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field; `.` for the resource as a whole.
    pub field: &'static str,
    /// The code, one of [`codes`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Violation {
    fn new(code: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            code,
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The violation as an error of `resource`, at no place yet.
    #[must_use]
    pub fn on(self, resource: &ResourceKey) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.code, self.message)
            .on_field(self.field)
            .on_resource(resource);
        diagnostic.hint = self.hint;
        diagnostic
    }
}

/// Judges a mesh. The diagnostics name resource and field and have no place
/// yet, see [`Manifest::place`].
#[must_use]
pub fn mesh(mesh: &DesiredMesh, rules: &Rules) -> Vec<Diagnostic> {
    let mut diagnostics = references::check(mesh);
    for (ca, desired) in mesh.provided_cas() {
        let key = desired.resource.key();
        let violations = certificate(&ca.cert, rules);
        diagnostics.extend(violations.into_iter().map(|violation| violation.on(&key)));
        diagnostics.extend(
            certificate::ends_soon(&ca.cert, rules)
                .map(|violation| violation.on(&key).into_warning()),
        );
    }
    diagnostics
}

/// Judges a mesh of a manifest; the diagnostics have their places.
///
/// While some file cannot be read, what seems to be missing may be in it, so
/// nothing is said about that.
#[must_use]
pub fn placed(manifest: &Manifest, name: &MeshName, rules: &Rules) -> Vec<Diagnostic> {
    let Some(desired) = manifest.desired().meshes.get(name) else {
        return Vec::new();
    };
    let incomplete = manifest.holds_back_commit();
    let speculative = |diagnostic: &Diagnostic| {
        incomplete
            && [codes::UNKNOWN_MESH, codes::NO_SIGNING_CERTIFICATE].contains(&&*diagnostic.code)
    };
    let mut diagnostics: Vec<_> = mesh(desired, rules)
        .into_iter()
        .filter(|diagnostic| !speculative(diagnostic))
        .map(|diagnostic| manifest.place(diagnostic))
        .collect();
    diagnostics.sort_by(|a, b| a.order().cmp(&b.order()));
    diagnostics
}
