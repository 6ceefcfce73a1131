//! Finds the Envoy program.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Why there is no program to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No folder of `PATH` has it.
    #[error("there is no program `{0}` in the folders of PATH")]
    NotInPath(String),
    /// Nothing is there.
    #[error("there is nothing at `{0}`")]
    Missing(PathBuf),
    /// It cannot be run.
    #[error("`{0}` is not an executable file")]
    NotExecutable(PathBuf),
}

/// The file to run: `binary` itself where it has a `/`, else the first one in the folders of `path`.
pub fn find(binary: &Path, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    if binary.as_os_str().as_encoded_bytes().contains(&b'/') {
        return match fs::metadata(binary) {
            Err(_) => Err(ProgramError::Missing(binary.to_owned())),
            Ok(_) if !is_executable(binary) => Err(ProgramError::NotExecutable(binary.to_owned())),
            Ok(_) => Ok(binary.to_owned()),
        };
    }
    path.into_iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(binary))
        .find(|file| is_executable(file))
        .ok_or_else(|| ProgramError::NotInPath(binary.display().to_string()))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_file_that_is_named_or_the_first_in_path() {
        let dir = tempfile::tempdir().unwrap();
        let make = |folder: &str, mode: u32| {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            let file = folder.join("envoy");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let (plain, good) = (make("a", 0o644), make("b", 0o755));
        let path = std::env::join_paths([dir.path().join("a"), dir.path().join("b")]).unwrap();
        assert_eq!(find(Path::new("envoy"), Some(&path)), Ok(good.clone()));
        assert_eq!(find(&good, None), Ok(good));
        assert_eq!(find(&plain, None), Err(ProgramError::NotExecutable(plain)));
        let missing = dir.path().join("c");
        assert_eq!(find(&missing, None), Err(ProgramError::Missing(missing)));
        let words = find(Path::new("envoy"), None).unwrap_err().to_string();
        assert_eq!(words, "there is no program `envoy` in the folders of PATH");
    }
}
