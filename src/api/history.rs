//! What was done to the meshes.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tracing::error;

use super::error::{ApiError, Cause};
use super::{ApiContext, Items};
use crate::model::HistoryEntry;
use crate::telemetry;

/// How many entries are answered where nobody says.
const DEFAULT_LIMIT: usize = 100;
/// How many entries are answered at most.
const MAX_LIMIT: usize = 1000;
const TITLE: &str = "Could not retrieve the history";

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/history", get(history))
}

async fn history(
    State(ctx): State<ApiContext>,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<HistoryEntry>>, ApiError> {
    let limit = parse_limit(query.as_deref().unwrap_or_default())
        .map_err(|cause| ApiError::invalid(TITLE, vec![cause]))?;
    match ctx.store.history(limit).await {
        Ok(items) => Ok(Json(Items { items })),
        Err(error) => {
            error!(
                error = %telemetry::chain(&error),
                "failed to read the history"
            );
            Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                TITLE,
                "The store does not answer; the log of the control plane says why",
            ))
        }
    }
}

fn parse_limit(query: &str) -> Result<usize, Cause> {
    let mut limit = DEFAULT_LIMIT;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "limit" {
            return Err(Cause::new(".", "the only parameter is `limit`"));
        }
        limit = value
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| Cause::new("limit", format!("must be from 1 to {MAX_LIMIT}")))?;
    }
    Ok(limit)
}
