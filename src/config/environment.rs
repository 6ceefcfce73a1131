//! Reads settings from the environment.

use std::collections::BTreeMap;

use super::keys;
use super::{ConfigError, Place, Setting};

/// The process's environment. Variables that are not UTF-8 are read with
/// replacement characters, so that a setting among them is refused, not missed.
#[must_use]
pub fn process_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// The settings among the variables. A `WINDLASS_` name wins over the `KUMA_` one.
pub(super) fn read(environment: &BTreeMap<String, String>) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    // `KUMA_` sorts before `WINDLASS_`, and a later setting replaces an earlier one.
    for (name, value) in environment {
        let ours = name.starts_with("WINDLASS_");
        let is_service_link = is_service_link(name, value);
        if (!ours && !name.starts_with("KUMA_")) || is_service_link {
            continue;
        }
        let key = keys::ALL
            .iter()
            .find(|key| key.kuma == Some(name) || (ours && key.variable() == *name));
        if let Some(key) = key {
            settings.push(Setting {
                key,
                value: value.clone(),
                place: Place::Variable(name.clone()),
            });
        } else if ours && keys::OTHER_VARIABLES.iter().all(|(other, _)| other != name) {
            return Err(invalid(name, unknown(name)));
        }
    }
    Ok(settings)
}

fn invalid(name: &str, problem: String) -> ConfigError {
    ConfigError::Invalid {
        subject: name.to_owned(),
        problem,
        place: Place::Environment,
    }
}

fn unknown(name: &str) -> String {
    let variables: Vec<String> = keys::ALL.iter().map(|key| key.variable()).collect();
    let others = keys::OTHER_VARIABLES.iter().map(|(name, _)| *name);
    let all = variables.iter().map(String::as_str).chain(others);
    match keys::nearest(name, all) {
        Some(near) => format!("unknown variable; did you mean `{near}`?"),
        None => "unknown variable; docs/configuration.md lists them all".to_owned(),
    }
}

/// Whether Kubernetes put this variable into the container because a Service
/// is called `windlass…`: nobody meant it as a setting.
fn is_service_link(name: &str, value: &str) -> bool {
    let link = value.starts_with("tcp://") || value.starts_with("udp://");
    let of_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let of_port = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    (link && name.contains("_PORT")) || of_service || of_port
}
