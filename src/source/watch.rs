//! Watches the references of a local repository.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Tells when the references of a local repository moved. It ends when dropped.
pub struct Watch {
    moved: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches the repository whose own folder is `git` (of a linked worktree,
    /// its folder inside the main one) and whose references are in `common`.
    pub(super) fn start(git: &Path, common: &Path) -> notify::Result<Self> {
        let moved = Arc::new(Notify::new());
        let signal = Arc::clone(&moved);
        let mut watcher = notify::recommended_watcher(move |event| {
            if is_move(&event) {
                signal.notify_one();
            }
        })?;
        watcher.watch(common, RecursiveMode::NonRecursive)?;
        watcher.watch(&common.join("refs"), RecursiveMode::Recursive)?;
        if git != common {
            watcher.watch(git, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            moved,
            _watcher: watcher,
        })
    }

    /// Waits until a reference moved since the last call. Several moves may
    /// be told as one; a move may be told that changed nothing.
    pub async fn changed(&self) {
        self.moved.notified().await;
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// Whether the event may be the move of a reference. Reading is none: it would
/// answer every look at the repository with a signal to look again.
fn is_move(event: &notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else {
        // Events were lost.
        return true;
    };
    if event.need_rescan() {
        return true;
    }
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| holds_refs(path))
}

fn holds_refs(path: &Path) -> bool {
    if path.extension() == Some(OsStr::new("lock")) {
        return false;
    }
    let name = path.file_name().and_then(OsStr::to_str);
    matches!(name, Some("HEAD" | "packed-refs"))
        || path.components().any(|part| part.as_os_str() == "refs")
}
