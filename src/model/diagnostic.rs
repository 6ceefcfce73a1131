//! Diagnostics: what is wrong with a revision, where, and how to mend it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{MeshName, ResourceKey};

/// A place in a file of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The file, relative to the source's path, with `/` between folders.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The mesh (or the whole commit) is not applied.
    Error,
    /// It is applied all the same.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong. Its serde form is the one of the plan's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// A stable code, `WL` and four digits; `docs/diagnostics.md` explains each.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// The field, such as `sources[0].match["service"]`, from the root of the
    /// resource's spec; `.` for the resource as a whole.
    pub field: String,
    /// The file; empty where the diagnostic is about no file.
    pub file: Arc<str>,
    /// The line, from 1; 0 where it is about no file, or a folder.
    pub line: u32,
    /// The column in characters, from 1; 0 where there is no line.
    pub column: u32,
    /// How to mend it, where there is a way to say.
    pub hint: Option<String>,
    /// The mesh that is held back; `None` holds back the whole commit.
    #[serde(skip)]
    pub mesh: Option<MeshName>,
    /// The resource, where it is known.
    #[serde(skip)]
    pub resource: Option<ResourceKey>,
}

impl Diagnostic {
    /// An error about the commit as a whole, at no place yet.
    #[must_use]
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            message: message.into(),
            field: ".".to_owned(),
            file: Arc::from(""),
            line: 0,
            column: 0,
            hint: None,
            mesh: None,
            resource: None,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The same about `field`.
    #[must_use]
    pub fn on_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// The same about `resource`, which holds back its mesh only.
    #[must_use]
    pub fn on_resource(mut self, resource: &ResourceKey) -> Self {
        self.mesh = Some(resource.mesh.clone());
        self.resource = Some(resource.clone());
        self
    }

    /// The same, holding back `mesh` only.
    #[must_use]
    pub fn on_mesh(mut self, mesh: &MeshName) -> Self {
        self.mesh = Some(mesh.clone());
        self
    }

    /// The same at `location`.
    #[must_use]
    pub fn at(mut self, location: &Location) -> Self {
        self.file = location.file.clone();
        self.line = location.line;
        self.column = location.column;
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether this keeps something from being applied.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `file:line:column`, as far as it is known; empty where it is about no file.
    #[must_use]
    pub fn place(&self) -> String {
        if self.line == 0 {
            self.file.to_string()
        } else {
            format!("{}:{}:{}", self.file, self.line, self.column)
        }
    }

    /// The order of a report: by file, line and column, then by code and field.
    #[must_use]
    pub fn order(&self) -> impl Ord + '_ {
        (
            &*self.file,
            self.line,
            self.column,
            &*self.code,
            &*self.field,
            &*self.message,
        )
    }
}
