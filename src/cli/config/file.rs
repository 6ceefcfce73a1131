//! The file of the command line's own configuration.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::super::{CliError, ErrorKind};
use super::to_yaml;
use crate::config::process_environment;

/// The control planes that this user works with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CliConfig {
    /// The name of the one that commands are for.
    #[serde(default)]
    pub(crate) current_control_plane: Option<String>,
    /// All of them, in the order in which they were added.
    #[serde(default)]
    pub(crate) control_planes: Vec<ControlPlane>,
}

/// A control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ControlPlane {
    /// Its name on this machine.
    pub(crate) name: String,
    /// Its HTTP API.
    pub(crate) address: String,
    /// How its admin server is reached from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin: Option<AdminFiles>,
}

/// What its admin server is reached with: files, which stay where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AdminFiles {
    /// The client's certificate.
    pub(crate) client_cert: PathBuf,
    /// Its private key.
    pub(crate) client_key: PathBuf,
    /// What the server is trusted by, where it is not the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_cert: Option<PathBuf>,
}

impl ControlPlane {
    /// One of which nothing is kept.
    pub(crate) fn unknown(address: &str) -> Self {
        Self {
            name: String::new(),
            address: address.to_owned(),
            admin: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("failed to read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is no configuration of the command line: {problem}")]
    Format { path: PathBuf, problem: String },
    #[error("failed to write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("nobody says where to keep it: set XDG_CONFIG_HOME or HOME")]
    NoHome,
}

impl CliConfig {
    /// Reads the file. One that is not there holds nothing.
    pub(crate) fn load() -> Result<Self, CliError> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        let failed = |error| CliError::new(ErrorKind::Config, error);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(failed(FileError::Read { path, source })),
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = serde_yaml::from_str_with_options(
            &text,
            serde_yaml::options! {
                with_snippet: false,
            },
        );
        read.map_err(|error| {
            let problem = error.without_snippet().to_string();
            failed(FileError::Format { path, problem })
        })
    }

    /// Writes the file, for its owner only, whole or not at all.
    pub(crate) fn save(&self) -> Result<(), CliError> {
        let path = path().ok_or_else(|| CliError::new(ErrorKind::Config, FileError::NoHome))?;
        let text = to_yaml(self)?;
        write(&path, text.as_bytes())
            .map_err(|source| CliError::user(FileError::Write { path, source }))
    }

    /// The one that commands are for.
    pub(crate) fn current(&self) -> Option<&ControlPlane> {
        let name = self.current_control_plane.as_deref()?;
        self.control_planes.iter().find(|it| it.name == name)
    }

    /// The one at that address, the current one first.
    pub(crate) fn at(&self, address: &str) -> Option<&ControlPlane> {
        let address = address.trim_end_matches('/');
        let mut all = self.current().into_iter().chain(&self.control_planes);
        all.find(|it| it.address == address)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // A temporary file is its owner's only, and stays so.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn path() -> Option<PathBuf> {
    let environment = process_environment();
    let variable = |name: &str| {
        let value = environment.get(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    // XDG Base Directory: a relative path is invalid and ignored.
    let home = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let home = home.or_else(|| Some(variable("HOME")?.join(".config")));
    Some(home?.join("windlass/config.yaml"))
}
