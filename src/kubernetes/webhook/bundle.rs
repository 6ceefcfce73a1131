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

/// Puts the CA where it is not; whether that was so.
async fn tell(cluster: &Connection, name: &str, ca_pem: &str) -> Result<bool, kube::Error> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let mut found = api.get(name).await?;
    let bundle = ByteString(ca_pem.as_bytes().to_vec());
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
