//! The audit history: pages that fill up, the newest one still open.

use super::blob::{self, Blob};
use super::cluster::Cluster;
use super::ledger::{FullPage, History};
use crate::model::{Generation, HistoryEntry};
use crate::store::StoreError;

/// How many entries a page holds.
const ENTRIES: usize = 64;
/// A page that has this many steps and names of proxies is full, too.
const WEIGHT: usize = 2_000;

/// The history with one more entry, and the blobs that were written for it.
pub(super) struct Appended {
    pub(super) history: History,
    pub(super) written: Vec<Blob>,
    /// What the new history no longer refers to.
    pub(super) replaced: Vec<Blob>,
}

/// Appends an entry; `None` where the ledger has moved on meanwhile.
pub(super) async fn append(
    cluster: &Cluster,
    history: &History,
    attempt: &str,
    entry: HistoryEntry,
) -> Result<Option<Appended>, StoreError> {
    let mut appended = Appended {
        history: history.clone(),
        written: Vec::new(),
        replaced: Vec::new(),
    };
    let mut entries: Vec<HistoryEntry> = match &history.open {
        Some(open) => match blob::read(cluster, open).await? {
            Some(entries) => entries,
            None => return Ok(None),
        },
        None => Vec::new(),
    };
    match (&history.open, entries.first(), entries.last()) {
        (Some(open), Some(first), Some(last)) if is_full(&entries) => {
            let Some(mut full) = full_pages(cluster, history).await? else {
                return Ok(None);
            };
            full.push(FullPage {
                first: first.generation,
                last: last.generation,
                page: open.clone(),
            });
            let index = blob::write(cluster, format!("windlass-l-{attempt}-full"), &full).await?;
            appended.written.push(index.clone());
            appended.replaced.extend(history.full.clone());
            appended.history.full = Some(index);
            entries.clear();
        }
        (Some(open), ..) => appended.replaced.push(open.clone()),
        (None, ..) => {}
    }
    entries.push(entry);
    let open = blob::write(cluster, format!("windlass-l-{attempt}-open"), &entries).await?;
    appended.written.push(open.clone());
    appended.history.open = Some(open);
    Ok(Some(appended))
}

fn is_full(entries: &[HistoryEntry]) -> bool {
    let weight = |entry: &HistoryEntry| {
        let gates = entry.gates.iter();
        let parts = gates.flat_map(|gate| &gate.acknowledged);
        entry.steps.len() + parts.map(|part| part.by.len()).sum::<usize>()
    };
    entries.len() >= ENTRIES || entries.iter().map(weight).sum::<usize>() >= WEIGHT
}

async fn full_pages(
    cluster: &Cluster,
    history: &History,
) -> Result<Option<Vec<FullPage>>, StoreError> {
    match &history.full {
        Some(full) => blob::read(cluster, full).await,
        None => Ok(Some(Vec::new())),
    }
}

/// The newest `limit` entries below `before`, newest first; `None` where the
/// ledger has moved on meanwhile.
pub(super) async fn read(
    cluster: &Cluster,
    history: &History,
    before: Option<Generation>,
    limit: usize,
) -> Result<Option<Vec<HistoryEntry>>, StoreError> {
    let is_wanted = |entry: &HistoryEntry| before.is_none_or(|before| entry.generation < before);
    let mut found: Vec<HistoryEntry> = Vec::new();
    if let Some(open) = history.open.as_ref().filter(|_| limit > 0) {
        let Some(entries) = blob::read::<Vec<HistoryEntry>>(cluster, open).await? else {
            return Ok(None);
        };
        let entries = entries.into_iter().rev();
        found.extend(entries.filter(is_wanted).take(limit));
    }
    if found.len() >= limit {
        return Ok(Some(found));
    }
    let Some(full) = full_pages(cluster, history).await? else {
        return Ok(None);
    };
    for page in full.iter().rev() {
        if found.len() >= limit {
            break;
        }
        if before.is_some_and(|before| page.first >= before) {
            continue;
        }
        let entries = blob::read::<Vec<HistoryEntry>>(cluster, &page.page).await?;
        // A page that is full stays.
        let entries = entries.ok_or_else(|| {
            cluster.corrupt("the history", format!("page {} is gone", page.page.name))
        })?;
        let room = limit - found.len();
        let entries = entries.into_iter().rev();
        found.extend(entries.filter(is_wanted).take(room));
    }
    Ok(Some(found))
}

/// The pages of the history.
pub(super) async fn pages(
    cluster: &Cluster,
    history: &History,
) -> Result<Option<Vec<Blob>>, StoreError> {
    let Some(full) = full_pages(cluster, history).await? else {
        return Ok(None);
    };
    let pages = full.into_iter().map(|page| page.page);
    let pages = pages.chain(history.open.clone());
    Ok(Some(pages.chain(history.full.clone()).collect()))
}
