//! The certificates of provided CAs on the admin server: added with their keys,
//! listed without, deleted.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tracing::info;
use zeroize::{Zeroize as _, Zeroizing};

use super::error::{ApiError, Cause};
use super::resources::{Items, find_mesh, mesh_not_found};
use super::write::refusal;
use super::writer::NotWritten;
use super::{ApiContext, form};
use crate::apply::OpenedKeys;
use crate::ca::CertificateInfo;
use crate::check;
use crate::model::{
    AuthorityId, DesiredResource, Location, MeshName, MeshState, PrivateKey, ProvidedCa, Resource,
    ResourceKey, ResourceName,
};
use crate::plan::{Call, CallRefused};
use crate::source::decryption::MAX_KEY;

/// The largest request, in bytes: both texts with the escapes of JSON.
const MAX_BODY: usize = 256 * 1024;
/// The largest certificate, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;
const ADD: &str = "Could not add signing cert";
const DELETE: &str = "Could not delete signing cert";

/// A certificate of a provided CA. Its key is never answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningCertificate {
    /// The SHA-256 of the certificate.
    pub id: AuthorityId,
    /// The certificate as PEM.
    pub cert: String,
}

/// A request to add one. The key is wiped with it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    cert: Value,
    #[serde(default, deserialize_with = "secret")]
    key: Option<Zeroizing<String>>,
}

