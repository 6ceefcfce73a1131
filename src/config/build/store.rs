//! `store.*`: which store, how it is reached, and how keys are kept in it.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Settings, boolean, duration, hostname, non_empty};
use crate::config::keys::{self, Key};
use crate::config::{ConfigError, EncryptionConfig, StoreConfig};
use crate::model::PrivateKey;
use crate::store::kubernetes::KubernetesSettings;
use crate::store::postgres::{ClientCertificate, Password, PostgresConfig, PostgresTls, TlsMode};

/// More connections than one control plane has use for.
const MOST_CONNECTIONS: u32 = 1_000;

/// `store.type`
enum Type {
    Sqlite,
    Postgres,
    Kubernetes,
}

impl Settings {
    pub(super) fn store(&self) -> Result<StoreConfig, ConfigError> {
        let kind = self.required(&keys::STORE_TYPE, |text| match text {
            "sqlite" => Ok(Type::Sqlite),
            "postgres" => Ok(Type::Postgres),
            "kubernetes" => Ok(Type::Kubernetes),
            _ => Err("must be `sqlite`, `postgres` or `kubernetes`".to_owned()),
        })?;
        // What is wrong is told also where it is not used.
        let (postgres, kubernetes) = (self.postgres()?, self.kubernetes()?);
        Ok(match kind {
            Type::Sqlite => StoreConfig::Sqlite {
                path: self.state_path(&keys::STORE_SQLITE_PATH)?,
            },
            Type::Postgres => StoreConfig::Postgres(postgres),
            Type::Kubernetes => StoreConfig::Kubernetes(kubernetes),
        })
    }

    pub(super) fn kubernetes(&self) -> Result<KubernetesSettings, ConfigError> {
        Ok(KubernetesSettings {
            namespace: self.optional(&keys::STORE_KUBERNETES_NAMESPACE, hostname)?,
            kubeconfig: self.optional_path(&keys::STORE_KUBERNETES_KUBECONFIG)?,
            context: self.optional(&keys::STORE_KUBERNETES_CONTEXT, non_empty)?,
        })
    }

    /// How keys are kept. An identity of one replica's own would be of no use
    /// to the others, so none is made for a store that several share.
    pub(super) fn encryption(&self, store: &StoreConfig) -> Result<EncryptionConfig, ConfigError> {
        let none = self.required(&keys::STORE_ENCRYPTION_NONE, boolean)?;
        let given = self.optional_path(&keys::STORE_ENCRYPTION_IDENTITY)?;
        match (none, given, store) {
            (true, None, _) => Ok(EncryptionConfig::None),
            (true, Some(_), _) => {
                let problem = "cannot be true where store.encryption.identityFile is set; leave one of them out";
                Err(self.invalid(&keys::STORE_ENCRYPTION_NONE, problem.to_owned()))
            }
            (false, Some(path), _) => Ok(EncryptionConfig::Identity(path)),
            (false, None, StoreConfig::Sqlite { .. }) => {
                let path = self.state_path(&keys::STORE_ENCRYPTION_IDENTITY)?;
                Ok(EncryptionConfig::Identity(path))
            }
            (false, None, _) => {
                let problem = "must be set where the store is shared: make one with `age-keygen` and give it \
                     to every replica, or set store.encryption.none to keep private keys in clear";
                Err(self.invalid(&keys::STORE_ENCRYPTION_IDENTITY, problem.to_owned()))
            }
        }
    }

    fn postgres(&self) -> Result<PostgresConfig, ConfigError> {
        let tls = self.postgres_tls()?;
        let config = PostgresConfig {
            host: self.required(&keys::STORE_POSTGRES_HOST, host)?,
            port: self.required(&keys::STORE_POSTGRES_PORT, |text| {
                let port = u16::from_str(text).ok().filter(|port| *port != 0);
                port.ok_or_else(|| "must be a port from 1 to 65535".to_owned())
            })?,
            user: self.required(&keys::STORE_POSTGRES_USER, non_empty)?,
            password: self.postgres_password()?,
            db_name: self.required(&keys::STORE_POSTGRES_DB_NAME, non_empty)?,
            tls,
            connection_timeout: self.required(&keys::STORE_POSTGRES_TIMEOUT, |text| {
                duration(text, Duration::from_millis(100), Duration::from_mins(5))
            })?,
            max_open_connections: self.required(&keys::STORE_POSTGRES_CONNECTIONS, |text| {
                let count = u32::from_str(text).ok();
                let count = count.filter(|count| (1..=MOST_CONNECTIONS).contains(count));
                count.ok_or_else(|| format!("must be a number from 1 to {MOST_CONNECTIONS}"))
            })?,
        };
        if config.is_local_socket() && config.tls.mode != TlsMode::Disable {
            let problem = "must be `disable` where store.postgres.host is the folder of a socket";
            return Err(self.invalid(&keys::STORE_POSTGRES_TLS_MODE, problem.to_owned()));
        }
        Ok(config)
    }

    fn postgres_password(&self) -> Result<Password, ConfigError> {
        let value = self.optional(&keys::STORE_POSTGRES_PASSWORD, |text| {
            // The protocol ends texts with it.
            if text.contains('\0') {
                return Err("must not hold a NUL character".to_owned());
            }
            Ok(PrivateKey::new(Zeroizing::new(text.to_owned())))
        })?;
        let file = self.optional_path(&keys::STORE_POSTGRES_PASSWORD_FILE)?;
        match (value, file) {
            (None, None) => Ok(Password::None),
            (Some(value), None) => Ok(Password::Value(value)),
            (None, Some(path)) => Ok(Password::File(path)),
            (Some(_), Some(_)) => {
                let problem = "cannot be set beside store.postgres.password; leave one of them out";
                Err(self.invalid(&keys::STORE_POSTGRES_PASSWORD_FILE, problem.to_owned()))
            }
        }
    }

    fn postgres_tls(&self) -> Result<PostgresTls, ConfigError> {
        let mode = self.required(&keys::STORE_POSTGRES_TLS_MODE, |text| {
            let mode = TlsMode::ALL.into_iter().find(|mode| mode.as_str() == text);
            mode.ok_or_else(|| {
                "must be `disable`, `verifyNone`, `verifyCa` or `verifyFull`".to_owned()
            })
        })?;
        let ca_path = self.optional_path(&keys::STORE_POSTGRES_TLS_CA)?;
        if mode.verifies() && ca_path.is_none() {
            let problem = format!("must be set where store.postgres.tls.mode is `{mode}`");
            return Err(self.invalid(&keys::STORE_POSTGRES_TLS_CA, problem));
        }
        let missing = |key: &'static Key, other: &'static Key| {
            self.invalid(key, format!("must be set where {} is", other.path))
        };
        let (cert, key) = (
            &keys::STORE_POSTGRES_TLS_CERT,
            &keys::STORE_POSTGRES_TLS_KEY,
        );
        let client = match (self.optional_path(cert)?, self.optional_path(key)?) {
            (None, None) => None,
            (Some(cert_path), Some(key_path)) => Some(ClientCertificate {
                cert_path,
                key_path,
            }),
            (Some(_), None) => return Err(missing(key, cert)),
            (None, Some(_)) => return Err(missing(cert, key)),
        };
        Ok(PostgresTls {
            mode,
            ca_path,
            client,
        })
    }
}

/// A host name, an address, or the folder of a Unix socket.
fn host(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return non_empty(text);
    }
    if IpAddr::from_str(text).is_ok() {
        return Ok(text.to_owned());
    }
    hostname(text).map_err(|_| {
        "must be a host name, an IP address or the folder of a socket, without scheme and port"
            .to_owned()
    })
}
