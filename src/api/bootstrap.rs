//! What an Envoy is started with.

use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::ApiContext;
use super::error::{ApiError, Cause};
use super::form;
use super::guard::RequestedHost;
use crate::config::Config;
use crate::dataplane::bootstrap::{AdminAddress, BootstrapParams, bootstrap};
use crate::model::DataplaneId;

const TITLE: &str = "Could not make the bootstrap";
/// The longest path of a token, in bytes: Linux has no longer ones.
const MAX_PATH: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BootstrapForm {
    #[serde(default)]
    name: Value,
    #[serde(default)]
    mesh: Value,
    #[serde(default)]
    admin_port: Value,
    #[serde(default)]
    dataplane_token_path: Value,
}

/// What a bootstrap is asked for.
#[derive(Debug, PartialEq, Eq)]
struct BootstrapRequest {
    dataplane: DataplaneId,
    admin_port: Option<u16>,
    token_path: String,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/bootstrap", post(make))
}

async fn make(
    State(ctx): State<ApiContext>,
    Extension(host): Extension<RequestedHost>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let body = form::body(TITLE, body)?;
    let request = parse(&body).map_err(|causes| ApiError::invalid(TITLE, causes))?;
    let dataplane = &request.dataplane;
    let current = ctx.serving.borrow().current.clone();
    let mesh = current.meshes.get(&dataplane.mesh);
    if mesh
        .and_then(|mesh| mesh.dataplane(&dataplane.name))
        .is_none()
    {
        let (mesh, name) = (&dataplane.mesh, &dataplane.name);
        let details = format!(
            "There is no Dataplane {name} in mesh {mesh}; commit it to the Git repository, \
             or create it with PUT /meshes/{mesh}/dataplanes/{name}"
        );
        return Err(ApiError::new(StatusCode::NOT_FOUND, TITLE, details));
    }
    Ok(Json(bootstrap(&BootstrapParams {
        mesh: dataplane.mesh.as_str(),
        name: dataplane.name.as_str(),
        admin: request.admin_port.map(AdminAddress::Port),
        token_path: &request.token_path,
        xds: &reachable(&ctx.config, ctx.config.xds, &host),
        ca_pem: &ctx.xds_ca_pem,
        drain_seconds: None,
    })))
}

/// `server` as whoever asked can reach it: nobody can call 0.0.0.0.
pub(super) fn reachable(config: &Config, server: SocketAddr, asked: &RequestedHost) -> String {
    let port = server.port();
    match &config.advertised_hostname {
        Some(name) => match name.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{name}:{port}"),
        },
        None if server.ip().is_unspecified() => format!("{}:{port}", asked.as_str()),
        None => server.to_string(),
    }
}

fn parse(body: &[u8]) -> Result<BootstrapRequest, Vec<Cause>> {
    let form: BootstrapForm = form::read(body)?;
    let mut causes = Vec::new();
    let name = form::name(&form.name, "name", &mut causes);
    let mesh = form::name(&form.mesh, "mesh", &mut causes);
    let admin_port = admin_port(&form.admin_port, &mut causes);
    let token_path = token_path(&form.dataplane_token_path, &mut causes);
    match (name, mesh, token_path) {
        (Some(name), Some(mesh), Some(token_path)) if causes.is_empty() => Ok(BootstrapRequest {
            dataplane: DataplaneId { mesh, name },
            admin_port,
            token_path,
        }),
        _ => Err(causes),
    }
}

/// The port of Envoy's admin server; without one, or with 0, there is none.
fn admin_port(value: &Value, causes: &mut Vec<Cause>) -> Option<u16> {
    if value.is_null() {
        return None;
    }
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
    if port.is_none() {
        causes.push(Cause::new(
            "adminPort",
            "must be a number from 0 to 65535; 0 is no admin server",
        ));
    }
    port.filter(|port| *port > 0)
}

fn token_path(value: &Value, causes: &mut Vec<Cause>) -> Option<String> {
    const FIELD: &str = "dataplaneTokenPath";
    let path = form::text(value, FIELD, causes)?;
    let problem = if !path.starts_with('/') {
        "must be an absolute path"
    } else if path.len() > MAX_PATH {
        "must have at most 4096 bytes"
    } else if path.chars().any(char::is_control) {
        "must not hold control characters"
    } else {
        return Some(path.to_owned());
    };
    causes.push(Cause::new(FIELD, problem));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    #[test]
    fn a_server_is_named_as_whoever_asked_can_reach_it() {
        for (advertised, bound, asked, expected) in [
            ("", "127.0.0.1:5678", "localhost", "127.0.0.1:5678"),
            ("", "10.0.0.5:5678", "cp", "10.0.0.5:5678"),
            ("", "[::1]:5678", "localhost", "[::1]:5678"),
            ("", "0.0.0.0:5678", "cp.example:5681", "cp.example:5678"),
            ("", "0.0.0.0:5678", "10.0.0.5:5681", "10.0.0.5:5678"),
            ("", "[::]:5678", "[2001:db8::1]:5681", "[2001:db8::1]:5678"),
            ("cp.example", "0.0.0.0:5678", "localhost", "cp.example:5678"),
            (
                "2001:db8::1",
                "[::]:5678",
                "localhost",
                "[2001:db8::1]:5678",
            ),
        ] {
            let settings = [("general.advertisedHostname", advertised)];
            let settings = settings.iter().filter(|(_, value)| !value.is_empty());
            let overrides = Overrides {
                state_dir: Some("/nowhere".into()),
                settings: settings
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            };
            let config = config::load(None, &[].into(), &overrides).unwrap();
            let asked = RequestedHost::new(asked.parse().unwrap());
            assert_eq!(reachable(&config, bound.parse().unwrap(), &asked), expected);
        }
    }
}
