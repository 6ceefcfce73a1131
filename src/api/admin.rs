//! The admin server: it issues dataplane tokens to whoever is on this machine.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::Value;
use tracing::{error, info};

use super::ApiContext;
use super::error::{ApiError, Cause};
use super::form;
use crate::clock;
use crate::model::{DataplaneId, HumanDuration};
use crate::telemetry;
use crate::token::{DEFAULT_VALIDITY, MAX_VALIDITY};

const TITLE: &str = "Could not issue a token";

/// The request as it is written; the fields are looked at one by one so that
/// all of what is wrong is said at once.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenForm {
    #[serde(default)]
    name: Value,
    #[serde(default)]
    mesh: Value,
    #[serde(default)]
    valid_for: Value,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/tokens", post(issue))
}

async fn issue(
    State(ctx): State<ApiContext>,
    body: Result<Bytes, BytesRejection>,
) -> Result<String, ApiError> {
    let body = form::body(TITLE, body)?;
    let (dataplane, valid_for) = parse(&body).map_err(|causes| ApiError::invalid(TITLE, causes))?;
    let token = ctx
        .tokens
        .issue(&dataplane, valid_for, clock::now())
        .map_err(|error| {
            error!(
                error = %telemetry::chain(&error),
                "failed to issue a token"
            );
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                TITLE,
                "The log of the control plane says why",
            )
        })?;
    info!(%dataplane, valid_for = %HumanDuration(valid_for), "issued a dataplane token");
    Ok(token)
}

fn parse(body: &[u8]) -> Result<(DataplaneId, Duration), Vec<Cause>> {
    let form: TokenForm = form::read(body)?;
    let mut causes = Vec::new();
    let name = form::name(&form.name, "name", &mut causes);
    let mesh = form::name(&form.mesh, "mesh", &mut causes);
    let valid_for = lifetime(&form.valid_for, &mut causes);
    match (name, mesh) {
        (Some(name), Some(mesh)) if causes.is_empty() => {
            Ok((DataplaneId { mesh, name }, valid_for))
        }
        _ => Err(causes),
    }
}

fn lifetime(value: &Value, causes: &mut Vec<Cause>) -> Duration {
    let problem = match value {
        Value::Null => return DEFAULT_VALIDITY,
        Value::String(text) => match text.parse() {
            Ok(HumanDuration(duration))
                if (Duration::from_secs(1)..=MAX_VALIDITY).contains(&duration) =>
            {
                return duration;
            }
            Ok(_) => format!("must be from 1s to {}", HumanDuration(MAX_VALIDITY)),
            Err(error) => error.to_string(),
        },
        _ => "must be a string".to_owned(),
    };
    causes.push(Cause::new("validFor", problem));
    DEFAULT_VALIDITY
}
