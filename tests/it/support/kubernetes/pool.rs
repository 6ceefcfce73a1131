//! API servers that outlive a test, each with a folder of its own.

use std::fs::{self, File, TryLockError};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::Server;

/// More than there are tests at once.
const MAX: usize = 64;

/// Ends the servers of a folder that nobody has used for 30 seconds: `used` is
/// locked while a test uses them, `lease` from when nobody may any more.
const KEEPER: &str = r#"
idle=0
while [ -d "$0" ] && [ "$idle" -lt 30 ]; do
    sleep 1
    if flock --nonblock "$0/used" true; then idle=$((idle + 1)); else idle=0; fi
    if [ "$idle" -eq 30 ] && ! flock --nonblock "$0/lease" sh -c '
        for pid in $(cat "$0"/*.pid); do
            if grep -qsF "$0" /proc/"$pid"/cmdline; then kill -9 "$pid"; fi
        done
        rm -f "$0/ready"
    ' "$0"; then idle=0; fi
done
"#;

/// The right to use the servers of one folder alone.
pub(super) struct Lease {
    folder: PathBuf,
    /// Locked while this lives; released by the system when the process ends.
    _locks: [File; 2],
}

impl Lease {
    /// Takes servers that run and are as new.
    pub(super) fn take() -> Self {
        let (folder, lease) = (0..MAX)
            .map(|number| {
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubernetes/{number}"))
            })
            .find_map(|folder| Some((try_lease(&folder)?, folder)))
            .map(|(lease, folder)| (folder, lease))
            .expect("fewer tests at once");
        let used = open(&folder.join("used"));
        used.lock_shared().expect("a lock");
        if !folder.join("ready").exists() || !Server::in_folder(&folder).revive() {
            clear(&folder);
            keep(&folder);
            Server::create(&folder);
            fs::write(folder.join("ready"), "").expect("a file");
        }
        Self {
            folder,
            _locks: [used, lease],
        }
    }

    /// Where the servers have their files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

fn open(path: &Path) -> File {
    let mut options = File::options();
    options
        .create(true)
        .append(true)
        .open(path)
        .expect("a lock file")
}

fn try_lease(folder: &Path) -> Option<File> {
    fs::create_dir_all(folder).expect("a folder below target");
    let lease = open(&folder.join("lease"));
    match lease.try_lock() {
        Ok(()) => Some(lease),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => panic!("{}: {error}", folder.display()),
    }
}

/// Removes what an earlier pair has left, but for the locks.
fn clear(folder: &Path) {
    Server::in_folder(folder).kill_all();
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            fs::remove_dir_all(path).expect("an old folder goes");
        } else if !path.ends_with("lease") && !path.ends_with("used") {
            fs::remove_file(path).expect("an old file goes");
        }
    }
}

/// Starts the keeper of a folder, in a process group of its own: it outlives the test.
fn keep(folder: &Path) {
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER])
        .arg(folder)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    // Collects it where it ends before this process does.
    std::thread::spawn(move || keeper.wait());
}
