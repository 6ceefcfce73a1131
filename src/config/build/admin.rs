//! The admin server for other machines.

use std::net::SocketAddr;

use super::{Key, Settings, boolean, ip_address, keys, port};
use crate::config::{AdminPublicConfig, ConfigError};

impl Settings {
    /// Whatever is set is looked at, enabled or not.
    pub(super) fn admin_public(&self) -> Result<Option<AdminPublicConfig>, ConfigError> {
        let is_on = self.required(&keys::ADMIN_PUBLIC_ENABLED, boolean)?;
        let interface = self.optional(&keys::ADMIN_PUBLIC_INTERFACE, ip_address)?;
        let own_port = self.optional(&keys::ADMIN_PUBLIC_PORT, port)?;
        let cert_file = self.optional_path(&keys::ADMIN_PUBLIC_CERT)?;
        let key_file = self.optional_path(&keys::ADMIN_PUBLIC_KEY)?;
        let clients = self.optional_path(&keys::ADMIN_PUBLIC_CLIENTS)?;
        if !is_on {
            return Ok(None);
        }
        let interface = self.needed(&keys::ADMIN_PUBLIC_INTERFACE, interface)?;
        let local_port = self.port(&keys::ADMIN_LOCAL_PORT)?;
        if interface.is_unspecified() && own_port.is_none() && local_port != 0 {
            let problem = format!(
                "must be set where the interface is {interface}: the local admin server has \
                 {local_port} already"
            );
            return Err(self.invalid(&keys::ADMIN_PUBLIC_PORT, problem));
        }
        Ok(Some(AdminPublicConfig {
            address: SocketAddr::new(interface, own_port.unwrap_or(local_port)),
            cert_file: self.needed(&keys::ADMIN_PUBLIC_CERT, cert_file)?,
            key_file: self.needed(&keys::ADMIN_PUBLIC_KEY, key_file)?,
            client_certs_dir: self.needed(&keys::ADMIN_PUBLIC_CLIENTS, clients)?,
        }))
    }

    fn needed<T>(&self, key: &'static Key, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| {
            let problem = "must be set where admin.public.enabled is true".to_owned();
            self.invalid(key, problem)
        })
    }
}
