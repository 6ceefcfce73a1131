//! How the sources and the meshes stand, and the call that wakes the reconciler.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::ApiContext;
use super::error::ApiError;
use super::guard::Connection;
use super::insight::Insight;
use super::replicas::{ReplicaStatus, StoreStatus};
use super::transition::TransitionStatus;
use crate::clock;
use crate::model::{
    AuthorityId, AuthorityState, Diagnostic, Evidence, Generation, Mesh, MeshName, MeshState,
    Posture, Revision, SourceName, Timestamp,
};
use crate::plan::Circumstances;
use crate::reconcile::report::{Condition, SourceReport};
use crate::telemetry;

/// The answer of `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// The meshes, in the order of their names.
    pub meshes: Vec<MeshStatus>,
    /// The replicas of the control plane, in the order of their names.
    #[serde(default)]
    pub replicas: Vec<ReplicaStatus>,
    /// Whether the store answers the replica that says this.
    #[serde(default)]
    pub store: StoreStatus,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The source's name.
    pub name: SourceName,
    /// The repository, without credentials.
    pub repo: String,
    /// The branch.
    pub branch: String,
    /// The path inside the repository.
    pub path: String,
    /// The revision that was looked at last.
    pub attempted_revision: Option<Revision>,
    /// The last revision that was accepted and written.
    pub applied_revision: Option<Revision>,
    /// How it stands.
    pub conditions: Vec<Condition>,
    /// What is wrong with the attempted revision.
    pub diagnostics: Vec<Diagnostic>,
}

/// How a mesh stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// The mesh.
    pub name: MeshName,
    /// Its mTLS.
    pub mtls: MtlsStatus,
    /// How connections are secured now.
    pub posture: Posture,
    /// The store's generation when it was last written.
    pub generation: Generation,
    /// The authorities that are not revoked, in the order of their ids.
    pub authorities: Vec<AuthorityStatus>,
    /// The transition that runs.
    pub transition: Option<TransitionStatus>,
    /// How it stands, where it is not simply as the revision wants it.
    pub conditions: Vec<Condition>,
    /// Its dataplanes.
    pub dataplanes: DataplanesStatus,
}

/// The mTLS of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtlsStatus {
    /// Whether proxies are to use it.
    pub enabled: bool,
    /// `builtin` or `provided`.
    pub ca: String,
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityStatus {
    /// The SHA-256 of its certificate.
    pub id: AuthorityId,
    /// What it is, in words: `builtin authority 1`, `provided authority root-2026`.
    #[serde(default)]
    pub name: String,
    /// `staged`, `prepared`, `active` or `retiring`.
    pub state: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// The dataplanes of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataplanesStatus {
    /// How many the store holds.
    pub known: usize,
    /// How many of them are connected.
    pub online: usize,
    /// What is known of each, in the order of their names.
    #[serde(default)]
    pub insights: Vec<Insight>,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/status", get(status))
        .route("/sync", post(sync))
}

async fn status(State(ctx): State<ApiContext>) -> Json<Status> {
    let current = ctx.serving.borrow().current.clone();
    let reports = ctx.reports.borrow().clone();
    let evidence = (ctx.evidence)();
    let given = Circumstances {
        evidence: &evidence,
        issuing: ctx.writer.issuing(),
        now: clock::now(),
    };
    Json(Status {
        sources: reports.iter().map(SourceStatus::of).collect(),
        meshes: current
            .meshes
            .values()
            .filter_map(|state| Some(MeshStatus::of(state, state.mesh()?, &reports, given)))
            .collect(),
        replicas: ReplicaStatus::all(&ctx),
        store: StoreStatus::of(&ctx),
    })
}

/// Reaches the replica that reconciles, wherever it is asked.
async fn sync(
    State(ctx): State<ApiContext>,
    Extension(connection): Extension<Connection>,
) -> Result<StatusCode, ApiError> {
    if !connection.is_from_loopback() {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "Could not start a reconcile",
            "From other machines the API is read-only",
        ));
    }
    ctx.store.ask_for_sync().await.map_err(|error| {
        let details = telemetry::chain(&error).to_string();
        let title = "Could not start a reconcile";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, title, &details)
    })?;
    Ok(StatusCode::ACCEPTED)
}

impl SourceStatus {
    fn of(report: &SourceReport) -> Self {
        Self {
            name: report.name.clone(),
            repo: report.repo.clone(),
            branch: report.branch.clone(),
            path: report.path.clone(),
            attempted_revision: report.attempted.clone(),
            applied_revision: report.applied.clone(),
            conditions: report.conditions.clone(),
            diagnostics: report.diagnostics.clone(),
        }
    }
}

impl MeshStatus {
    fn of(
        state: &MeshState,
        mesh: &Mesh,
        reports: &[SourceReport],
        given: Circumstances<'_>,
    ) -> Self {
        let authorities = state
            .authorities
            .values()
            .filter(|authority| !matches!(authority.state, AuthorityState::Revoked { .. }))
            .map(|authority| AuthorityStatus {
                id: authority.id,
                name: authority.origin.to_string(),
                state: authority.state.name().to_owned(),
                not_after: authority.not_after,
            })
            .collect();
        let conditions = reports
            .iter()
            .filter_map(|report| report.meshes.get(&state.name))
            .flatten()
            .cloned()
            .collect();
        Self {
            name: state.name.clone(),
            mtls: MtlsStatus {
                enabled: mesh.mtls.enabled,
                ca: mesh.mtls.ca.kind().to_owned(),
            },
            posture: state.progress.posture,
            generation: state.generation,
            authorities,
            transition: TransitionStatus::of(state, given),
            conditions,
            dataplanes: DataplanesStatus::of(state, given.evidence),
        }
    }
}

impl DataplanesStatus {
    fn of(state: &MeshState, evidence: &Evidence) -> Self {
        let insights = Insight::of_mesh(state, |dataplane| evidence.get(&dataplane.id()));
        let is_online = |insight: &&Insight| insight.connected_since.is_some();
        Self {
            known: insights.len(),
            online: insights.iter().filter(is_online).count(),
            insights,
        }
    }
}
