//! The API server is told which CA proves the webhook.

use std::convert::Infallible;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, PostParams};

use crate::store::kubernetes::Connection;

/// How often to look whether it still knows.
const LOOK: Duration = Duration::from_secs(10);
/// How long a look may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps the CA in the configuration, for ever.
pub(super) async fn keep(cluster: &Connection, name: &str, ca_pem: &str) -> Infallible {
    let mut said = String::new();
    loop {
        let told = tokio::time::timeout(TIMEOUT, tell(cluster, name, ca_pem)).await;
        let problem = match told {
            Ok(Ok(true)) => {
                tracing::info!(
                    configuration = name,
                    "the API server knows the CA of the admission webhook"
                );
                String::new()
            }
            Ok(Ok(false)) => String::new(),
            Ok(Err(error)) => crate::telemetry::chain(&error).to_string(),
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        if !problem.is_empty() && problem != said {
            tracing::warn!(
                configuration = name,
                error = problem,
                "the API server is not told the CA of the admission webhook; trying again"
            );
        }
        said = problem;
        tokio::time::sleep(LOOK).await;
    }
}

/// What keeps the API server from knowing the CA.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("the API server says no, or does not answer")]
    Kubernetes(#[from] kube::Error),
    #[error(
        "its webhook {webhook} leads to namespace {other}: it is another control plane's; \
         name one for this control plane with webhook.configuration"
    )]
    Another { webhook: String, other: String },
}

/// Puts the CA where it is not; whether that was so.
async fn tell(cluster: &Connection, name: &str, ca_pem: &str) -> Result<bool, NotTold> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let mut found = api.get(name).await?;
    let bundle = ByteString(ca_pem.as_bytes().to_vec());
    for webhook in found.webhooks.iter().flatten() {
        let service = webhook.client_config.service.as_ref();
        if let Some(service) = service.filter(|it| it.namespace != cluster.namespace) {
            return Err(NotTold::Another {
                webhook: webhook.name.clone(),
                other: service.namespace.clone(),
            });
        }
    }
    let mut is_new = false;
    for webhook in found.webhooks.iter_mut().flatten() {
        let known = &mut webhook.client_config.ca_bundle;
        if known.as_ref() != Some(&bundle) {
            *known = Some(bundle.clone());
            is_new = true;
        }
    }
    if is_new {
        // Compared and set: who changes it meanwhile is looked at again.
        api.replace(name, &PostParams::default(), &found).await?;
    }
    Ok(is_new)
}
