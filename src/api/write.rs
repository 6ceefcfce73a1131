//! Single resources created, changed and deleted by a call.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};
use tracing::error;

use super::ApiContext;
use super::error::{ApiError, Cause};
use super::form;
use super::guard::Local;
use super::resources::kind_of;
use super::writer::{Done, NotWritten};
use crate::manifest;
use crate::model::{Diagnostic, InvalidName, MeshName, Resource, ResourceKey};
use crate::plan::{Call, CallRefused};
use crate::telemetry;

/// The largest resource, in bytes.
const MAX_RESOURCE: usize = 256 * 1024;
const WRITE: &str = "Could not write the resource";
const DELETE: &str = "Could not delete the resource";

type Body = Result<Bytes, BytesRejection>;
type Written = Result<(StatusCode, Json<Resource>), ApiError>;

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/meshes/{mesh}", put(put_mesh).delete(delete_mesh))
        .route(
            "/meshes/{mesh}/{collection}/{name}",
            put(put_one).delete(delete_one),
        )
        .layer(DefaultBodyLimit::max(MAX_RESOURCE))
}

// `Local` comes first: nobody else's body is read.

async fn put_mesh(
    _: Local,
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
    body: Body,
) -> Written {
    write(&ctx, mesh_key(WRITE, &mesh)?, body).await
}

async fn put_one(
    _: Local,
    State(ctx): State<ApiContext>,
    Path((mesh, collection, name)): Path<(String, String, String)>,
    body: Body,
) -> Written {
    write(&ctx, key(WRITE, &mesh, &collection, &name)?, body).await
}

async fn delete_mesh(
    _: Local,
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
) -> Result<StatusCode, ApiError> {
    delete(&ctx, mesh_key(DELETE, &mesh)?).await
}

async fn delete_one(
    _: Local,
    State(ctx): State<ApiContext>,
    Path((mesh, collection, name)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    delete(&ctx, key(DELETE, &mesh, &collection, &name)?).await
}

async fn write(ctx: &ApiContext, resource: ResourceKey, body: Body) -> Written {
    let body = form::body(WRITE, body)?;
    let after =
        manifest::parse_resource(&body, &resource).map_err(|found| invalid(WRITE, found))?;
    let call = Call {
        resource,
        after: Some(Arc::clone(&after)),
    };
    let done = ctx.writer.write(call).await;
    let status = match done.map_err(|problem| refusal(WRITE, problem))? {
        Done::Created => StatusCode::CREATED,
        Done::Changed | Done::Unchanged => StatusCode::OK,
    };
    Ok((status, Json(after.resource.clone())))
}

async fn delete(ctx: &ApiContext, resource: ResourceKey) -> Result<StatusCode, ApiError> {
    let call = Call {
        resource,
        after: None,
    };
    let done = ctx.writer.write(call).await;
    done.map_err(|problem| refusal(DELETE, problem))?;
    Ok(StatusCode::OK)
}

fn mesh_key(title: &str, mesh: &str) -> Result<ResourceKey, ApiError> {
    let mesh: MeshName = mesh
        .parse()
        .map_err(|problem| ApiError::invalid(title, vec![bad_name("name", &problem)]))?;
    Ok(ResourceKey::mesh(&mesh))
}

fn key(title: &str, mesh: &str, collection: &str, name: &str) -> Result<ResourceKey, ApiError> {
    let kind = kind_of(collection)?;
    match (mesh.parse(), name.parse()) {
        (Ok(mesh), Ok(name)) => Ok(ResourceKey { mesh, kind, name }),
        (mesh, name) => {
            let mesh = mesh.err().map(|problem| bad_name("mesh", &problem));
            let name = name.err().map(|problem| bad_name("name", &problem));
            let causes = mesh.into_iter().chain(name).collect();
            Err(ApiError::invalid(title, causes))
        }
    }
}

fn bad_name(field: &str, problem: &InvalidName) -> Cause {
    Cause::new(field, problem.problem())
}

fn invalid(title: &str, found: Vec<Diagnostic>) -> ApiError {
    ApiError::invalid(title, found.into_iter().map(Cause::from).collect())
}

/// Why a call was not carried out, with the status that says whose turn it is.
pub(super) fn refusal(title: &str, problem: NotWritten) -> ApiError {
    let details = problem.to_string();
    let conflict = || ApiError::new(StatusCode::CONFLICT, title, details.clone());
    let on = |field| ApiError::invalid(title, vec![Cause::new(field, details.clone())]);
    match problem {
        NotWritten::Refused(refused) => match refused {
            CallRefused::NotFound { .. } => ApiError::not_found(title),
            CallRefused::NoMesh { .. } => on("mesh"),
            CallRefused::CaChangeForbidden
            | CallRefused::NoCa
            | CallRefused::SigningCertificate => on("mtls.ca"),
            _ => conflict(),
        },
        NotWritten::Invalid(found) => invalid(title, found),
        NotWritten::NotAdmitted(_) | NotWritten::Contended => conflict(),
        NotWritten::Store(_) => unwell(title, &problem, StatusCode::SERVICE_UNAVAILABLE),
        NotWritten::Apply(_) | NotWritten::Interrupted => {
            unwell(title, &problem, StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The control plane's own trouble is for its log.
fn unwell(title: &str, problem: &NotWritten, status: StatusCode) -> ApiError {
    error!(error = %telemetry::chain(problem), "a call of the API failed");
    ApiError::new(status, title, "The log of the control plane says why")
}
