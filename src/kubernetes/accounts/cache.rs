//! What was said about which token, for a while.

use std::collections::HashMap;
use std::time::Duration;

use super::{NotProven, ServiceAccount};
use crate::model::{Digest, Timestamp};

/// The most results of each kind.
const MAX: usize = 10_000;
/// How long a refusal is kept at most: someone may be mending it.
const REFUSED: Duration = Duration::from_secs(10);
/// How long a result counts while nobody can be asked.
const STALE: Duration = Duration::from_mins(10);

/// A token by its SHA-256: the token itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Digest);

impl Key {
    pub(super) fn of(token: &str) -> Self {
        Self(Digest::of(token.as_bytes()))
    }

    /// A number from 0 to 1 that is another for every token.
    pub(super) fn fraction(&self) -> f64 {
        f64::from(self.0.as_bytes()[0]) / 255.0
    }
}

#[derive(Debug)]
struct Known<T> {
    what: T,
    since: Timestamp,
}

/// Results by token. Refusals have a place of their own: garbage pushes out
/// nothing that is good.
#[derive(Debug)]
pub(super) struct Cache {
    keep: Duration,
    accepted: HashMap<Key, Known<ServiceAccount>>,
    refused: HashMap<Key, Known<NotProven>>,
}

impl Cache {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep,
            accepted: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// What was said about a token so lately that nobody need be asked.
    pub(super) fn fresh(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Option<Result<ServiceAccount, NotProven>> {
        if let Some(account) = self.accepted(key, self.keep, now) {
            return Some(Ok(account));
        }
        let refused = self.refused.get(key)?;
        let is_fresh = is_within(refused.since, REFUSED.min(self.keep), now);
        is_fresh.then(|| Err(refused.what.clone()))
    }

    /// The account of a token that was good when someone could last be asked.
    pub(super) fn stale(&self, key: &Key, now: Timestamp) -> Option<ServiceAccount> {
        self.accepted(key, STALE.max(self.keep), now)
    }

    fn accepted(&self, key: &Key, age: Duration, now: Timestamp) -> Option<ServiceAccount> {
        let known = self.accepted.get(key)?;
        let is_good = is_within(known.since, age, now) && now < known.what.expires_at;
        is_good.then(|| known.what.clone())
    }

    /// Remembers what was said.
    pub(super) fn put(
        &mut self,
        key: Key,
        said: Result<ServiceAccount, NotProven>,
        now: Timestamp,
    ) {
        match said {
            Ok(what) => {
                self.refused.remove(&key);
                let age = STALE.max(self.keep);
                make_room(&mut self.accepted, |known| {
                    is_within(known.since, age, now) && now < known.what.expires_at
                });
                self.accepted.insert(key, Known { what, since: now });
            }
            Err(what) => {
                self.accepted.remove(&key);
                make_room(&mut self.refused, |known| {
                    is_within(known.since, REFUSED, now)
                });
                self.refused.insert(key, Known { what, since: now });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.accepted.len(), self.refused.len())
    }
}

/// A clock that was set back makes everything old.
fn is_within(since: Timestamp, age: Duration, now: Timestamp) -> bool {
    since <= now && now < since + age
}

/// Where all places are taken, what is over goes first, then what is oldest.
fn make_room<T>(known: &mut HashMap<Key, Known<T>>, is_good: impl Fn(&Known<T>) -> bool) {
    if known.len() < MAX {
        return;
    }
    known.retain(|_, known| is_good(known));
    if known.len() < MAX {
        return;
    }
    // A tenth at once: looking for the oldest takes a look at all.
    let mut ages: Vec<Timestamp> = known.values().map(|known| known.since).collect();
    let (_, limit, _) = ages.select_nth_unstable(MAX / 10);
    let limit = *limit;
    let mut left = MAX / 10;
    known.retain(|_, known| {
        let goes = left > 0 && known.since <= limit;
        left -= usize::from(goes);
        !goes
    });
}
