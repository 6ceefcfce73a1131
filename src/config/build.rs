//! Turns settings into a valid [`Config`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::keys::{self, Key};
use super::{CaConfig, Config, ConfigError, Place, Setting, SourceConfig};
use crate::ca::LeafKey;
use crate::model::{HumanDuration, printable};

mod admin;
mod cluster;
mod store;

const DAY: Duration = Duration::from_hours(24);

/// More leaves per second than a machine can make.
const MOST_REISSUES: u32 = 100_000;

/// The settings that hold, by key.
pub(super) struct Settings {
    state_dir: PathBuf,
    by_path: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Takes the settings in the order of their precedence, the strongest last.
    pub(super) fn new(state_dir: PathBuf, settings: impl IntoIterator<Item = Setting>) -> Self {
        Self {
            state_dir,
            by_path: settings
                .into_iter()
                .map(|setting| (setting.key.path, setting))
                .collect(),
        }
    }

    /// Validates all of it.
    pub(super) fn build(&self) -> Result<Config, ConfigError> {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let store = self.store()?;
        let config = Config {
            encryption: self.encryption(&store)?,
            store,
            source: self.source()?,
            advertised_hostname: self.optional(&keys::GENERAL_ADVERTISED_HOSTNAME, hostname)?,
            instance_id: self.optional(&keys::GENERAL_INSTANCE_ID, instance_id)?,
            api: self.address(&keys::API_INTERFACE, &keys::API_PORT)?,
            admin_local: SocketAddr::new(local, self.port(&keys::ADMIN_LOCAL_PORT)?),
            admin_public: self.admin_public()?,
            xds: self.address(&keys::XDS_INTERFACE, &keys::XDS_PORT)?,
            diagnostics: self.address(&keys::DIAGNOSTICS_INTERFACE, &keys::DIAGNOSTICS_PORT)?,
            cluster: self.cluster()?,
            ca: CaConfig {
                leaf_lifetime: self.required(&keys::CA_LEAF_LIFETIME, |text| {
                    duration(text, Duration::from_secs(2), 3650 * DAY)
                })?,
                reissue_rate: self.required(&keys::CA_REISSUE_RATE, |text| {
                    let rate = NonZeroU32::from_str(text).ok();
                    let rate = rate.filter(|rate| rate.get() <= MOST_REISSUES);
                    rate.ok_or_else(|| format!("must be a number from 1 to {MOST_REISSUES}"))
                })?,
                leaf_key: self.required(&keys::CA_LEAF_KEY, |text| match text {
                    "ecP256" => Ok(LeafKey::EcP256),
                    "rsa2048" => Ok(LeafKey::Rsa2048),
                    _ => Err("must be `ecP256` or `rsa2048`".to_owned()),
                })?,
            },
            state_dir: self.state_dir.clone(),
        };
        self.check_ports(&config)?;
        Ok(config)
    }

    fn source(&self) -> Result<Option<SourceConfig>, ConfigError> {
        let branch = self.optional(&keys::SOURCE_BRANCH, non_empty)?;
        let path = self.required(&keys::SOURCE_PATH, inner_path)?;
        let poll_interval = self.required(&keys::SOURCE_POLL_INTERVAL, |text| {
            duration(text, Duration::from_secs(1), DAY)
        })?;
        let decryption_identity = self.optional_path(&keys::SOURCE_IDENTITY)?;
        let Some(repo) = self.optional(&keys::SOURCE_REPO, non_empty)? else {
            return Ok(None);
        };
        let repo = if is_local(&repo) {
            let path = self.resolve(&keys::SOURCE_REPO, &repo);
            path.to_str().map_or(repo, str::to_owned)
        } else {
            repo
        };
        Ok(Some(SourceConfig {
            repo,
            branch,
            path,
            poll_interval,
            decryption_identity,
        }))
    }

    fn address(
        &self,
        interface: &'static Key,
        port: &'static Key,
    ) -> Result<SocketAddr, ConfigError> {
        let ip = self.required(interface, ip_address)?;
        Ok(SocketAddr::new(ip, self.port(port)?))
    }

    fn port(&self, key: &'static Key) -> Result<u16, ConfigError> {
        self.required(key, port)
    }

