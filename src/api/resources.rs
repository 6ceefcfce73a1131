//! The resources in the Universal form.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::ApiContext;
use super::error::ApiError;
use crate::model::{Kind, MeshState, Resource, ResourceKey};

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items<T> {
    /// The items, in a stable order.
    pub items: Vec<T>,
}

type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/meshes", get(meshes))
        .route("/meshes/{mesh}", get(mesh))
        .route("/meshes/{mesh}/{collection}", get(of_mesh))
        .route("/meshes/{mesh}/{collection}/{name}", get(one))
        .route("/dataplanes", get(dataplanes))
        .route("/traffic-permissions", get(permissions))
}

async fn meshes(State(ctx): State<ApiContext>) -> Json<Items<Resource>> {
    list(&ctx, Kind::Mesh)
}

async fn dataplanes(State(ctx): State<ApiContext>) -> Json<Items<Resource>> {
    list(&ctx, Kind::Dataplane)
}

async fn permissions(State(ctx): State<ApiContext>) -> Json<Items<Resource>> {
    list(&ctx, Kind::TrafficPermission)
}

async fn mesh(State(ctx): State<ApiContext>, Path(mesh): Path<String>) -> Answer<Resource> {
    let state = find_mesh(&ctx, &mesh).ok_or_else(mesh_not_found)?;
    find(&state, Kind::Mesh, &mesh)
        .map(Json)
        .ok_or_else(mesh_not_found)
}

async fn of_mesh(
    State(ctx): State<ApiContext>,
    Path((mesh, collection)): Path<(String, String)>,
) -> Answer<Items<Resource>> {
    let kind = kind_of(&collection)?;
    let state = find_mesh(&ctx, &mesh).ok_or_else(mesh_not_found)?;
    Ok(Json(Items {
        items: of_kind(&state, kind).cloned().collect(),
    }))
}

async fn one(
    State(ctx): State<ApiContext>,
    Path((mesh, collection, name)): Path<(String, String, String)>,
) -> Answer<Resource> {
    let kind = kind_of(&collection)?;
    let state = find_mesh(&ctx, &mesh).ok_or_else(mesh_not_found)?;
    find(&state, kind, &name)
        .map(Json)
        .ok_or_else(|| ApiError::not_found("Could not retrieve the resource"))
}

pub(super) fn mesh_not_found() -> ApiError {
    ApiError::not_found("Could not retrieve the mesh")
}

pub(super) fn kind_of(collection: &str) -> Result<Kind, ApiError> {
    match collection {
        "traffic-permissions" => Ok(Kind::TrafficPermission),
        "dataplanes" => Ok(Kind::Dataplane),
        _ => Err(ApiError::not_found("Could not find the collection")),
    }
}

pub(super) fn find_mesh(ctx: &ApiContext, name: &str) -> Option<Arc<MeshState>> {
    // A name that is not valid is one that no mesh has.
    ctx.serving.borrow().current.meshes.get(name).cloned()
}

fn find(state: &MeshState, kind: Kind, name: &str) -> Option<Resource> {
    let key = ResourceKey {
        mesh: state.name.clone(),
        kind,
        name: name.parse().ok()?,
    };
    let stored = state.resources.get(&key)?;
    Some(stored.resource.clone())
}

/// Of all meshes, in the order of mesh and name.
fn list(ctx: &ApiContext, kind: Kind) -> Json<Items<Resource>> {
    let current = ctx.serving.borrow().current.clone();
    let items = current
        .meshes
        .values()
        .flat_map(|state| of_kind(state, kind))
        .cloned()
        .collect();
    Json(Items { items })
}

fn of_kind(state: &MeshState, kind: Kind) -> impl Iterator<Item = &Resource> {
    state
        .resources
        .values()
        .map(|stored| &stored.resource)
        .filter(move |resource| resource.kind() == kind)
}
