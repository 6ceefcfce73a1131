//! Health, readiness and metrics.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::ApiContext;
use crate::clock;
use crate::plan::Circumstances;
use crate::reconcile::report::{ConditionStatus, ConditionType};
use crate::store::Reach;

/// OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/healthy", get("OK\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(ctx): State<ApiContext>) -> (StatusCode, String) {
    if *ctx.ready.borrow() {
        (StatusCode::OK, format!("OK\n{}", degraded(&ctx)))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, waiting_for(&ctx))
    }
}

/// What is worse than it should be, while everything is served all the same: a
/// store that does not answer is no reason to send proxies elsewhere, where it
/// does not answer either.
fn degraded(ctx: &ApiContext) -> String {
    match &*ctx.store.reach().borrow() {
        Reach::Answers => String::new(),
        Reach::Lost { since, why } => format!(
            "degraded: the store does not answer since {since}: {why}; \
             what was known then is served\n"
        ),
    }
}

/// Why nothing is served yet, as far as the reconciler says.
fn waiting_for(ctx: &ApiContext) -> String {
    let reports = ctx.reports.borrow().clone();
    let reason = reports
        .iter()
        .flat_map(|report| &report.conditions)
        .find(|condition| {
            condition.r#type == ConditionType::Ready && condition.status == ConditionStatus::False
        })
        .map(|condition| format!(": {}: {}", condition.reason, condition.message));
    format!("nothing is reconciled yet{}\n", reason.unwrap_or_default())
}

async fn metrics(State(ctx): State<ApiContext>) -> impl IntoResponse {
    let current = ctx.serving.borrow().current.clone();
    let evidence = (ctx.evidence)();
    let given = Circumstances {
        evidence: &evidence,
        issuing: ctx.writer.issuing(),
        now: clock::now(),
    };
    let (living, leads) = {
        let roster = ctx.roster.borrow();
        let living = roster.iter().filter(|it| it.silent_since.is_none());
        let own = roster.iter().find(|it| it.name == ctx.replica);
        (living.count(), own.is_some_and(|it| it.leads))
    };
    ctx.metrics.replicas(living, leads);
    let lost_since = match &*ctx.store.reach().borrow() {
        Reach::Answers => None,
        Reach::Lost { since, .. } => Some(*since),
    };
    ctx.metrics.store_lost(lost_since, given.now);
    let text = ctx.metrics.encode(&current, given);
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}
