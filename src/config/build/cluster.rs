//! What Windlass does in a Kubernetes cluster.

use std::time::Duration;

use super::{Settings, boolean, duration, hostname, keys, non_empty};
use crate::config::{AccountsConfig, ClusterConfig, ConfigError, WebhookConfig};

impl Settings {
    pub(super) fn cluster(&self) -> Result<ClusterConfig, ConfigError> {
        let store = self.by_path.get(keys::STORE_TYPE.path);
        let is_store = store.is_some_and(|setting| setting.value == "kubernetes");
        let is_on = |key| Ok(self.optional(key, boolean)?.unwrap_or(is_store));
        let accounts = AccountsConfig {
            audience: self.required(&keys::XDS_ACCOUNTS_AUDIENCE, non_empty)?,
            cache_for: self.required(&keys::XDS_ACCOUNTS_CACHE_FOR, |text| {
                duration(text, Duration::from_secs(1), Duration::from_mins(10))
            })?,
        };
        let webhook = WebhookConfig {
            address: self.address(&keys::WEBHOOK_INTERFACE, &keys::WEBHOOK_PORT)?,
            service: self.required(&keys::WEBHOOK_SERVICE, hostname)?,
            configuration: self.required(&keys::WEBHOOK_CONFIGURATION, hostname)?,
            certificate_lifetime: self.required(&keys::WEBHOOK_LIFETIME, |text| {
                duration(text, Duration::from_secs(2), Duration::from_hours(24 * 398))
            })?,
        };
        Ok(ClusterConfig {
            access: self.kubernetes()?,
            accounts: is_on(&keys::XDS_ACCOUNTS_ENABLED)?.then_some(accounts),
            webhook: is_on(&keys::WEBHOOK_ENABLED)?.then_some(webhook),
        })
    }
}