    /// A path whose default lies in the state folder.
    fn state_path(&self, key: &'static Key) -> Result<PathBuf, ConfigError> {
        Ok(match self.optional_path(key)? {
            Some(path) => path,
            None => self.state_dir.join(key.default.unwrap_or_default()),
        })
    }

    fn optional_path(&self, key: &'static Key) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.optional(key, non_empty)?;
        Ok(path.map(|path| self.resolve(key, &path)))
    }

    /// A path as its place means it: one in the file starts at the file's folder.
    fn resolve(&self, key: &Key, path: &str) -> PathBuf {
        match self.by_path.get(key.path).map(|setting| &setting.place) {
            Some(Place::File { path: file, .. }) => {
                file.parent().unwrap_or(Path::new("")).join(path)
            }
            _ => PathBuf::from(path),
        }
    }

    fn optional<T>(
        &self,
        key: &'static Key,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(setting) = self.by_path.get(key.path) else {
            return Ok(None);
        };
        parse(&setting.value)
            .map(Some)
            .map_err(|problem| self.invalid(key, problem))
    }

    fn required<T>(
        &self,
        key: &'static Key,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let setting = self.by_path.get(key.path);
        let text = setting.map_or(key.default.unwrap_or_default(), |setting| &setting.value);
        parse(text).map_err(|problem| self.invalid(key, problem))
    }

    fn invalid(&self, key: &Key, problem: String) -> ConfigError {
        let place = self.by_path.get(key.path).map(|setting| &setting.place);
        ConfigError::Invalid {
            subject: key.path.to_owned(),
            problem,
            place: place.cloned().unwrap_or(Place::Default),
        }
    }

    /// Two servers cannot share an address.
    fn check_ports(&self, config: &Config) -> Result<(), ConfigError> {
        let servers = [
            (&keys::API_PORT, config.api),
            (&keys::ADMIN_LOCAL_PORT, config.admin_local),
            (&keys::XDS_PORT, config.xds),
            (&keys::DIAGNOSTICS_PORT, config.diagnostics),
        ];
        let webhook = config.cluster.webhook.as_ref();
        let webhook = webhook.map(|webhook| (&keys::WEBHOOK_PORT, webhook.address));
        let public = config.admin_public.as_ref();
        let public = public.map(|public| (&keys::ADMIN_PUBLIC_PORT, public.address));
        let servers: Vec<_> = servers.into_iter().chain(webhook).chain(public).collect();
        for (index, (key, address)) in servers.iter().enumerate() {
            let taken = servers[..index].iter().find(|(_, other)| {
                let same_ip = address.ip() == other.ip()
                    || address.ip().is_unspecified()
                    || other.ip().is_unspecified();
                address.port() != 0 && address.port() == other.port() && same_ip
            });
            if let Some((other, _)) = taken {
                // Blame the one that somebody set.
                let (key, other) = if self.by_path.contains_key(key.path) {
                    (key, other)
                } else {
                    (other, key)
                };
                let problem = format!("{} is taken by {}", address.port(), other.path);
                return Err(self.invalid(key, problem));
            }
        }
        Ok(())
    }
}

/// Whether a repository is a local path: neither `scheme://…` nor `host:path`.
fn is_local(repo: &str) -> bool {
    let first = repo.split('/').next().unwrap_or_default();
    !first.contains(':')
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    IpAddr::from_str(text)
        .map_err(|_| "must be an IP address, such as 127.0.0.1 or 0.0.0.0".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    u16::from_str(text).map_err(|_| "must be a port from 0 to 65535".to_owned())
}

fn non_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must not be empty; leave it out instead".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn inner_path(text: &str) -> Result<String, String> {
    let text = non_empty(text)?;
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err("must be a path inside the repository".to_owned());
    }
    Ok(text)
}

fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = HumanDuration::from_str(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&duration.0) {
        Ok(duration.0)
    } else {
        let (least, most) = (HumanDuration(least), HumanDuration(most));
        Err(format!("must be from {least} to {most}"))
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be `true` or `false`".to_owned()),
    }
}

fn instance_id(text: &str) -> Result<String, String> {
    let is_plain = !text.trim().is_empty() && printable(text) == text;
    if is_plain && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("must be a name of at most 253 bytes".to_owned())
    }
}

fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.len() <= 253 && text.split('.').all(label);
    if name || IpAddr::from_str(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("must be a host name or an IP address, without scheme and port".to_owned())
    }
}