pub(super) fn routes() -> Router<ApiContext> {
    let all = "/meshes/{mesh}/ca/provided/certificates";
    let one = "/meshes/{mesh}/ca/provided/certificates/{id}";
    Router::new()
        .route(all, get(list).post(add))
        .route(one, delete(remove))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn list(
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
) -> Result<Json<Items<SigningCertificate>>, ApiError> {
    let state = find_mesh(&ctx, &mesh).ok_or_else(mesh_not_found)?;
    let items = certificates(&state).map(|(_, certificate)| certificate);
    Ok(Json(Items {
        items: items.collect(),
    }))
}

async fn add(
    State(ctx): State<ApiContext>,
    Path(mesh): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<SigningCertificate>, ApiError> {
    let form = read(form::body(ADD, body)?);
    let state = stored(&ctx, &mesh, ADD).await?;
    let (cert, key) = form
        .and_then(|form| pair(form, &ctx))
        .map_err(|causes| ApiError::invalid(ADD, causes))?;
    let id = CertificateInfo::from_pem(&cert)
        .map_err(|problem| ApiError::invalid(ADD, vec![not_a_pair(&problem.to_string())]))?
        .id;
    // Under whatever name it is there: once is enough.
    if let Some((_, known)) = certificates(&state).find(|(_, known)| known.id == id) {
        return Ok(Json(known));
    }
    let after = desired(&state.name, name(id)?, cert.clone());
    let call = Call {
        resource: after.resource.key(),
        after: Some(Arc::new(after)),
    };
    let written = ctx.writer.write_with(call, OpenedKeys::from([(id, key)]));
    written.await.map_err(|problem| refused(ADD, problem))?;
    info!(mesh = %state.name, %id, "a certificate of a provided CA was added");
    Ok(Json(SigningCertificate { id, cert }))
}

async fn remove(
    State(ctx): State<ApiContext>,
    Path((mesh, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let state = stored(&ctx, &mesh, DELETE).await?;
    // What is no id is one that no certificate has.
    let id: Option<AuthorityId> = id.parse().ok();
    let (resource, _) = certificates(&state)
        .find(|(_, known)| Some(known.id) == id)
        .ok_or_else(|| ApiError::not_found(DELETE))?;
    let call = Call {
        resource,
        after: None,
    };
    let written = ctx.writer.write(call).await;
    written.map_err(|problem| refused(DELETE, problem))?;
    Ok(StatusCode::OK)
}

/// The mesh as the store has it, where there is a Mesh.
async fn stored(ctx: &ApiContext, mesh: &str, title: &str) -> Result<Arc<MeshState>, ApiError> {
    let current = ctx.writer.current().await;
    let current = current.map_err(|problem| refused(title, NotWritten::Store(problem)))?;
    let state = current.meshes.get(mesh).cloned();
    state
        .filter(|state| state.mesh().is_some())
        .ok_or_else(mesh_not_found)
}

fn refused(title: &str, problem: NotWritten) -> ApiError {
    match problem {
        NotWritten::Refused(CallRefused::NoMesh { .. }) => mesh_not_found(),
        other => refusal(title, other),
    }
}

/// The certificates of all provided CAs of the mesh, with the resources that hold them.
fn certificates(state: &MeshState) -> impl Iterator<Item = (ResourceKey, SigningCertificate)> {
    let resources = state.resources.iter();
    resources.filter_map(|(key, stored)| {
        let Resource::ProvidedCa(ca) = &stored.resource else {
            return None;
        };
        let id = CertificateInfo::from_pem(&ca.cert).ok()?.id;
        let cert = ca.cert.clone();
        Some((key.clone(), SigningCertificate { id, cert }))
    })
}

/// The fields of the request. Nothing of it is left in memory but the form, and
/// what is wrong with it is said without its words.
fn read(body: Bytes) -> Result<Form, Vec<Cause>> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let form = serde_json::from_slice(&body).ok().filter(|_| is_object);
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    form.ok_or_else(|| {
        let problem = "not a valid request: must be a JSON object of the texts `cert` and `key`";
        vec![Cause::new(".", problem)]
    })
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Zeroizing::new))
}

/// The certificate and its key, or all that keeps them from being an authority.
fn pair(form: Form, ctx: &ApiContext) -> Result<(String, PrivateKey), Vec<Cause>> {
    let mut causes = Vec::new();
    let cert = form::text(&form.cert, "cert", &mut causes).unwrap_or_default();
    let key = form.key.unwrap_or_default();
    if key.is_empty() {
        causes.push(Cause::new("key", "cannot be empty"));
    }
    if cert.len() > MAX_CERTIFICATE {
        causes.push(too_large("cert", MAX_CERTIFICATE));
    }
    if key.len() > MAX_KEY {
        causes.push(too_large("key", MAX_KEY));
    }
    // What is in the certificate is stored and listed as it is.
    if cert.contains("PRIVATE KEY") || cert.contains("AGE-SECRET-KEY-") {
        causes.push(Cause::new("cert", "the certificate holds a private key"));
    }
    if !causes.is_empty() {
        return Err(causes);
    }
    let key = PrivateKey::new(key);
    let mut violations = check::certificate(cert, &ctx.writer.rules());
    if let Some(violation) = check::key_pair(cert, &key)
        && !violations.contains(&violation)
    {
        violations.push(violation);
    }
    if violations.is_empty() {
        return Ok((cert.to_owned(), key));
    }
    let violations = violations.into_iter();
    Err(violations
        .map(|it| Cause::new(it.field, it.message))
        .collect())
}

fn too_large(field: &str, limit: usize) -> Cause {
    Cause::new(field, format!("must not be larger than {limit} bytes"))
}

fn not_a_pair(problem: &str) -> Cause {
    Cause::new(".", format!("not a valid TLS key pair: {problem}"))
}

/// The name of a ProvidedCa that nobody named.
fn name(id: AuthorityId) -> Result<ResourceName, ApiError> {
    let name = format!("cert-{}", &id.0.to_hex()[..16]);
    name.parse().map_err(|_| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ADD,
            "there is no name for it",
        )
    })
}

fn desired(mesh: &MeshName, name: ResourceName, cert: String) -> DesiredResource {
    let resource = Resource::ProvidedCa(ProvidedCa {
        mesh: mesh.clone(),
        name,
        cert,
        // It goes to the store sealed, with the authority.
        key: String::new(),
    });
    DesiredResource {
        digest: resource.digest(),
        resource,
        location: Location {
            file: Arc::from(""),
            line: 0,
            column: 0,
        },
    }
}
