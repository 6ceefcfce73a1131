//! What the whole program promises about secrets, files, ports and terminals.

mod disk;
mod keys;
mod limits;
mod password;
mod terminal;
mod xds;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::{WINDLASS, windlass};

/// The bytes of every file below a folder, with its path.
fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            // A file may be gone by now, as a write-ahead log.
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The program, started by a script that finds it in `$0` and its arguments in `$@`.
fn by_shell(script: &str) -> Command {
    let program = windlass();
    let settings = program.get_envs();
    let mut shell = Command::new("bash");
    shell
        .env_clear()
        .envs(settings.filter_map(|(name, value)| Some((name, value?))))
        .args(["-c", script, WINDLASS]);
    shell
}
