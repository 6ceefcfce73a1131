//! What the daemon does in a Kubernetes cluster, whatever its store.

use std::sync::Arc;

use super::AppError;
use crate::api::Writer;
use crate::clock;
use crate::config::Config;
use crate::kubernetes::accounts::ServiceAccounts;
use crate::kubernetes::webhook;
use crate::model::ResourceName;
use crate::store::Store;
use crate::store::encryption::Vault;
use crate::store::kubernetes::Connection;
use crate::xds::tls::{self, ServerIdentity};

/// The cluster, where the configuration asks for anything in it.
pub(super) struct Cluster(Option<Connection>);

impl Cluster {
    /// Finds it. It may well be away.
    pub(super) async fn find(config: &Config) -> Result<Self, AppError> {
        let wanted = config.cluster.accounts.is_some() || config.cluster.webhook.is_some();
        if !wanted {
            return Ok(Self(None));
        }
        let found = Connection::open(&config.cluster.access).await;
        found.map(Some).map(Self).map_err(AppError::Cluster)
    }

    /// Who is let in by the word of the API server.
    pub(super) fn accounts(
        &self,
        config: &Config,
    ) -> Result<Option<Arc<ServiceAccounts>>, AppError> {
        let (Some(cluster), Some(accounts)) = (&self.0, &config.cluster.accounts) else {
            return Ok(None);
        };
        let namespace: ResourceName = cluster.namespace.parse().map_err(AppError::Namespace)?;
        let accounts = ServiceAccounts::in_cluster(
            cluster.client.clone(),
            &accounts.audience,
            namespace,
            accounts.cache_for,
        );
        Ok(Some(Arc::new(accounts)))
    }

    /// What the admission webhook works with.
    pub(super) async fn webhook(
        &self,
        config: &Config,
        store: &dyn Store,
        vault: &Vault,
        writer: &Arc<Writer>,
    ) -> Result<Option<webhook::Parts>, AppError> {
        let (Some(cluster), Some(wanted)) = (&self.0, &config.cluster.webhook) else {
            return Ok(None);
        };
        let names = webhook::server_names(
            &wanted.service,
            &cluster.namespace,
            config.advertised_hostname.as_deref(),
        );
        let (purpose, lifetime) = (&tls::WEBHOOK, wanted.certificate_lifetime);
        let now = clock::now();
        let identity =
            ServerIdentity::open_or_create_for(purpose, store, vault, names, lifetime, now);
        Ok(Some(webhook::Parts {
            writer: Arc::clone(writer),
            cluster: cluster.clone(),
            identity: Arc::new(identity.await?),
            configuration: wanted.configuration.clone(),
        }))
    }
}
