//! Where the other servers are, and the CA that the xDS server is known by.

use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::ApiContext;
use super::bootstrap::reachable;
use super::guard::RequestedHost;
use crate::config::Config;

/// The servers of a control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// By what they do.
    pub apis: CatalogApis,
}

/// The servers by what they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogApis {
    /// Where a dataplane gets its bootstrap.
    pub bootstrap: BootstrapApi,
    /// Where tokens are issued.
    pub dataplane_token: DataplaneTokenApi,
    /// Where secrets are administered.
    pub admin: AdminApi,
}

/// Where a dataplane gets its bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapApi {
    /// The base URL.
    pub url: String,
}

/// Where tokens are issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataplaneTokenApi {
    /// The base URL, for the control plane's own machine.
    pub local_url: String,
    /// The base URL for other machines, where that server is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
}

/// Where secrets are administered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminApi {
    /// The base URL, for the control plane's own machine.
    pub local_url: String,
    /// The base URL for other machines, where that server is on.
    pub public_url: Option<String>,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new()
        .route("/catalog", get(catalog))
        .route("/xds-ca.pem", get(xds_ca))
}

async fn catalog(
    State(ctx): State<ApiContext>,
    Extension(host): Extension<RequestedHost>,
) -> Json<Catalog> {
    Json(Catalog::of(&ctx.config, &host))
}

async fn xds_ca(State(ctx): State<ApiContext>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/x-pem-file")],
        ctx.xds_ca_pem.to_string(),
    )
}

impl Catalog {
    fn of(config: &Config, asked: &RequestedHost) -> Self {
        let admin = format!("http://{}", config.admin_local);
        let public = config.admin_public.as_ref();
        let public = public.map(|public| reachable(config, public.address, asked));
        let public = public.map(|authority| format!("https://{authority}"));
        Self {
            apis: CatalogApis {
                bootstrap: BootstrapApi {
                    url: format!("http://{}", reachable(config, config.api, asked)),
                },
                dataplane_token: DataplaneTokenApi {
                    local_url: admin.clone(),
                    public_url: public.clone(),
                },
                admin: AdminApi {
                    local_url: admin,
                    public_url: public,
                },
            },
        }
    }
}
