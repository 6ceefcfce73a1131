//! Bodies that are read field by field, so that all of what is wrong is said at once.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ApiError, Cause};
use crate::model::InvalidName;

/// The whole body, or why it could not be read.
pub(super) fn body(title: &str, body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| ApiError::new(rejection.status(), title, rejection.body_text()))
}

/// The fields of a JSON object.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Vec<Cause>> {
    let refuse = |problem: String| vec![Cause::new(".", format!("not a valid request: {problem}"))];
    // Serde would take a list for the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refuse("must be a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))
}

/// A text that is not empty.
pub(super) fn text<'v>(value: &'v Value, field: &str, causes: &mut Vec<Cause>) -> Option<&'v str> {
    let problem = match value {
        Value::Null => "cannot be empty",
        Value::String(text) if text.is_empty() => "cannot be empty",
        Value::String(text) => return Some(text),
        _ => "must be a string",
    };
    causes.push(Cause::new(field, problem));
    None
}

/// A name of any kind.
pub(super) fn name<T: FromStr<Err = InvalidName>>(
    value: &Value,
    field: &str,
    causes: &mut Vec<Cause>,
) -> Option<T> {
    match text(value, field, causes)?.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            causes.push(Cause::new(field, error.problem()));
            None
        }
    }
}
