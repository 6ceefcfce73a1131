//! The validating admission webhook: what someone writes to custom resources
//! obeys the rules that a commit and a call of the API obey, and is told so
//! before it is written.
//!
//! It judges and writes nothing. Windlass itself passes, and so does whoever
//! makes an object say what the store holds anyway.

mod answer;
mod bundle;
mod judge;
mod server;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Writer;
use crate::store::kubernetes::Connection;
use crate::xds::tls::{ServerIdentity, TlsError};
use judge::Judge;

/// Where the API server posts its questions.
pub const PATH: &str = "/validate";
/// The largest question, in bytes. It holds the object as it was and as it is
/// to be, each with what others keep in its metadata.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// How long an answer may take. The API server waits no longer than ten.
const TIMEOUT: Duration = Duration::from_secs(8);

/// What the webhook works with.
pub struct Parts {
    /// Who judges calls.
    pub writer: Arc<Writer>,
    /// The cluster.
    pub cluster: Connection,
    /// What proves the server.
    pub identity: Arc<ServerIdentity>,
    /// The ValidatingWebhookConfiguration that is given the CA.
    pub configuration: String,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("cluster", &self.cluster)
            .field("configuration", &self.configuration)
            .finish_non_exhaustive()
    }
}

/// The names that the API server may know the webhook by: those of its
/// Service, and those of the machine.
#[must_use]
pub fn server_names(service: &str, namespace: &str, advertised: Option<&str>) -> Vec<String> {
    let mut names = crate::xds::tls::server_names(advertised);
    names.push(format!("{service}.{namespace}.svc"));
    names.push(format!("{service}.{namespace}.svc.cluster.local"));
    names
}

/// Serves until `shutdown`, keeps the certificate good, and tells the API
/// server the CA of it.
///
/// # Errors
///
/// Fails when the TLS library refuses the certificate.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    shutdown: CancellationToken,
) -> Result<(), TlsError> {
    let Parts {
        writer,
        cluster,
        identity,
        configuration,
    } = parts;
    let tls = identity.config()?;
    let judge = Judge::new(writer, &cluster);
    let router = Router::new()
        .route(PATH, post(review))
        .with_state(Arc::new(judge))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let ca = identity.ca_pem();
    tokio::select! {
        () = server::serve(listener, tls, router, shutdown.clone()) => {}
        never = bundle::keep(&cluster, &configuration, &ca) => match never {},
        never = keep_fresh(&identity) => match never {},
    }
    Ok(())
}

async fn keep_fresh(identity: &ServerIdentity) -> Infallible {
    loop {
        identity.keep_fresh().await;
    }
}

/// Answers one question. What cannot be judged is an error, not a refusal: the
/// webhook's failure policy says what then holds.
async fn review(
    State(judge): State<Arc<Judge>>,
    body: Bytes,
) -> Result<axum::Json<Value>, (StatusCode, &'static str)> {
    let request =
        answer::read(&body).ok_or((StatusCode::BAD_REQUEST, "this is no AdmissionReview of v1"))?;
    let judged = tokio::time::timeout(TIMEOUT, judge.judge(&request)).await;
    match judged {
        Ok(Ok(verdict)) => Ok(axum::Json(answer::review(&request, &verdict))),
        Ok(Err(error)) => {
            tracing::error!(error = %crate::telemetry::chain(&error), "a change was not judged");
            let words = "the store of the control plane is out of reach";
            Err((StatusCode::SERVICE_UNAVAILABLE, words))
        }
        Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, "judging took too long")),
    }
}

#[cfg(test)]
fn example(operation: &str, object: &Value) -> Vec<u8> {
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "kuma.io", "version": "v1alpha1", "kind": object["kind"]},
            "resource": {"group": "kuma.io", "version": "v1alpha1", "resource": "x"},
            "name": object["metadata"]["name"], "operation": operation,
            "userInfo": {"username": "someone"}, "object": object, "oldObject": null,
            "dryRun": false, "options": null,
        },
    })
    .to_string()
    .into_bytes()
}
