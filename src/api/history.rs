//! What was done to the meshes.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tracing::error;

use super::error::{ApiError, Cause};
use super::{ApiContext, Items};
use crate::model::{Generation, HistoryEntry};
use crate::telemetry;

/// How many entries are answered where nobody says.
const DEFAULT_LIMIT: usize = 100;
/// How many entries are answered at most.
const MAX_LIMIT: usize = 1000;
/// How many are where every proxy is named: one may have a megabyte.
const MAX_FULL: usize = 100;
const TITLE: &str = "Could not retrieve the history";

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/history", get(history))
}

async fn history(
    State(ctx): State<ApiContext>,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<HistoryEntry>>, ApiError> {
    let asked = Asked::parse(query.as_deref().unwrap_or_default())
        .map_err(|cause| ApiError::invalid(TITLE, vec![cause]))?;
    match ctx.store.history(asked.before, asked.limit).await {
        Ok(items) if asked.full => Ok(Json(Items { items })),
        Ok(items) => Ok(Json(Items {
            items: items.into_iter().map(HistoryEntry::shortened).collect(),
        })),
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

/// What is asked for.
struct Asked {
    /// Entries of this generation and later ones are left out.
    before: Option<Generation>,
    limit: usize,
    /// Whether every proxy of every gate is named.
    full: bool,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, Cause> {
        let (mut before, mut limit, mut full) = (None, None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                ("limit", _) => limit = Some(value),
                ("before", _) => {
                    let generation = value.parse().map(Generation);
                    let whole = |_| Cause::new("before", "must be a generation, a whole number");
                    before = Some(generation.map_err(whole)?);
                }
                ("full", "true") => full = true,
                ("full", "false") => full = false,
                ("full", _) => return Err(Cause::new("full", "must be true or false")),
                _ => {
                    let problem = "the only parameters are `before`, `limit` and `full`";
                    return Err(Cause::new(".", problem));
                }
            }
        }
        let most = if full { MAX_FULL } else { MAX_LIMIT };
        let number = |text: &str| text.parse().ok().filter(|it| (1..=most).contains(it));
        let limit = match limit {
            None => DEFAULT_LIMIT.min(most),
            Some(text) => number(text)
                .ok_or_else(|| Cause::new("limit", format!("must be from 1 to {most}")))?,
        };
        Ok(Self {
            before,
            limit,
            full,
        })
    }
}
