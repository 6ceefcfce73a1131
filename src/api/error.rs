//! The one shape of every refusal.

use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::model::Diagnostic;

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What could not be done.
    pub title: String,
    /// Why.
    pub details: String,
    /// Every single violation.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The field, `.` for the request as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A refusal with its status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, title: &str, details: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                title: title.to_owned(),
                details: details.into(),
                causes: Vec::new(),
            },
        }
    }

    pub(super) fn not_found(title: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, "Not found")
    }

    /// A request that breaks rules, with each of them.
    pub(super) fn invalid(title: &str, causes: Vec<Cause>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, "Resource is not valid").because(causes)
    }

    /// The same with every single violation.
    pub(super) fn because(mut self, causes: Vec<Cause>) -> Self {
        self.body.causes = causes;
        self
    }
}

impl From<Diagnostic> for Cause {
    fn from(found: Diagnostic) -> Self {
        Self {
            field: found.field,
            message: found.message,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl Cause {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Answers where no route is.
pub(super) async fn unknown_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "Could not find the path",
        format!("There is nothing at {path}"),
    )
}

/// Answers where a route is, but not for the method.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Could not process the request",
        "The method is not allowed here; the Allow header names those that are",
    )
}
