//! The whole current state as one document, which `windlass plan --address` reads.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::ApiContext;
use crate::model::{Current, Generation, MeshState, ProxyEvidence, Revision};

/// What the store holds. There is no key in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDocument {
    /// The store's generation.
    pub generation: Generation,
    /// The meshes, in the order of their names.
    pub meshes: Vec<Arc<MeshState>>,
    /// What proxies have acknowledged, in the order of their names.
    pub evidence: Vec<Arc<ProxyEvidence>>,
    /// The last revision of the source that was accepted and written.
    pub applied: Option<Revision>,
}

impl From<StateDocument> for Current {
    fn from(document: StateDocument) -> Self {
        Self {
            generation: document.generation,
            meshes: document
                .meshes
                .into_iter()
                .map(|mesh| (mesh.name.clone(), mesh))
                .collect(),
        }
    }
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/state", get(state))
}

async fn state(State(ctx): State<ApiContext>) -> Json<StateDocument> {
    let current = ctx.serving.borrow().current.clone();
    let applied = ctx
        .reports
        .borrow()
        .first()
        .and_then(|report| report.applied.clone());
    Json(StateDocument {
        generation: current.generation,
        meshes: current.meshes.values().cloned().collect(),
        evidence: (ctx.evidence)().into_values().collect(),
        applied,
    })
}
